package evaluate

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/schemas"
)

// minuteZero is the first minute of 2019.
const minuteZero = schemas.Time(1546300800e9)

// write puts lines into a file of a temporary folder.
func write(t testing.TB, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseSeries(t *testing.T) {
	got, err := ParseSeries([]string{"a/BTCUSD_2018.csv.gz", "a/BTCUSD_2019.csv.gz", "eth-usdt=b/x.csv", "LTCUSD.csv"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{{"BTC-USD", []string{"a/BTCUSD_2018.csv.gz", "a/BTCUSD_2019.csv.gz"}}, {"ETH-USDT", []string{"b/x.csv"}}, {"LTC-USD", []string{"LTCUSD.csv"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := ParseSeries([]string{"=x.csv"}); err == nil {
		t.Error("a series without a symbol is taken")
	}
}

// The simulator's labels: those of the detector, or of the one that a naive rule stands beside.
func TestSimulatedLabels(t *testing.T) {
	path := write(t, "labels.jsonl",
		`{"kind":"price_jump","detector":"price_anomaly","key":"sim:S000-USD","venue":"sim","symbol":"S000-USD","start":"2019-01-01T00:05:00Z","end":"2019-01-01T00:05:01Z","size":0.05}`,
		`{"kind":"volume_burst","detector":"unusual_volume","key":"sim:S001-USD","venue":"sim","symbol":"S001-USD","start":"2019-01-01T00:06:00Z","end":"2019-01-01T00:21:00Z","size":4}`,
		`{"kind":"price_jump","detector":"price_anomaly","key":"sim:S002-USD","venue":"sim","symbol":"S002-USD","start":"2019-02-01T00:00:00Z","end":"2019-02-01T00:00:01Z","size":0.05}`)
	january := Range{From: minuteZero, To: minuteZero.Add(31 * 24 * time.Hour)}
	for detector, want := range map[string][]label{
		"price_anomaly": {{"S000-USD", minuteZero.Add(5 * time.Minute)}},
		NaivePrice:      {{"S000-USD", minuteZero.Add(5 * time.Minute)}},
		NaiveVolume:     {{"S001-USD", minuteZero.Add(6 * time.Minute)}},
		"funding_rate":  nil,
	} {
		got, err := readLabels(path, detector, january)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(label{})); d != "" {
			t.Errorf("%s: %s", detector, d)
		}
	}
	if _, err := readLabels(write(t, "broken.jsonl", `{"start":"soon"}`), NaivePrice, january); err == nil {
		t.Error("a label without a time is taken")
	}
}

func TestParseRange(t *testing.T) {
	r, err := ParseRange("2019-01-01..2019-01-01T00:30:00Z")
	if err != nil || r.From != minuteZero || r.To != minuteZero.Add(30*time.Minute) {
		t.Errorf("got %v, %v", r, err)
	}
	for _, text := range []string{"2019-01-01", "2019-01-01..2018-01-01", "x..", "2019-01-01..2019-01-01"} {
		if _, err := ParseRange(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	for _, text := range []string{"..", "2018-01-01..", "2018-01-01..2019-01-01"} {
		r, err := ParseRange(text)
		if err != nil || r.String() != text {
			t.Errorf("%q reads as %v, %v", text, r, err)
		}
	}
}

func TestParseRates(t *testing.T) {
	got, err := ParseRates("shipped,1/day,1/week,2/month")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Rate{0, 1, 1.0 / 7, 2.0 / 30}, got); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", "1", "0/day", "25/day", "1/fortnight", "x/day"} {
		if _, err := ParseRates(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestColumnsNameWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{"minute,close": "must have", "minute,close,volume,colour": "colour"} {
		if _, err := parseColumns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %q", text, err, want)
		}
	}
	c, err := parseColumns("second,-,open,high,low,close,volume")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.parse("1546300830,x,1,3,0.5,2,7")
	if want := (candle{minuteZero, 1, 3, 0.5, 2, 7}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, line := range []string{"1546300830,x,1,3,0.5,2", "a,x,1,3,0.5,2,7", "1546300830,x,1,3,0.5,NaN,7", "1546300830,x,1,3,0.5,-2,7"} {
		if _, err := c.parse(line); err == nil {
			t.Errorf("line %q is taken", line)
		}
	}
}

// A missing minute holds the last close and no volume; a series that begins later has a close of zero before.
func TestStreamFillsGaps(t *testing.T) {
	a := Series{"A", []string{write(t, "a.csv", "25771680,10,11,9,5", "25771682,12,13,11,6"), write(t, "a2.csv", "25771683,13,14,12,7")}}
	b := Series{"B", []string{write(t, "b.csv", "25771681,1,2,1,3")}}
	c, err := parseColumns(DefaultColumns)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStream([]Series{a, b}, c, Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var closes, volumes [2][]float64
	for {
		rows, err := s.look(2)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		if at := minuteZero.Add(time.Duration(len(closes[0])) * time.Minute); rows[0].start != at {
			t.Fatalf("row at %v, want %v", rows[0].start, at)
		}
		for i, k := range rows[0].candles {
			closes[i] = append(closes[i], k.close)
			volumes[i] = append(volumes[i], k.volume)
		}
		s.take()
	}
	want := [4][]float64{{10, 10, 12, 13}, {0, 1, 1, 1}, {5, 0, 6, 7}, {0, 3, 0, 0}}
	if d := cmp.Diff(want, [4][]float64{closes[0], closes[1], volumes[0], volumes[1]}); d != "" {
		t.Error(d)
	}
}

// A tape's trades become the candles that a CSV of the same minutes gives.
func TestTapeMakesCandles(t *testing.T) {
	line := `{"topic":"market.trades","key":"test:%s","type":"Trade","value":{"meta":{"source":"s","venue":"test","symbol":"%s","id":"%d","event_time":"%d"},` +
		`"price":{"mantissa":"%d"},"quantity":{"mantissa":"%d"}}}`
	var lines []string
	for i, x := range []struct {
		symbol                string
		second, price, amount int
	}{{"A-USD", 0, 10, 1}, {"B-USD", 1, 99, 1}, {"A-USD", 20, 12, 2}, {"A-USD", 59, 11, 3}, {"A-USD", 121, 13, 4}, {"A-USD", 60, 50, 1}, {"A-USD", 125, 12, 5}} {
		at := int64(minuteZero.Add(time.Duration(x.second) * time.Second))
		lines = append(lines, fmt.Sprintf(line, x.symbol, x.symbol, i, at, x.price, x.amount))
	}
	f, err := openTape(write(t, "a.jsonl", lines...), "A-USD")
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var got []candle
	for {
		k, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, k)
	}
	want := []candle{{minuteZero, 10, 12, 10, 11, 6}, {minuteZero.Add(2 * time.Minute), 13, 13, 12, 12, 9}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(candle{})); d != "" {
		t.Error(d)
	}
}

func TestStreamRefusesDisorder(t *testing.T) {
	s := Series{"A", []string{write(t, "a.csv", "25771682,12,13,11,6", "25771680,10,11,9,5")}}
	c, err := parseColumns(DefaultColumns)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = openReader(s, c); err != nil {
		t.Fatal(err)
	}
	in, err := openStream([]Series{s}, c, Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if _, err := in.look(3); err == nil || !strings.Contains(err.Error(), "order") {
		t.Errorf("got %v, want an error that speaks of order", err)
	}
}

// Bounds from Wilson (1927) and from tables of the exact Poisson interval, which Byar's approximation comes near.
func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		name           string
		got            Interval
		low, high, tol float64
	}{
		{"8 of 10", Wilson(8, 10), 0.4902, 0.9433, 1e-4},
		{"0 of 10", Wilson(0, 10), 0, 0.2775, 1e-4},
		{"10 of 10", Wilson(10, 10), 0.7225, 1, 1e-4},
		{"10 a day", perDay(10, 1), 4.795, 18.39, 0.02},
		{"0 in 2 days", perDay(0, 2), 0, 3.689 / 2, 0.03},
	} {
		if math.Abs(c.got.Low-c.low) > c.tol || math.Abs(c.got.High-c.high) > c.tol {
			t.Errorf("%s: %.4f-%.4f, want %.4f-%.4f", c.name, c.got.Low, c.got.High, c.low, c.high)
		}
	}
	if d := delayOf([]time.Duration{5 * time.Minute, time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute}); d.Median != 3 || d.P90 != 5 || len(d.All) != 5 {
		t.Errorf("delays give %+v, want median 3 and 90 %% 5", d)
	}
}
