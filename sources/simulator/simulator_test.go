package simulator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// tape is a Publisher that validates, hashes and counts.
type tape struct {
	t      *testing.T
	hash   [32]byte
	counts map[string]int
	last   schemas.Time
	closes map[string][]float64
	enc    schemas.Encoder
}

func (p *tape) Publish(topic schemas.Topic, m schemas.Message) error {
	if err := schemas.Validate(m); err != nil {
		p.t.Fatal(err)
	}
	at := schemas.TimeOf(m)
	if at < p.last {
		p.t.Fatalf("%v of %v comes after %v", schemas.TypeOf(m), at, p.last)
	}
	if tr, ok := m.(*schemas.Trade); ok {
		p.last = at
		p.closes[tr.Meta.Symbol] = append(p.closes[tr.Meta.Symbol], tr.Price.Float())
	}
	b, err := p.enc.AppendValue(p.hash[:], topic, m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.hash = sha256.Sum256(b)
	p.counts[schemas.TypeOf(m)]++
	return nil
}

func (p *tape) Tick(_ string, at schemas.Time, _ ...schemas.Topic) error {
	if at < p.last {
		p.t.Fatalf("the tick of %v stands after a record of %v", at, p.last)
	}
	p.last = at + 1 // what follows lies strictly after the tick
	p.counts["Tick"]++
	return nil
}

func (p *tape) Flush(context.Context) error { return nil }

func play(t *testing.T, cfg Config) *tape {
	t.Helper()
	s, err := New(cfg, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p := &tape{t: t, counts: map[string]int{}, closes: map[string][]float64{}}
	if err := s.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func small() Config {
	c := Defaults()
	c.Start, c.Duration, c.Speed, c.Instruments, c.Rate = "2024-01-01T00:00:00Z", time.Hour, 0, 8, 40
	return c
}

func TestSameSeedSameTape(t *testing.T) {
	a, b := play(t, small()), play(t, small())
	if a.hash != b.hash {
		t.Error("two runs of one configuration differ")
	}
	other := small()
	other.Seed = 2
	if play(t, other).hash == a.hash {
		t.Error("another seed gives the same tape")
	}
	if n := a.counts["Tick"]; n != 3601 {
		t.Errorf("%d ticks in an hour, want 3601", n)
	}
	if n := a.counts["BookSnapshot"]; n != 8*3600/5 {
		t.Errorf("%d books, want %d", n, 8*3600/5)
	}
	if n := a.counts["Trade"]; n < 80_000 || n > 220_000 {
		t.Errorf("%d trades, want about 40 a second", n)
	}
}

// Speed changes when records come, not what they say.
func TestSpeedDoesNotShow(t *testing.T) {
	slow := small()
	slow.Duration, slow.Speed = 3*time.Second, 30
	fast := slow
	fast.Speed = 0
	if play(t, slow).hash != play(t, fast).hash {
		t.Error("the paced tape differs from the one at full speed")
	}
}

// One-second returns have fat tails, and their squares are correlated: volatility clusters.
func TestStylisedFacts(t *testing.T) {
	cfg := small()
	cfg.AnomaliesPerDay, cfg.BookInterval, cfg.Instruments, cfg.Rate, cfg.Duration = 0, 0, 1, 1, 12*time.Hour
	m := NewMarket(cfg, schemas.Time(1704067200e9))
	var r []float64
	last := m.items[0].logPrice
	for range int(cfg.Duration / time.Second) {
		if err := m.Second(func(schemas.Topic, schemas.Message) error { return nil }, nil); err != nil {
			t.Fatal(err)
		}
		r = append(r, m.items[0].logPrice-last)
		last = m.items[0].logPrice
	}
	var m2, m4 float64
	for _, x := range r {
		m2 += x * x
		m4 += x * x * x * x
	}
	n := float64(len(r))
	if kurtosis := m4 / n / (m2 / n) / (m2 / n); kurtosis < 4 {
		t.Errorf("kurtosis is %.1f, want above 4 (normal: 3)", kurtosis)
	}
	day := math.Sqrt(m2/n) * math.Sqrt(secondsPerDay)
	if day < 0.005 || day > 0.15 {
		t.Errorf("volatility is %.3f a day, want near 0.03", day)
	}
}

// Labels name what is in the tape: a jump of the labelled size stands between the trades around its start.
func TestLabelsAreTrue(t *testing.T) {
	cfg := small()
	cfg.AnomaliesPerDay, cfg.Duration = 48, 2*time.Hour
	cfg.Labels = filepath.Join(t.TempDir(), "labels.jsonl")
	m := NewMarket(cfg, schemas.Time(1704067200e9))
	jumps, kinds := 0, map[string]bool{}
	var pending []Label
	before := map[string]float64{}
	for range int(cfg.Duration / time.Second) {
		for _, in := range m.items {
			before[in.symbol] = in.logPrice + in.event.applied
		}
		pending = pending[:0]
		if err := m.Second(func(schemas.Topic, schemas.Message) error { return nil }, func(l Label) { pending = append(pending, l) }); err != nil {
			t.Fatal(err)
		}
		for _, l := range pending {
			kinds[l.Kind] = true
			for _, in := range m.items {
				if l.Kind == "price_jump" && in.symbol == l.Symbol {
					jumps++
					if got := in.logPrice + in.event.applied - before[in.symbol]; math.Abs(got-l.Size) > 0.005 {
						t.Errorf("jump of %s: the price moved %.4f, the label says %.4f", l.Symbol, got, l.Size)
					}
				}
			}
		}
	}
	if jumps == 0 || len(kinds) != 4 {
		t.Errorf("%d jumps, kinds %v: want all four kinds", jumps, kinds)
	}
	play(t, cfg)
	text, err := os.ReadFile(cfg.Labels)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var l Label
	if err := json.Unmarshal([]byte(lines[0]), &l); err != nil || l.Venue != "sim" || l.Kind == "" {
		t.Errorf("first label %q: %v", lines[0], err)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"simulator.venue is empty":     func(c *Config) { c.Venue = "" },
		"simulator.instruments is 0":   func(c *Config) { c.Instruments = 0 },
		"simulator.rate is -1":         func(c *Config) { c.Rate = -1 },
		`simulator.start is "today"`:   func(c *Config) { c.Start = "today" },
		"simulator.book_levels is 0":   func(c *Config) { c.BookLevels = 0 },
		"simulator.speed is -1":        func(c *Config) { c.Speed = -1 },
		"simulator.anomalies_per_day":  func(c *Config) { c.AnomaliesPerDay = -1 },
		"simulator.volatility_per_day": func(c *Config) { c.VolatilityPerDay = 0 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func BenchmarkSecond(b *testing.B) {
	cfg := Defaults()
	cfg.Rate, cfg.BookInterval = 200_000, 0
	m := NewMarket(cfg, schemas.Time(1704067200e9))
	n := 0
	for b.Loop() {
		if err := m.Second(func(schemas.Topic, schemas.Message) error { n++; return nil }, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "trades/s")
}
