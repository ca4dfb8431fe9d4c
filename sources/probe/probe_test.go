package probe

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// right are the documented answers.
var right = map[string]string{
	"binance":        `{"serverTime":1499827319559}`,
	"bybit":          `{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"},"retExtInfo":{},"time":1688639403423}`,
	"coinbase":       `{"iso":"2015-01-07T23:47:25.201Z","epoch":1420674445.201}`,
	"deribit":        `{"jsonrpc":"2.0","result":{"version":"1.2.26"},"usIn":1535043730126248,"usOut":1535043730126250,"usDiff":2,"testnet":false}`,
	"kraken":         `{"error":[],"result":{"unixtime":1688669448,"rfc1123":"Thu, 06 Jul 23 18:50:48 +0000"}}`,
	"kraken_futures": `{"result":"success","serverTime":"2023-04-04T17:56:49.027Z","tradeable":"PF_XBTUSD","experiencingDislocation":false}`,
	"okx":            `{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}`,
}

// venues serves every target; what is in answers, by path, takes the place of the right answer. nobody is an address where
// nobody listens.
func venues(t *testing.T, answers map[string]http.HandlerFunc, gone ...string) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	_ = l.Close()
	c := Defaults()
	c.Addresses = map[string]string{}
	for n, body := range right {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h := answers[n]; h != nil {
				h(w, r)
				return
			}
			if r.URL.Path != targets[n].path || r.Header.Get("User-Agent") != "us" {
				t.Errorf("%s is asked for %s by %q", n, r.URL.Path, r.Header.Get("User-Agent"))
			}
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		if c.Addresses[n] = s.URL; slices.Contains(gone, n) {
			c.Addresses[n] = nobody
		}
	}
	return c
}

// once runs one round and lists what it says of the venues.
func once(t *testing.T, c Config) (said []string, out *sourcetest.Memory, err error) {
	t.Helper()
	s, err := New(Options{Config: c, UserAgent: "us", Once: true, Metrics: sources.NewMetrics(nil)})
	if err != nil {
		t.Fatal(err)
	}
	out = &sourcetest.Memory{}
	err = s.Run(t.Context(), out)
	if late := out.Late(); len(late) > 0 {
		t.Errorf("late: %v", late[0])
	}
	var ticked schemas.Time
	for _, e := range out.Entries() {
		switch m := e.Message.(type) {
		case *schemas.Tick:
			ticked = schemas.Time(m.Time)
		case *schemas.VenueStatus:
			line := fmt.Sprintf("%s %s %s", m.Meta.Venue, m.Scope, m.State)
			if m.HttpStatus != nil {
				line += fmt.Sprintf(" %d", *m.HttpStatus)
			}
			if (m.ResponseNs != nil) != (m.HttpStatus != nil) || m.Reporter != "probe" {
				t.Errorf("%v: a time of an answer that did not come, or none of one that did", m)
			}
			if ahead := schemas.TimeOf(m).Sub(ticked); ticked == 0 || ahead > 2*time.Second {
				t.Errorf("%v is %v ahead of its source's time", m, ahead)
			}
			said = append(said, line)
		}
	}
	return said, out, err
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// What one round says: of a venue that is well, that does not answer, that answers an error or another thing, and nothing of one
// that does not want to be asked. The first case is the control.
func TestRound(t *testing.T) {
	well := []string{
		"binance all online 200", "bybit all online 200", "coinbase all online 200", "deribit all online 200", "kraken all online 200",
		"kraken futures online 200", "okx all online 200",
	}
	with := func(was, is string) []string {
		out := slices.Clone(well)
		i := slices.Index(out, was)
		if out[i] = is; is == "" {
			out = slices.Delete(out, i, i+1)
		}
		return out
	}
	page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>We will be back soon") }
	for name, c := range map[string]struct {
		answers map[string]http.HandlerFunc
		gone    []string
		want    []string
	}{
		"all are well":      {want: well},
		"nobody listens":    {gone: []string{"okx"}, want: with("okx all online 200", "okx all down")},
		"503":               {answers: map[string]http.HandlerFunc{"binance": status(503)}, want: with("binance all online 200", "binance all down 503")},
		"cut off":           {answers: map[string]http.HandlerFunc{"bybit": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, want: with("bybit all online 200", "bybit all down")},
		"a page":            {answers: map[string]http.HandlerFunc{"kraken": page}, want: with("kraken all online 200", "kraken all degraded 200")},
		"one of its parts":  {answers: map[string]http.HandlerFunc{"kraken_futures": status(500)}, want: with("kraken futures online 200", "kraken futures down 500")},
		"blocked by region": {answers: map[string]http.HandlerFunc{"binance": status(451)}, want: with("binance all online 200", "")},
		"too many requests": {answers: map[string]http.HandlerFunc{"coinbase": status(429)}, want: with("coinbase all online 200", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := venues(t, c.answers, c.gone...)
			said, out, err := once(t, cfg)
			if err != nil || !slices.Equal(said, c.want) {
				t.Errorf("%v\ngot  %q\nwant %q", err, said, c.want)
			}
			h := sourcetest.Of[*schemas.FeedHealth](out)
			if last := h[len(h)-1]; !last.Connected || last.Meta.Venue != "probe" || last.Meta.Symbol != "all" {
				t.Errorf("health %v, want connected, and not as that of a venue", last)
			}
		})
	}
}

// When no venue is well it is we who are down: nothing is said of them, and our own health says so.
func TestOurOwnOutage(t *testing.T) {
	everyone := Defaults().Targets
	proxy := map[string]http.HandlerFunc{}
	for _, n := range everyone {
		proxy[n] = status(http.StatusBadGateway)
	}
	for name, c := range map[string]struct {
		answers map[string]http.HandlerFunc
		gone    []string
	}{"no network": {gone: everyone}, "a proxy that fails": {answers: proxy}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := venues(t, c.answers, c.gone...)
			said, out, err := once(t, cfg)
			if err == nil || !strings.Contains(err.Error(), "our side") || len(said) > 0 {
				t.Errorf("%v, says %q; want nothing of any venue, and an error", err, said)
			}
			h := sourcetest.Of[*schemas.FeedHealth](out)
			if last := h[len(h)-1]; last.Connected || last.SilentNs != nil {
				t.Errorf("health %v, want one that is not connected", last)
			}
		})
	}
}

