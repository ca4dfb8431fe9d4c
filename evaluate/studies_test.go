package evaluate

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// recorded names files of the recorded data; it skips without them.
func recorded(t *testing.T, names ...string) []string {
	t.Helper()
	dir := testservices.DataDir(t)
	var out []string
	for _, n := range names {
		out = append(out, filepath.Join(dir, n))
	}
	return out
}

func study2019(t *testing.T, detector, labels string) Result {
	t.Helper()
	var names []string
	for _, s := range []string{"BTC", "ETH", "LTC", "XRP", "EOS"} {
		names = append(names, "anomaly/bitfinex-1m/"+s+"USD_2019H1_chlv.csv.gz")
	}
	o := StudyOptions{Detector: detector, Data: recorded(t, names...), Seed: 1}
	if labels != "" {
		o.Labels = recorded(t, labels)[0]
	}
	r, err := RunStudy(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What exchange_outage reached on five pairs, and on two in eighteen months: every labelled outage, two minutes late in the middle,
// hardly anything else.
func TestOutagesKeepWhatTheyReached(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	five := study2019(t, "exchange_outage", "anomaly/labels/outages_bitfinex.csv")
	two, err := RunStudy(t.Context(), StudyOptions{
		Detector: "exchange_outage", Labels: recorded(t, "anomaly/labels/outages_bitfinex.csv")[0], Seed: 1,
		Data: recorded(t, "anomaly/bitfinex-1m/BTCUSD_2018_chlv.csv.gz", "anomaly/bitfinex-1m/ETHUSD_2018_chlv.csv.gz",
			"anomaly/bitfinex-1m/BTCUSD_2019H1_chlv.csv.gz", "anomaly/bitfinex-1m/ETHUSD_2019H1_chlv.csv.gz"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for outages, r := range map[int]*OutageReport{4: five.(*OutageReport), 10: two.(*OutageReport)} {
		for _, row := range r.Rules {
			if row.Rule != "exchange_outage, high and above, labels" {
				continue
			}
			if row.N != outages || row.Found.Value != 1 || row.Delay.Median > 2 || row.Longest > 3 || row.False.Value > 0.02 {
				t.Errorf("%s: found %.2f of %d, delays %.1f and %.1f min, %.3f false a day: want all of %d, 2 and 3 min at most, 0.02 at most", row.Rule, row.Found.Value, row.N,
					row.Delay.Median, row.Longest, row.False.Value, outages)
			}
		}
	}
}

// What correlation_breakdown reached on five pairs, and that the plain rule, at a higher rate, finds less.
func TestCorrelationsKeepWhatTheyReached(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	r := study2019(t, "correlation_breakdown", "").(*CorrelationReport)
	six, weekly := map[string]float64{}, 0.0
	for _, row := range r.Rules {
		for _, b := range row.Breaks {
			if b.Kind == "full break, 6h" {
				six[row.Rule] = b.Found.Value
			}
			if b.N < 250 {
				t.Errorf("%s, %s: %d injections, want 250 at least", row.Rule, b.Kind, b.N)
			}
		}
		if strings.HasPrefix(row.Rule, "pairs alone, ") && strings.HasSuffix(row.Rule, ", at 1/week") {
			weekly = six[row.Rule]
			if row.PerDay.Value > 1.0/7 {
				t.Errorf("%s: %.3f alarms a day, want one a week at most", row.Rule, row.PerDay.Value)
			}
		}
	}
	if weekly < 0.8 {
		t.Errorf("a pair finds %.2f of the breaks of six hours at one alarm a week, want 0.80 at least", weekly)
	}
	if p := six["basket, per member, budget 7 days"]; p < 0.9 {
		t.Errorf("a basket finds %.2f of them, want 0.90 at least", p)
	}
	if p := six["naive at 1/day, threshold 0.767"]; p == 0 || p > weekly-0.2 {
		t.Errorf("the plain rule at one a day finds %.2f of them: want clearly less than a pair", p)
	}
}

// A break keeps the size of a member's returns, leaves the others alone, and ends.
func TestBreaksKeepTheSizeOfReturns(t *testing.T) {
	s := &correlationStage{symbols: []string{"A", "B"}}
	price := [2]float64{100, 100}
	for k := range 5 * 1440 {
		r := row{start: schemas.Time(k) * schemas.Time(time.Minute), candles: make([]candle, 2)}
		for j := range price {
			price[j] *= 1 + 0.001*math.Sin(float64(k*(j+3)*(j+7)))
			r.candles[j] = candle{close: price[j], volume: 1}
		}
		s.rows = append(s.rows, r)
	}
	const at = 4 * 1440
	b := breaking{2 * time.Hour, 1}
	got := s.perturbed(at, 1, b)
	was, is := 0.0, 0.0
	before := s.rows[at-1].candles[1].close
	for i := range 120 {
		if got[i].candles[0] != s.rows[at+i].candles[0] {
			t.Fatalf("minute %d: the other member changed", i)
		}
		r := s.rows[at+i].candles[1].close/s.rows[at+i-1].candles[1].close - 1
		was += r * r
		r = got[i].candles[1].close/before - 1
		is += r * r
		before = got[i].candles[1].close
	}
	if math.Abs(is/was-1) > 1e-9 {
		t.Errorf("the squares of the returns are %g, want %g", is, was)
	}
	last := got[len(got)-1].candles[1].close / got[len(got)-2].candles[1].close
	if want := s.rows[at+len(got)-1].candles[1].close / s.rows[at+len(got)-2].candles[1].close; math.Abs(last-want) > 1e-12 {
		t.Errorf("the last return is %g, want that of the data, %g", last, want)
	}
}

func TestSilences(t *testing.T) {
	var rows []row
	for k, c := range "x..x.....xx..." {
		v := 0.0
		if c == 'x' {
			v = 1
		}
		rows = append(rows, row{start: schemas.Time(k) * schemas.Time(time.Minute), candles: []candle{{volume: v, close: 1}, {close: 1}}})
	}
	for n, want := range map[int]int{2: 2, 3: 1, 6: 0} {
		if got := silencesOf(rows, n); len(got) != want {
			t.Errorf("silences of %d minutes: %v, want %d", n, got, want)
		}
	}
	if got := merged(silencesOf(rows, 2)); len(got) != 1 || got[0].to != rows[9].start {
		t.Errorf("joined: %v, want one up to minute 9", got)
	}
}

// Books of the recording: what a cut of nine tenths is told by, and what half of the band costs.
func TestCutsAreFound(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	r, err := RunStudy(t.Context(), StudyOptions{Detector: "liquidity_drop", Data: recorded(t, "hftbacktest/usdm/btcusdt_20240808.gz")})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.(*LiquidityReport).Rules {
		if strings.HasPrefix(row.Rule, "naive") {
			continue
		}
		if row.Alarms > 1 {
			t.Errorf("%s, band %g: %d alarms on the untouched books, want 1 at most", row.Rule, row.Band, row.Alarms)
		}
		for _, c := range row.Cuts {
			// By bands only the asks are known all the time.
			if c.Pct == 90 && c.Ever.Value < 0.9 && (row.Rule == "liquidity_drop" || c.Side == "ask") {
				t.Errorf("%s, band %g: cuts of 90 %% of the %s are found %.2f of the time, want 0.9 at least", row.Rule, row.Band, c.Side, c.Ever.Value)
			}
		}
	}
}
