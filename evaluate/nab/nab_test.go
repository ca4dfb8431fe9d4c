package nab

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

func corpus(t testing.TB) []dataset {
	t.Helper()
	all, err := load(filepath.Join(testservices.DataDir(t), "nab"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sumRule alarms where a value is at least its share of the 288 before it: a rule whose published score is known.
func sumRule(values []float64) []int {
	var out []int
	sum := 0.0
	for i, x := range values {
		if i >= 288 {
			if x > 0 && 288*x >= 8*sum {
				out = append(out, i)
			}
			sum -= values[i-288]
		}
		sum += x
	}
	return out
}

// The scorer gives known raw scores for a known rule: AAPL to the last digit, all five to 1.3 in ten thousand of a row's weight (the
// published sum is -46.2543, this one -46.2542; windows and false rows are the same).
func TestScorerCheck(t *testing.T) {
	var all tally
	for i, s := range corpus(t) {
		one := judge(sumRule(s.values), s.windows, len(s.values), Profiles()[0])
		if i == 0 && (math.Abs(one.raw+5.2156) > 5e-5 || one.windows != 4 || one.wrong != 86) {
			t.Errorf("AAPL: raw %.4f with %d windows and %d false rows, want -5.2156 with 4 and 86", one.raw, one.windows, one.wrong)
		}
		all.add(one)
	}
	if math.Abs(all.raw+46.2543) > 2e-4 || all.found != 13 || all.wrong != 514 {
		t.Errorf("all: raw %.6f, %d windows found and %d false rows, want -46.2543, 13 and 514", all.raw, all.found, all.wrong)
	}
}

// Doing nothing scores 0, an alarm on each window's first row 100, and an alarm far from every window costs its whole weight.
func TestScoreEnds(t *testing.T) {
	windows := []window{{200, 299}, {600, 699}}
	for _, p := range Profiles() {
		if got := judge(nil, windows, 1000, p).score(); got != 0 {
			t.Errorf("%s: nothing scores %v, want 0", p.Name, got)
		}
		perfect := judge([]int{200, 201, 600}, windows, 1000, p)
		if math.Abs(perfect.score()-100) > 1e-9 || perfect.found != 2 || perfect.wrong != 0 {
			t.Errorf("%s: perfect scores %v, want 100", p.Name, perfect.score())
		}
		wrong := judge([]int{160, 200, 600}, windows, 1000, p)
		if want := 100 - 100*p.False/(2+2*p.Miss); math.Abs(wrong.score()-want) > 1e-9 || wrong.wrong != 1 {
			t.Errorf("%s: one false alarm scores %v, want %v", p.Name, wrong.score(), want)
		}
		if got := judge([]int{149}, windows, 1000, p); got.wrong != 0 || got.score() != 0 {
			t.Errorf("%s: an alarm in the probation counts: %+v", p.Name, got)
		}
	}
}

// The engine keeps what it reached; more is welcome, less is a regression.
func TestVolumeEngine(t *testing.T) {
	r, err := Run(filepath.Join(testservices.DataDir(t), "nab"))
	if err != nil {
		t.Fatal(err)
	}
	for i, least := range []float64{80, 73, 84} {
		if got := r.Profiles[i]; got.Score < least {
			t.Errorf("%s: %.1f, want at least %.0f", got.Profile, got.Score, least)
		}
	}
	var text strings.Builder
	if err := r.Sheet().Text(&text); err != nil || !strings.Contains(text.String(), "standard") {
		t.Errorf("the table is %q, error %v", text.String(), err)
	}
	t.Log("\n" + text.String())
}

// The engine is causal and blind to what comes after: a prefix gives a prefix of the alarms.
func TestVolumeEngineIsCausal(t *testing.T) {
	var s dataset
	for i := range 3000 {
		s.at = append(s.at, int64(i)*5*minute)
		v := 100 + 10*math.Sin(float64(i))
		if i == 2500 || i == 2501 || i == 2502 {
			v = 3000
		}
		s.values = append(s.values, v)
	}
	all, err := s.alarms(chosen())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || all[len(all)-1] < 2500 || all[len(all)-1] > 2502 {
		t.Fatalf("alarms at %v: the burst at 2500 must be among them", all)
	}
	s.at, s.values = s.at[:2501], s.values[:2501]
	prefix, err := s.alarms(chosen())
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range prefix {
		if a != all[i] {
			t.Errorf("alarm %d of the prefix is at %d, of the whole at %d", i, a, all[i])
		}
	}
}

// The score does not hang on one lucky setting: of 36 neighbours the middle one keeps 60.
func TestNeighboursOfTheSettings(t *testing.T) {
	if testing.Short() {
		t.Skip("36 runs")
	}
	all := corpus(t)
	var scores []float64
	for _, w := range []int64{5 * minute, 15 * minute, hour} {
		for _, h := range []int64{6 * hour, 2 * day} {
			for _, rate := range []float64{1.0 / 3, 1.0 / 7, 1.0 / 14} {
				for _, q := range []int64{day, 2 * day} {
					r, err := score(all, settings{window: w, halfLife: h, rate: rate, quiet: q})
					if err != nil {
						t.Fatal(err)
					}
					scores = append(scores, r.Profiles[0].Score)
				}
			}
		}
	}
	slices.Sort(scores)
	n := len(scores)
	t.Logf("standard over %d settings: least %.1f, median %.1f, most %.1f", n, scores[0], (scores[n/2]+scores[(n-1)/2])/2, scores[n-1])
	if scores[n/2] < 60 {
		t.Errorf("the middle of the neighbours scores %.1f, want at least 60", scores[n/2])
	}
}
