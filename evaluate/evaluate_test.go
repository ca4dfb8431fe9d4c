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
