package simulator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// tape is a Publisher that checks and counts what it gets.
type tape struct {
	t      *testing.T
	hash   [32]byte
	counts map[string]int
	ticked map[string]schemas.Time // by topic
	last   map[string]schemas.Time // by topic and key
	ids    map[string]bool         // topic, key, type, id
	see    func(schemas.Topic, schemas.Message)
	enc    schemas.Encoder
}

func (p *tape) Publish(topic schemas.Topic, m schemas.Message) error {
	key, at, name := topic.KeyOf(m), schemas.TimeOf(m), schemas.TypeOf(m)
	switch err := schemas.Validate(m); {
	case err != nil:
		p.t.Fatal(err)
	case !topic.Carries(m):
		p.t.Fatalf("a %s stands on %s", name, topic.Name)
	case key == "" || !topic.KeyMatches([]byte(key), m):
		p.t.Fatalf("a %s on %s has the key %q", name, topic.Name, key)
	case at <= p.ticked[topic.Name]:
		p.t.Fatalf("a %s of %v stands behind the tick of %v: it is late", name, at, p.ticked[topic.Name])
	case p.ticked[topic.Name] > 0 && at > p.ticked[topic.Name].Add(time.Second):
		p.t.Fatalf("a %s of %v stands before the tick of its second, %v", name, at, p.ticked[topic.Name])
	case at < p.last[topic.Name+key]:
		p.t.Fatalf("%s of %s: %v comes after %v", name, key, at, p.last[topic.Name+key])
	}
	p.last[topic.Name+key] = at
	id := strings.Join([]string{topic.Name, key, name, schemas.MetaOf(m).Id}, " ")
	if p.ids[id] {
		p.t.Fatalf("the id of %s comes twice", id)
	}
	p.ids[id] = true
	b, err := p.enc.AppendValue(p.hash[:], topic, m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.hash = sha256.Sum256(b)
	p.counts[name]++
	if p.see != nil {
		p.see(topic, m)
	}
	return nil
}

func (p *tape) Tick(_ string, at schemas.Time, topics ...schemas.Topic) error {
	for _, t := range topics {
		p.ticked[t.Name] = at
	}
	p.counts["Tick"]++
	return nil
}

func (p *tape) Flush(context.Context) error { return nil }

func play(t *testing.T, cfg Config, see func(schemas.Topic, schemas.Message)) *tape {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &tape{t: t, counts: map[string]int{}, ticked: map[string]schemas.Time{}, last: map[string]schemas.Time{}, ids: map[string]bool{}, see: see}
	if err := s.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func small() Config {
	c := Defaults()
	c.Start, c.Duration, c.Speed, c.Instruments, c.Rate, c.RareAnomaliesPerDay = "2024-01-01T00:00:00Z", time.Hour, 0, 8, 100, 200
	return c
}

func tradesOnly() Config {
	c := small()
	c.Kinds, c.RareAnomaliesPerDay = []string{"trades"}, 0
	return c
}

// goldenDigest is the SHA-256 chain over the records of small(). It changes with the market, never with the machine: amd64 with
// and without fused multiplication (GOAMD64=v3) and arm64 must give the same. A commit that changes it says why.
const goldenDigest = "4ff16c388a70c522794cd6a66fd5570d9df8c661618585c87970c04738c26175"

func TestSameSeedSameTape(t *testing.T) {
	testservices.Study(t)
	a := play(t, small(), nil)
	if got := hex.EncodeToString(a.hash[:]); got != goldenDigest {
		t.Errorf("the digest of the records is %s, want %s", got, goldenDigest)
	}
	brief, other := small(), small()
	brief.Duration, other.Duration, other.Seed = time.Minute, time.Minute, 2
	if play(t, other, nil).hash == play(t, brief, nil).hash {
		t.Error("another seed gives the same tape")
	}
	if n := a.counts["Tick"]; n != 3601 {
		t.Errorf("%d ticks in an hour, want 3601", n)
	}
	t.Logf("records: %v", a.counts)
	for _, k := range []string{
		"Trade", "Quote", "BookSnapshot", "Mark", "Funding", "OpenInterest", "Liquidation", "OptionQuote", "Transfer", "Earnings",
		"FundamentalFact", "Bar", "MacroObservation", "Article", "FeedHealth", "VenueStatus",
	} {
		if a.counts[k] == 0 {
			t.Errorf("an hour has no %s", k)
		}
	}
}

// The rate holds on the mean of many weeks, over all kinds: seconds spread over a week, for a hundred seeds.
func TestRate(t *testing.T) {
	for _, rate := range []float64{200, 2000} {
		n, seconds := 0, 0
		for seed := range 100 {
			cfg := small()
			cfg.Seed, cfg.Rate, cfg.AnomaliesPerDay, cfg.RareAnomaliesPerDay = uint64(seed), rate, 0, 0
			m := NewMarket(cfg, monday, nil)
			for range 42 {
				seconds++
				if err := m.Second(func(schemas.Topic, schemas.Message) error { n++; return nil }); err != nil {
					t.Fatal(err)
				}
				m.now = m.now.Add(4*time.Hour - time.Second)
			}
		}
		if got := float64(n) / float64(seconds); got < 0.88*rate || got > 1.12*rate {
			t.Errorf("%.0f records a second, want about %.0f", got, rate)
		}
	}
}

// From one record a second to a million the rate is what is asked for: activity does not hang on it, so that in the same seconds
// there are as many times more.
func TestRatesFromOneToAMillion(t *testing.T) {
	count := func(rate float64, seconds int) (n float64) {
		cfg := tradesOnly()
		cfg.Rate, cfg.AnomaliesPerDay = rate, 0
		m := NewMarket(cfg, monday, nil)
		for range seconds {
			if err := m.Second(func(schemas.Topic, schemas.Message) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		return n / rate
	}
	const brief, long = 1, 3600
	if one, many := count(1, long), count(100, long); math.Abs(one/many-1) > 0.1 {
		t.Errorf("at one a second %.3f times the rate, at a hundred %.3f", one, many)
	}
	if thousands, million := count(100_000, brief), count(1_000_000, brief); math.Abs(million/thousands-1) > 0.05 {
		t.Errorf("at a million a second %.3f times the rate, at a tenth of it %.3f", million, thousands)
	}
}

// Speed changes when records come, not what they say.
func TestSpeedDoesNotShow(t *testing.T) {
	slow := small()
	slow.Duration, slow.Speed = 3*time.Second, 30
	fast := slow
	fast.Speed = 0
	if play(t, slow, nil).hash != play(t, fast, nil).hash {
		t.Error("the paced tape differs from the one at full speed")
	}
}

// A backfill takes no time, and what follows it keeps pace with the clock; topics that hold records get none.
func TestBackfill(t *testing.T) {
	for empty, want := range map[bool]int{true: 603, false: 3} {
		synctest.Test(t, func(t *testing.T) {
			cfg := tradesOnly()
			cfg.Start, cfg.Speed, cfg.Duration, cfg.Backfill = "now", 1, time.Duration(want)*time.Second, 10*time.Minute
			s, err := New(cfg, time.Now, func(context.Context, []schemas.Topic) (bool, error) { return empty, nil })
			if err != nil {
				t.Fatal(err)
			}
			began, ahead := time.Now(), 0
			p := &tape{t: t, counts: map[string]int{}, ticked: map[string]schemas.Time{}, last: map[string]schemas.Time{}, ids: map[string]bool{}}
			p.see = func(_ schemas.Topic, m schemas.Message) {
				if schemas.TimeOf(m) > schemas.Time(time.Now().Add(pace).UnixNano()) {
					ahead++
				}
			}
			if err := s.Run(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("empty %v: took %v, want 3 s", empty, took)
			}
			if n := p.counts["Tick"]; n != want+1 {
				t.Errorf("empty %v: %d ticks, want %d", empty, n, want+1)
			}
			if ahead > 0 {
				t.Errorf("empty %v: %d of %d trades lie ahead of the clock", empty, ahead, p.counts["Trade"])
			}
		})
	}
}

// An instrument's price depends neither on how many others there are, nor on the rate, nor on what else is made.
func TestPricesStandAlone(t *testing.T) {
	path := func(change func(*Config)) []float64 {
		cfg := tradesOnly()
		change(&cfg)
		m := NewMarket(cfg, monday, nil)
		var out []float64
		for range 600 {
			if err := m.Second(func(schemas.Topic, schemas.Message) error { return nil }); err != nil {
				t.Fatal(err)
			}
			out = append(out, m.items[0].to, m.items[2].to)
		}
		return out
	}
	want := path(func(*Config) {})
	for name, change := range map[string]func(*Config){
		"more instruments": func(c *Config) { c.Instruments = 50 },
		"another rate":     func(c *Config) { c.Rate = 3 },
		"all kinds":        func(c *Config) { c.Kinds = kinds(); c.BookInterval = 0 },
	} {
		if !slices.Equal(path(change), want) {
			t.Errorf("%s: the prices differ", name)
		}
	}
}

// No allocation for a trade, a quote or a book once the buffers have their size; the texts of ids come 256 in one.
func TestAllocations(t *testing.T) {
	cfg := small()
	cfg.Kinds, cfg.Rate, cfg.AnomaliesPerDay, cfg.RareAnomaliesPerDay = []string{"trades", "quotes", "books"}, 20_000, 0, 0
	m := NewMarket(cfg, monday, nil)
	n := 0
	second := func() {
		if err := m.Second(func(schemas.Topic, schemas.Message) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		second()
	}
	n = 0
	const rounds = 20
	per := testing.AllocsPerRun(rounds, second) * (rounds + 1) / float64(n)
	if per > 0.02 {
		t.Errorf("%.3f allocations a record, want at most 0.02", per)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"simulator.venue is empty":         func(c *Config) { c.Venue = "" },
		"simulator.instruments is 0":       func(c *Config) { c.Instruments = 0 },
		"simulator.rate is -1":             func(c *Config) { c.Rate = -1 },
		"simulator.duration, calm and ba":  func(c *Config) { c.Backfill = -1 },
		"simulator.backfill is 1h0m0s":     func(c *Config) { c.Backfill, c.Start = time.Hour, "2024-01-01T00:00:00Z" },
		`simulator.start is "today"`:       func(c *Config) { c.Start = "today" },
		"simulator.book_levels is 0":       func(c *Config) { c.BookLevels = 0 },
		"simulator.book_interval is 1.5s":  func(c *Config) { c.BookInterval = 1500 * time.Millisecond },
		"simulator.speed is -1":            func(c *Config) { c.Speed = -1 },
		"simulator.anomalies_per_day":      func(c *Config) { c.AnomaliesPerDay = -1 },
		"simulator.rare_anomalies_per_day": func(c *Config) { c.RareAnomaliesPerDay = -1 },
		"simulator.volatility_per_day":     func(c *Config) { c.VolatilityPerDay = 0 },
		`simulator.kinds has "trade"`:      func(c *Config) { c.Kinds = []string{"trade", "books"} },
		`simulator.kinds is []`:            func(c *Config) { c.Kinds = nil },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// The file of labels has one JSON object a line, and a day has every kind.
func TestLabelFile(t *testing.T) {
	testservices.Study(t)
	cfg := small()
	cfg.Duration, cfg.AnomaliesPerDay, cfg.RareAnomaliesPerDay, cfg.Rate, cfg.BookInterval = 4*time.Hour, 200, 1000, 1, time.Minute
	cfg.Labels = filepath.Join(t.TempDir(), "labels.jsonl")
	play(t, cfg, nil)
	text, err := os.ReadFile(cfg.Labels)
	if err != nil {
		t.Fatal(err)
	}
	found, detectors := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(text)) {
		var l Label
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		from, err1 := time.Parse(time.RFC3339, l.Start)
		to, err2 := time.Parse(time.RFC3339, l.End)
		if err1 != nil || err2 != nil || !to.After(from) || l.Key == "" || l.Size == 0 {
			t.Errorf("label %s: it must have a start before its end, a key and a size", line)
		}
		found[l.Kind]++
		detectors[l.Detector]++
	}
	t.Logf("labels: %v", found)
	for _, k := range []string{
		priceJump, priceRamp, flashCrash, volumeBurst, liquidityCut, "correlation_break", "dislocation", outageSilence, outageDisconnect, outageBeats,
		outageAnnounced, symbolHalt, "funding_spike", "whale_transfer", "whale_split", "earnings_beat", "earnings_miss", "earnings_sign_flip",
		"earnings_correction",
	} {
		if found[k] == 0 {
			t.Errorf("four hours have no %s", k)
		}
	}
	if len(detectors) != 9 {
		t.Errorf("labels for %v: want the eight watchdogs and arbitrage_opportunity", detectors)
	}
}
