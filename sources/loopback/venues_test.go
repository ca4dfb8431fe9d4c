package loopback

import (
	"flag"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// The runs wait most of the time: more of them than there are processors go side by side.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// oracles are made once for all tests: they are read only.
var oracles = struct {
	sync.Mutex // guards made
	made       map[string]*oracle
}{made: map[string]*oracle{}}

func oracleOf(t testing.TB, m market) *oracle {
	t.Helper()
	oracles.Lock()
	defer oracles.Unlock()
	if oracles.made[m.name] == nil {
		oracles.made[m.name] = newOracle(t, m, most())
	}
	return oracles.made[m.name]
}

// Every dialect is spoken by a market of the tests.
func TestEveryDialectHasAMarket(t *testing.T) {
	missing := map[string]bool{}
	for _, name := range Spoken() {
		missing[name] = true
	}
	for _, m := range markets() {
		delete(missing, m.spec().SourceName())
	}
	if len(missing) > 0 {
		t.Errorf("no test speaks %v", missing)
	}
}

// End to end, for every venue: the connector, dialled as its configuration says, gives what playing the recording gives; and
// what it recorded meanwhile plays back to the very records that it published.
func TestVenues(t *testing.T) {
	for _, m := range markets() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			o, dir := oracleOf(t, m), t.TempDir()
			if !raced {
				o = newOracle(t, m, 0)
			}
			var cfg venue.Config
			tr, wrong := run(t, o, plan{change: func(_ *venue.Spec, c *venue.Config) {
				c.Capture = dir
				cfg = *c
			}})
			if len(wrong) > 0 {
				t.Errorf("%d differences:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 12)], "\n"))
			}
			records := 0
			for _, list := range sequences(tr.out.Entries()) {
				records += len(list)
			}
			t.Logf("%d frames, %d streams, %d records besides books", len(o.frames), len(o.first), records)
			playsBack(t, tr, cfg, dir)
		})
	}
}

// playsBack plays what was recorded of a run. The run was stopped, the playback ends: what the end and the last steps of the
// clock add is no difference.
func playsBack(t *testing.T, tr *trial, cfg venue.Config, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.zst"))
	if err != nil || len(files) != 1 {
		t.Fatalf("captures %v, %v: want one", files, err)
	}
	r, err := capture.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cfg.Capture = ""
	again := &sourcetest.Memory{}
	m, err := venue.NewMachine(tr.spec, cfg, again, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Play(t.Context(), r, m, 0); err != nil {
		t.Fatal(err)
	}
	live, played := tr.out.Entries(), again.Entries()
	last := 0
	for i, e := range live {
		if e.Topic != schemas.VenuesStatus.Name && e.Type != "Tick" {
			last = i + 1
		}
	}
	if last == 0 || len(played) < last {
		t.Fatalf("%d records live, %d played", last, len(played))
	}
	one, other := &sourcetest.Memory{}, &sourcetest.Memory{}
	for i := range last {
		one.Add(live[i])
		other.Add(played[i])
		if i%64 == 63 || i == last-1 {
			if one.Digest(nil) != other.Digest(nil) {
				t.Fatalf("records up to %d of %d differ: live %v, played %v", i, last, live[i], played[i])
			}
			one, other = &sourcetest.Memory{}, &sourcetest.Memory{}
		}
	}
}
