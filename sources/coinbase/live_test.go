package coinbase

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// venueServer speaks Advanced Trade on loopback, out of the recording: data come once heartbeats are subscribed to, a
// heartbeat is lost, and books that are subscribed to anew begin with their snapshots.
type venueServer struct {
	t        *testing.T
	frames   []capture.Frame
	dropped  int
	requests []string
	number   int
	done     chan struct{}
}

func (v *venueServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	if err := v.serve(r.Context(), conn); err != nil {
		v.t.Errorf("server: %v", err)
	}
	close(v.done)
	<-conn.CloseRead(r.Context()).Done()
}

func (v *venueServer) serve(ctx context.Context, conn *websocket.Conn) error {
	for len(v.requests) == 0 || !strings.Contains(v.requests[len(v.requests)-1], "heartbeats") {
		if err := v.read(ctx, conn); err != nil {
			return err
		}
	}
	theirs := venuetest.Machine(v.t, spec(Advanced), &sourcetest.Memory{})
	for i, f := range v.frames {
		venuetest.Run(v.t, theirs, v.frames[i:i+1])
		if i == v.dropped {
			v.number++
		} else if f.Kind == capture.Receive {
			if err := v.send(ctx, conn, f.Data); err != nil {
				return err
			}
		}
		if i != v.dropped+1 { // the message that shows the loss
			continue
		}
		for range 4 {
			if err := v.read(ctx, conn); err != nil {
				return err
			}
		}
		for _, product := range []string{"BTC-USD", "ETH-USD"} {
			b, _, at := theirs.Book(product)
			if err := v.send(ctx, conn, snapshotOf(product, b, at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// send gives a message its number.
func (v *venueServer) send(ctx context.Context, conn *websocket.Conn, raw []byte) error {
	before, rest, _ := bytes.Cut(raw, []byte(`"sequence_num":`))
	_, after, _ := bytes.Cut(rest, []byte(","))
	raw = fmt.Appendf(nil, `%s"sequence_num":%d,%s`, before, v.number, after)
	v.number++
	return conn.Write(ctx, websocket.MessageText, raw)
}

func (v *venueServer) read(ctx context.Context, conn *websocket.Conn) error {
	_, raw, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	var request struct {
		Type, Channel string
		Products      []string `json:"product_ids"`
	}
	if err := json.Unmarshal(raw, &request); err != nil {
		return err
	}
	v.requests = append(v.requests, fmt.Sprintf("%s %s %v", request.Type, request.Channel, request.Products))
	return nil
}

func snapshotOf(product string, b *book.Book, at schemas.Time) []byte {
	var rows []string
	add := func(side string, n int, level func(int) book.Level) {
		for i := range n {
			rows = append(rows, fmt.Sprintf(`{"side":%q,"event_time":%q,"price_level":%q,"new_quantity":%q}`,
				side, at, level(i).Price.Decimal().Text(), level(i).Quantity.Decimal().Text()))
		}
	}
	bids, asks := b.Depth()
	add("bid", bids, b.Bid)
	add("offer", asks, b.Ask)
	return fmt.Appendf(nil, `{"channel":"l2_data","timestamp":%q,"sequence_num":0,"events":[{"type":"snapshot","product_id":%q,"updates":[%s]}]}`, at, product, strings.Join(rows, ","))
}

// Live, the connector subscribes, follows, asks for both books anew after a lost message, and ends with the books, trades
// and quotes of playback.
func TestLive(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	v := &venueServer{t: t, frames: venuetest.Read(t, recording.File), done: make(chan struct{})}
	v.dropped = slices.IndexFunc(v.frames, func(f capture.Frame) bool { return bytes.Contains(f.Data, []byte(`"heartbeat_counter":41700`)) })
	_, played := venuetest.Fed(t, spec(Advanced), v.frames)
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	cfg := Defaults()
	cfg.StreamURL, cfg.BackoffMax = "ws"+strings.TrimPrefix(server.URL, "http"), 50*time.Millisecond
	s, err := venue.New(cfg, nil, sources.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	select {
	case <-v.done:
	case <-ctx.Done():
	}
	want := last(played)
	for last(out) != want && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("not done: %v\ngot\n%s\nwant\n%s", s.Component(), last(out), want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	causes := map[string]int{}
	for _, g := range sourcetest.Of[*schemas.Gap](out) {
		causes[g.Channel+" "+g.Cause]++
	}
	if causes["book sequence"] != 2 || causes["trades sequence"] != 2 || causes["quotes sequence"] != 2 {
		t.Errorf("gaps %v, want the sequence of both products in each channel", causes)
	}
	all := "[BTC-USD ETH-USD]"
	wanted := []string{
		"subscribe market_trades " + all, "subscribe ticker " + all, "subscribe level2 " + all, "subscribe status " + all, "subscribe heartbeats []",
		"unsubscribe level2 [BTC-USD]", "subscribe level2 [BTC-USD]", "unsubscribe level2 [ETH-USD]", "subscribe level2 [ETH-USD]",
	}
	if !slices.Equal(v.requests, wanted) {
		t.Errorf("requests %q\nwant     %q", v.requests, wanted)
	}
}

// last lists every trade and quote, and the last book of each symbol.
func last(p *sourcetest.Memory) string {
	var records []string
	books := map[string]string{}
	for _, e := range p.Entries() {
		switch r := e.Message.(type) {
		case *schemas.Trade:
			records = append(records, r.Meta.Symbol+" "+r.Meta.Id+" "+r.Price.Text())
		case *schemas.Quote:
			records = append(records, r.Meta.Symbol+" "+r.BidPrice.Text()+" "+r.AskPrice.Text())
		case *schemas.BookSnapshot:
			books[r.Meta.Symbol] = fmt.Sprint(r.Bids, r.Asks)
		}
	}
	return fmt.Sprint(records, books)
}
