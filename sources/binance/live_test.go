package binance

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// venueServer speaks Binance's USD-M protocol on loopback, out of a recording: /public and /market carry the streams that
// the address asks for, and depth requests are answered by the recorded snapshots.
type venueServer struct {
	frames []capture.Frame
	// cutAfter closes the first connection of cutPath after so many messages; 0 never. An empty path means every one.
	cutAfter int
	cutPath  string
	// tooMany answers so many depth requests with 429 first.
	tooMany int

	mu       sync.Mutex // guards what follows
	sessions map[string]int
	sent     map[string]int // messages sent by path, over all sessions
	requests int
}

func (v *venueServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/depth") {
		v.depth(w, r)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	streams := map[string]bool{}
	for s := range strings.SplitSeq(r.URL.Query().Get("streams"), "/") {
		streams[s] = true
	}
	v.mu.Lock()
	v.sessions[r.URL.Path]++
	session, from := v.sessions[r.URL.Path], v.sent[r.URL.Path]
	v.mu.Unlock()
	ctx := conn.CloseRead(r.Context())
	n, sent := 0, 0
	for _, f := range v.frames {
		name, _, _ := bytes.Cut(bytes.TrimPrefix(f.Data, []byte(`{"stream":"`)), []byte(`"`))
		if f.Kind != capture.Receive || !streams[string(name)] {
			continue
		}
		if n++; n <= from {
			continue
		}
		if v.cutAfter > 0 && session == 1 && sent == v.cutAfter && strings.HasPrefix(r.URL.Path, v.cutPath) {
			return
		}
		if conn.Write(ctx, websocket.MessageText, f.Data) != nil {
			return
		}
		sent++
		v.mu.Lock()
		v.sent[r.URL.Path]++
		v.mu.Unlock()
	}
	<-ctx.Done()
}

func (v *venueServer) depth(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.requests++
	busy := v.requests <= v.tooMany
	v.mu.Unlock()
	if busy {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	for _, f := range v.frames {
		if f.Kind == capture.HTTP && strings.Contains(f.URL, "symbol="+r.URL.Query().Get("symbol")+"&") {
			_, _ = w.Write(f.Data)
			return
		}
	}
	w.WriteHeader(http.StatusBadRequest)
}

// live runs the connector against a venue server until done says so.
func live(t *testing.T, v *venueServer, change func(*Config), done func(*sourcetest.Memory) bool) (*venue.Source, *sourcetest.Memory) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	v.sessions, v.sent = map[string]int{}, map[string]int{}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	cfg := Defaults()
	cfg.Market, cfg.Channels = USDM, []string{venue.Trades, venue.Quotes, venue.Book}
	cfg.Symbols = []string{"SUSHI-USDT-PERP", "AKRO-USDT-PERP", "KEEP-USDT-PERP", "CTK-USDT-PERP"}
	cfg.StreamURL, cfg.RestURL = "ws"+strings.TrimPrefix(server.URL, "http"), server.URL
	cfg.BackoffMax, cfg.RequestsPerMinute = 50*time.Millisecond, 1200
	if change != nil {
		change(&cfg)
	}
	s, err := venue.New(cfg, nil, sources.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	for !done(out) && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("not done after 30 s: %d records, state %v", len(out.Entries()), s.Component())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	return s, out
}

func trades(n int) func(*sourcetest.Memory) bool {
	return func(p *sourcetest.Memory) bool {
		books := map[string]bool{}
		for _, b := range sourcetest.Of[*schemas.BookSnapshot](p) {
			books[b.Meta.Symbol] = true
		}
		return len(sourcetest.Of[*schemas.Trade](p)) >= n && len(books) == 4
	}
}

// Dialled at the address that its configuration builds, the connector gives what playback of the same recording gives, over
// two connections, with depth snapshots that were refused at first.
func TestLiveGivesWhatPlaybackGives(t *testing.T) {
	v := &venueServer{frames: venuetest.Read(t, futuresFile.File), tooMany: 2}
	_, out := live(t, v, nil, trades(91))
	_, played := venuetest.Play(t, futuresFile)
	a, b := ids(out), ids(played)
	if a != b {
		t.Errorf("live trades and quotes differ from playback:\n%.300s\n%.300s", a, b)
	}
	if gaps := sourcetest.Of[*schemas.Gap](out); len(gaps) != 0 {
		t.Errorf("gaps %v, want none", gaps)
	}
}

// ids lists trades and quotes by symbol in their order.
func ids(p *sourcetest.Memory) string {
	bySymbol := map[string][]string{}
	for _, e := range p.Entries() {
		if e.Type == "Trade" {
			meta := schemas.MetaOf(e.Message)
			bySymbol[meta.Symbol] = append(bySymbol[meta.Symbol], meta.Id)
		}
	}
	var s strings.Builder
	for _, symbol := range []string{"SUSHI-USDT-PERP", "AKRO-USDT-PERP", "KEEP-USDT-PERP", "CTK-USDT-PERP"} {
		s.WriteString(symbol + " " + strings.Join(bySymbol[symbol], " ") + "\n")
	}
	return s.String()
}

// A connection that breaks is dialled again: each of its streams that had data says so by a Gap, and no trade comes twice or
// is missing, because the venue resumes where it was.
func TestLiveReconnects(t *testing.T) {
	v := &venueServer{frames: venuetest.Read(t, futuresFile.File), cutAfter: 60}
	s, out := live(t, v, nil, func(p *sourcetest.Memory) bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return len(sourcetest.Of[*schemas.Trade](p)) >= 91 && v.sent["/public/stream"] >= 600+764
	})
	if _, played := venuetest.Play(t, futuresFile); ids(out) != ids(played) {
		t.Errorf("trades after the reconnect differ from playback")
	}
	for _, g := range sourcetest.Of[*schemas.Gap](out) {
		if g.Cause != "disconnect" && g.Channel != "book" {
			t.Errorf("gap %v, want the disconnect only", g)
		}
	}
	causes := map[string]int{}
	for _, g := range sourcetest.Of[*schemas.Gap](out) {
		causes[g.Channel+" "+g.Cause]++
	}
	if causes["trades disconnect"] == 0 || causes["quotes disconnect"] == 0 {
		t.Errorf("gaps %v, want trades and quotes to report the disconnect", causes)
	}
	if v.sessions["/market/stream"] != 2 || v.sessions["/public/stream"] != 2 {
		t.Errorf("sessions %v, want two of each", v.sessions)
	}
	if c := s.Component(); c == nil || c.Kind != "source" || c.Name != "binance.usdm" {
		t.Errorf("component %v", c)
	}
}

