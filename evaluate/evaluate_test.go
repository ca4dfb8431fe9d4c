package evaluate

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

func bitfinex(t testing.TB, names ...string) []Series {
	t.Helper()
	dir := filepath.Join(testservices.DataDir(t), "anomaly", "bitfinex-1m")
	var args []string
	for _, n := range names {
		args = append(args, filepath.Join(dir, n+"_chlv.csv.gz"))
	}
	s, err := ParseSeries(args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The naive volume rule gives the published figures on the first half of 2019.
func TestNaiveVolumeAnchor(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	o := Options{
		Detector: NaiveVolume, Columns: DefaultColumns, Venue: "bitfinex", Series: bitfinex(t, "BTCUSD_2019H1"), Rates: []Rate{0},
	}
	for bar, want := range map[time.Duration]float64{time.Minute: 35.9, 5 * time.Minute: 14.6, 15 * time.Minute: 6.5, time.Hour: 1.6} {
		o.Bar = bar
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Rates[0].Background.Value; got < want-0.05 || got >= want+0.05 {
			t.Errorf("bars of %v: %.3f alarms a day, want %.1f", bar, got, want)
		}
	}
}

// What price_anomaly reached on BTC as shipped; half a year takes seconds.
func TestPriceAnomalyKeepsWhatItReached(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	o := options("price_anomaly", bitfinex(t, "BTCUSD_2019H1")...)
	o.Venue, o.Jumps, o.Ramps = "bitfinex", []float64{3}, []float64{3}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	one := r.Rates[0]
	if one.Background.Value > 2.2 {
		t.Errorf("%.2f alarms a day, want 2.2 at most", one.Background.Value)
	}
	for _, i := range one.Injections {
		if i.N < 140 || i.Found.Value < 0.97 {
			t.Errorf("%s: found %.3f of %d, want 0.97 of 140 at least", i.Grade, i.Found.Value, i.N)
		}
	}
}

// What the calibrated legs of price_anomaly reached on five pairs, the knob out of their way: 3 % jumps 0.95, 3 % ramps 0.60, at 0.27
// alarms a day at most. The budget is the one that 2018 gives at 1.9 alarms a week.
func TestPriceLegsMeetTheirTarget(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	o := options("price_anomaly", bitfinex(t, "BTCUSD_2018", "BTCUSD_2019H1", "ETHUSD_2018", "ETHUSD_2019H1", "LTCUSD_2019H1", "XRPUSD_2019H1", "EOSUSD_2019H1")...)
	o.Venue, o.Jumps, o.Ramps = "bitfinex", []float64{3}, []float64{3}
	o.Config = []byte(`{"threshold_pct":10,"check_interval":"1m","budget_days":3.9}`)
	o.Ignore, o.MinSeverity = []string{"early_warning"}, "low"
	for _, r := range []struct {
		into *Range
		text string
	}{{&o.Fit, "2018-01-01..2019-01-01"}, {&o.Test, "2019-01-01..2019-07-01"}} {
		var err error
		if *r.into, err = ParseRange(r.text); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	one := r.Rates[0]
	t.Logf("%.3f alarms a day", one.Background.Value)
	if one.Background.Value > 0.27 {
		t.Errorf("%.3f alarms a day, want 0.27 at most", one.Background.Value)
	}
	for _, i := range one.Injections {
		least := 0.95
		if i.Grade == "ramp 3 %" {
			least = 0.6
		}
		t.Logf("%s: found %.3f of %d", i.Grade, i.Found.Value, i.N)
		if i.N < 800 || i.Found.Value < least {
			t.Errorf("%s: found %.3f of %d, want %.2f of 800 at least", i.Grade, i.Found.Value, i.N, least)
		}
	}
}