// Round after round: the fault of ours is counted once, what comes back is told, and time goes on in between.
func TestRounds(t *testing.T) {
	s, err := New(Options{Config: Defaults(), Metrics: sources.NewMetrics(nil)})
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	s.out = out
	const start = schemas.Time(1_700_000_000_000_000_000)
	round := func(up ...bool) (f []finding) {
		for i, ok := range up {
			one := finding{target: s.targets[i], err: http.ErrHandlerTimeout}
			if ok {
				one = finding{target: s.targets[i], status: 200, right: true, took: time.Millisecond}
			}
			f = append(f, one)
		}
		return f
	}
	at := start
	for _, r := range [][]finding{round(true, true), round(false, true), round(false, false), round(false, false), round(true, true)} {
		for range 10 {
			at = at.Add(time.Second)
			if err := s.second(at); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.tell(r, at.Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.second(at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if late := out.Late(); len(late) > 0 {
		t.Errorf("late: %v", late[0])
	}
	var said []string
	for _, m := range sourcetest.Of[*schemas.VenueStatus](out) {
		said = append(said, m.Meta.Venue+" "+m.State)
	}
	if want := []string{"binance online", "bybit online", "binance down", "bybit online", "binance online", "bybit online"}; !slices.Equal(said, want) {
		t.Errorf("got  %q\nwant %q", said, want)
	}
	h := sourcetest.Of[*schemas.FeedHealth](out)
	if last := h[len(h)-1]; len(h) != 51 || last.Reconnects != 1 || !last.Connected {
		t.Errorf("%d records of health, the last %v; want 51, connected again after one loss", len(h), last)
	}
}

func TestSettings(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for says, change := range map[string]func(*Config){
		"probe.targets has \"x\"": func(c *Config) { c.Targets = []string{"binance", "x"} },
		"names binance twice":     func(c *Config) { c.Targets = []string{"binance", "binance"} },
		"two at least":            func(c *Config) { c.Targets = []string{"binance"} },
		"probe.addresses has":     func(c *Config) { c.Addresses = map[string]string{"x": "y"} },
		"probe.timeout is 10s":    func(c *Config) { c.Timeout = c.Every },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}
