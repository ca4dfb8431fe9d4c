package kraken

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

// venueServer speaks v2 on loopback, out of the recording: data come once all channels are subscribed to, one frame of a
// book is broken, and a book that is subscribed to anew begins with its snapshot.
type venueServer struct {
	t        *testing.T
	frames   []capture.Frame
	broken   int // the frame that goes out with another checksum
	requests []string
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
	for range 4 {
		if err := v.answer(ctx, conn); err != nil {
			return err
		}
	}
	theirs := venuetest.Machine(v.t, spec(), &sourcetest.Memory{})
	for i, f := range v.frames {
		venuetest.Run(v.t, theirs, v.frames[i:i+1])
		if f.Kind != capture.Receive || bytes.Contains(f.Data, []byte(`"method"`)) {
			continue
		}
		raw := f.Data
		if i == v.broken {
			before, sum, _ := bytes.Cut(raw, []byte(`"checksum":`))
			raw = fmt.Appendf(nil, `%s"checksum":%d%s`, before, 1+sum[0]%2, sum[1:]) // another first digit
		}
		if err := conn.Write(ctx, websocket.MessageText, raw); err != nil {
			return err
		}
		if i != v.broken {
			continue
		}
		for range 2 {
			if err := v.answer(ctx, conn); err != nil {
				return err
			}
		}
		pair := pairOf(raw)
		symbol, _ := canonical(pair)
		b, _, _ := theirs.Book(symbol)
		if err := conn.Write(ctx, websocket.MessageText, snapshotOf(pair, b)); err != nil {
			return err
		}
	}
	return nil
}

// answer reads a request and acknowledges it.
func (v *venueServer) answer(ctx context.Context, conn *websocket.Conn) error {
	_, raw, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	var request struct {
		Method string
		Params struct {
			Channel string
			Symbol  []string
			Depth   int
		}
	}
	if err := json.Unmarshal(raw, &request); err != nil {
		return err
	}
	p := request.Params
	v.requests = append(v.requests, fmt.Sprintf("%s %s %v %d", request.Method, p.Channel, p.Symbol, p.Depth))
	return conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"method":%q,"result":{"channel":%q},"success":true}`, request.Method, p.Channel))
}

func pairOf(raw []byte) string {
	_, rest, _ := bytes.Cut(raw, []byte(`"symbol":"`))
	pair, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(pair)
}

func snapshotOf(pair string, b *book.Book) []byte {
	bids, asks := b.Depth()
	side := func(n int, level func(int) book.Level) string {
		var rows []string
		for i := range n {
			rows = append(rows, fmt.Sprintf(`{"price":%s,"qty":%s}`, level(i).Price.Decimal().Text(), level(i).Quantity.Decimal().Text()))
		}
		return strings.Join(rows, ",")
	}
	return fmt.Appendf(nil, `{"channel":"book","type":"snapshot","data":[{"symbol":%q,"bids":[%s],"asks":[%s],"checksum":%d}]}`,
		pair, side(bids, b.Bid), side(asks, b.Ask), checksum(b))
}

// Live, the connector subscribes, follows, recovers from a wrong checksum by subscribing anew, and ends with the books and
// trades of playback.
func TestLive(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	v := &venueServer{t: t, frames: modern(t), done: make(chan struct{})}
	v.broken = slices.IndexFunc(v.frames, func(f capture.Frame) bool {
		return f.At > v.frames[0].At.Add(20*time.Second) && bytes.Contains(f.Data, []byte(`"book","type":"update","data":[{"symbol":"ADA/BTC"`))
	})
	m, played := venuetest.Fed(t, spec(), v.frames)
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	cfg := Defaults()
	cfg.Depth, cfg.Symbols = 1000, nil
	for _, f := range m.Figures() {
		cfg.Symbols = append(cfg.Symbols, f.Symbol)
	}
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
	gaps := sourcetest.Of[*schemas.Gap](out)
	if len(gaps) == 0 || gaps[0].Cause != "checksum" || gaps[0].Meta.VenueSymbol != "ADA/BTC" {
		t.Errorf("gaps %v, want the checksum of ADA/BTC first", gaps)
	}
	all := fmt.Sprint(pairs(cfg.Symbols))
	wanted := []string{
		"subscribe trade " + all + " 0", "subscribe ticker " + all + " 0", "subscribe book " + all + " 1000", "subscribe instrument [] 0",
		"unsubscribe book [ADA/BTC] 1000", "subscribe book [ADA/BTC] 1000",
	}
	if !slices.Equal(v.requests, wanted) {
		t.Errorf("requests %q\nwant     %q", v.requests, wanted)
	}
}

func pairs(symbols []string) (out []string) {
	for _, s := range symbols {
		out = append(out, strings.Replace(s, "-", "/", 1))
	}
	return out
}

// last lists every trade, and the last book of each symbol.
func last(p *sourcetest.Memory) string {
	var trades []string
	books := map[string]string{}
	for _, e := range p.Entries() {
		switch r := e.Message.(type) {
		case *schemas.Trade:
			trades = append(trades, r.Meta.Symbol+" "+r.Meta.Id+" "+r.Price.Text())
		case *schemas.BookSnapshot:
			books[r.Meta.Symbol] = fmt.Sprint(r.Bids, r.Asks)
		}
	}
	return fmt.Sprint(trades, books)
}