// What was captured live plays back to the bytes that were published live.
func TestCaptureOfALiveRunPlaysBackAlike(t *testing.T) {
	dir := t.TempDir()
	v := &venueServer{frames: venuetest.Read(t, futuresFile.File), cutAfter: 50, cutPath: "/market"}
	_, out := live(t, v, func(c *Config) { c.Capture = dir }, trades(91))
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.zst"))
	if err != nil || len(files) != 1 {
		t.Fatalf("captures %v, %v: want one", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Size() == 0 {
		t.Fatalf("capture %v, %v", info, err)
	}
	r, err := capture.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	again := &sourcetest.Memory{}
	m := machineOf(t, again, []string{"SUSHI-USDT-PERP", "AKRO-USDT-PERP", "KEEP-USDT-PERP", "CTK-USDT-PERP"}, nil)
	if _, err := feed.Play(t.Context(), r, m, 0); err != nil {
		t.Fatal(err)
	}
	// The live run was stopped, the playback ended: what the end and the clock's last steps add is no difference.
	a, b := out.Entries(), again.Entries()
	n := min(len(a), len(b))
	if n < 900 || max(len(a), len(b))-n > 60 {
		t.Fatalf("%d records live, %d played", len(a), len(b))
	}
	for i := range min(n, len(a)-40) {
		if !sameEntry(a[i], b[i]) {
			t.Fatalf("record %d of %d: live %v, played %v", i, n, a[i], b[i])
		}
	}
}

func sameEntry(a, b sourcetest.Entry) bool {
	one, other := &sourcetest.Memory{}, &sourcetest.Memory{}
	one.Add(a)
	other.Add(b)
	return one.Digest(nil) == other.Digest(nil)
}

// A connection that stands, acknowledges and then says nothing: every expected stream is reported as never heard, on the
// receipt clock, and the connection is not taken for a success.
func TestAcknowledgedAndSilent(t *testing.T) {
	out := &sourcetest.Memory{}
	symbols, channels := []string{"BTC-USDT-PERP"}, []string{venue.Trades, venue.Marks}
	m := machineOf(t, out, symbols, channels)
	start := schemas.Time(1_723_161_255_000_000_000)
	pump := feed.NewPump(m)
	cfg := FuturesDefaults()
	cfg.Symbols, cfg.Channels = symbols, channels
	dialled, err := cfg.Spec()
	if err != nil || len(dialled.Connections) != 1 || dialled.Connections[0].URL != "wss://fstream.binance.com/market/stream?streams=btcusdt@aggTrade/btcusdt@markPrice@1s" {
		t.Fatalf("addresses %v, %v", dialled, err)
	}
	ack := []byte(`{"result":null,"id":1}`)
	if isData(ack) || !isData([]byte(`{"stream":"x","data":{}}`)) {
		t.Error("an acknowledgement counts as data, or data does not")
	}
	for _, f := range []capture.Frame{
		{Kind: capture.Connect, Conn: "binance.usdm.0/1", At: start, URL: dialled.Connections[0].URL},
		{Kind: capture.Receive, Conn: "binance.usdm.0/1", At: start + 1, Data: ack},
	} {
		if err := pump.Frame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := pump.Advance(start.Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	for _, h := range sourcetest.Of[*schemas.FeedHealth](out) {
		if !h.Connected || h.SilentNs != nil || h.Records != 0 || h.UnknownMessages != 0 {
			t.Errorf("health %v", h)
		}
		named[h.Meta.Symbol+" "+h.Channel]++
	}
	if named["BTC-USDT-PERP trades"] < 3 || named["BTC-USDT-PERP marks"] < 3 || len(named) != 2 {
		t.Errorf("named %v, want trades and marks each second from the fifth on", named)
	}
}

// machineOf makes a machine of the futures market for some symbols.
func machineOf(t *testing.T, out sources.Publisher, symbols, channels []string) *venue.Machine {
	t.Helper()
	cfg := FuturesDefaults()
	cfg.Symbols = symbols
	if channels != nil {
		cfg.Channels = channels
	}
	s, err := cfg.Spec()
	if err != nil {
		t.Fatal(err)
	}
	m, err := venue.NewMachine(s, cfg.Config, out, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
