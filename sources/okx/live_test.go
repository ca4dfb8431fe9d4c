package okx

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// slowVenue sends a trade of what is subscribed to at once. Its list of contracts comes late: refused, in another shape, and then
// as it should be, once the spot trade was seen.
type slowVenue struct {
	mu    sync.Mutex // guards what follows
	tries int
	said  []string
	spot  chan struct{} // closed when the spot trade is published
}

func (v *slowVenue) say(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = append(v.said, what)
}

func (v *slowVenue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "instruments") {
		v.stream(w, r)
		return
	}
	v.mu.Lock()
	v.tries++
	try := v.tries
	v.mu.Unlock()
	switch try {
	case 1:
		w.WriteHeader(http.StatusBadGateway)
	case 2:
		fmt.Fprint(w, `{"code":"50001","msg":"Service temporarily unavailable","data":[]}`)
	default:
		<-v.spot
		v.say("list")
		fmt.Fprint(w, `{"code":"0","msg":"","data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","ctVal":"0.01","ctMult":"1","ctType":"linear"}]}`)
	}
}

func (v *slowVenue) stream(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	_, request, err := c.Read(r.Context())
	if err != nil {
		return
	}
	symbol := "BTC-USDT"
	if strings.Contains(string(request), "SWAP") {
		symbol = "BTC-USDT-SWAP"
	}
	v.say(symbol)
	trade := fmt.Sprintf(`{"arg":{"channel":"trades","instId":%q},"data":[{"instId":%q,"tradeId":"1","px":"42000","sz":"5","side":"buy","ts":"%d"}]}`, symbol, symbol, time.Now().UnixMilli())
	_ = c.Write(r.Context(), websocket.MessageText, []byte(trade))
	_, _, _ = c.Read(r.Context())
}

// No contract is subscribed to before it is known what it counts: the first trade of a swap, which the venue sends at once, has
// the right quantity and is not refused. Spot does not wait.
func TestContractsWaitForTheirList(t *testing.T) {
	v := &slowVenue{spot: make(chan struct{})}
	server := httptest.NewServer(v)
	defer server.Close()
	c := Defaults()
	c.Symbols, c.Channels, c.BackoffMax, c.RequestsPerMinute = []string{"BTC-USDT", "BTC-USDT-PERP"}, []string{venue.Trades}, 10*time.Millisecond, 1200
	c.StreamURL, c.RestURL = "ws"+strings.TrimPrefix(server.URL, "http"), server.URL
	metrics := sources.NewMetrics(nil)
	src, err := venue.New(c, nil, metrics)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	out := &sourcetest.Memory{}
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, out) }()
	waited := false
	for ctx.Err() == nil && len(sourcetest.Of[*schemas.Trade](out)) < 2 {
		if len(sourcetest.Of[*schemas.Trade](out)) == 1 && !waited {
			waited = true
			for ctx.Err() == nil && !strings.Contains(src.Component().GetReason(), "wait for the list") {
				time.Sleep(10 * time.Millisecond)
			}
			close(v.spot)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range sourcetest.Of[*schemas.Trade](out) {
		got = append(got, m.Meta.Symbol+" "+m.Quantity.Text())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if want := []string{"BTC-USDT 5", "BTC-USDT-PERP 0.05"}; !slices.Equal(got, want) {
		t.Errorf("trades %q, want %q", got, want)
	}
	if want := []string{"BTC-USDT", "list", "BTC-USDT-SWAP"}; !slices.Equal(v.said, want) {
		t.Errorf("the venue was asked in the order %q, want %q", v.said, want)
	}
	if n := testutil.ToFloat64(metrics.Rejected.WithLabelValues("okx.public", "multiplier unknown")); n != 0 {
		t.Errorf("%v records were refused", n)
	}
}
