package edgar

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// The whole way, on the SEC's own bodies (the lists of filings are written by hand in their shape): two companies' years of
// facts come in the order in which they became public, none late, each once, and the recording plays back to the same.
func TestTwoCompaniesInTheOrderOfTheirFilings(t *testing.T) {
	bodies := map[string][]byte{
		"/api/xbrl/companyfacts/CIK0000320193.json": body(t, "companyfacts/CIK0000320193.json.gz"),
		"/api/xbrl/companyfacts/CIK0001045810.json": body(t, "companyfacts/CIK0001045810.json.gz"),
		"/submissions/CIK0000320193.json":           listing("0000320193-25-000079", "2025-10-31", "2025-10-31T06:01:26.000Z"),
		"/submissions/CIK0001045810.json":           listing("0001045810-26-000021", "2026-02-25", "2026-02-25T21:42:19.000Z"),
	}
	var mu sync.Mutex
	asked := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		mu.Unlock()
		if r.UserAgent() != agent {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(bodies[r.URL.Path])
	}))
	defer s.Close()
	p := poller(t, func(c *Config) {
		c.Companies, c.DataURL, c.PerMinute = []string{"AAPL:320193", "NVDA:1045810"}, s.URL, 600
	})
	cfg := poll.Defaults()
	cfg.UserAgent, cfg.Capture = agent, t.TempDir()
	metrics := poll.NewMetrics(nil)
	o := poll.Options{Config: cfg, Client: poll.NewClient(cfg, metrics), Once: true, Metrics: metrics, Shared: sources.NewMetrics(nil)}
	live := once(t, p, o)

	facts := sourcetest.Of[*schemas.FundamentalFact](live)
	want := len(decodeFacts(t, bodies["/api/xbrl/companyfacts/CIK0000320193.json"], "AAPL", p.cfg.Concepts...)) +
		len(decodeFacts(t, bodies["/api/xbrl/companyfacts/CIK0001045810.json"], "NVDA", p.cfg.Concepts...))
	if len(facts) != want || len(facts) < 3000 {
		t.Errorf("%d facts published, want the %d of both files", len(facts), want)
	}
	seen := map[string]bool{}
	var reached int64
	for _, f := range facts {
		m := f.Meta
		if m.EventTime < reached {
			t.Fatalf("%s %s at %v comes after %v", m.Symbol, m.Id, schemas.Time(m.EventTime), schemas.Time(reached))
		}
		reached = m.EventTime
		if f.Filed > schemas.Time(m.EventTime).UTC().Format("2006-01-02") {
			t.Fatalf("%s %s, filed %s, is known at %v", m.Symbol, m.Id, f.Filed, schemas.Time(m.EventTime))
		}
		if m.TimeSource != schemas.TimeSource_TIME_SOURCE_EXCHANGE || m.Flags != 4 || seen[m.Symbol+m.Id] {
			t.Fatalf("%v: history stands at its own time, is marked as backfill, and comes once", m)
		}
		seen[m.Symbol+m.Id] = true
	}
	if late := live.Late(); len(late) > 0 {
		t.Errorf("%d late records, the first %v", len(late), late[0])
	}
	mu.Lock()
	defer mu.Unlock()
	for path, n := range asked {
		if n != 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	files, err := filepath.Glob(filepath.Join(cfg.Capture, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("recordings %v, %v", files, err)
	}
	slices.Sort(files)
	o.Play = files[0]
	if played := once(t, p, o); played.Digest(nil) != live.Digest(nil) {
		t.Errorf("the recording gives %d records, live gave %d, or others", len(played.Entries()), len(live.Entries()))
	}
}

// listing is a list of one filing, written by hand in the SEC's shape.
func listing(accession, filed, accepted string) []byte {
	return fmt.Appendf(nil, `{"filings":{"recent":{"accessionNumber":[%q],"filingDate":[%q],"acceptanceDateTime":[%q],"form":["10-K"],"items":[""],"isXBRL":[1],"primaryDocument":["k.htm"]}}}`, accession, filed, accepted)
}

func once(t *testing.T, p poll.Poller, o poll.Options) *sourcetest.Memory {
	t.Helper()
	s, err := poll.New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	if err := s.Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	return out
}
