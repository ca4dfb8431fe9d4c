package evaluate

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

// The naive rule gives the table of the design, the detector held to the knob gives the naive rule's episodes, and a venue that pays by
// the hour the same episodes as one that pays every eight.
func TestFundingStudy(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(testservices.DataDir(t), "funding-supervik", "*", "*.csv.gz"))
	if err != nil || len(paths) != 4 {
		t.Skipf("%d histories, %v", len(paths), err)
	}
	result, err := RunStudy(t.Context(), StudyOptions{Detector: "funding_rate", Data: paths, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := result.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	r := result.(*FundingReport)
	want := []NaiveFunding{
		{Series: "binance BTC", Payments: 4383, Beyond: 92, ByYear: []int{16, 74, 2, 0}, Negative: 3, Episodes: 22, Base: 0.41, ZeroMAD: 0.33},
		{Series: "bybit BTC", Payments: 3285, Beyond: 126, ByYear: []int{0, 126, 0, 0}, Negative: 3, Episodes: 23, Base: 0.46, ZeroMAD: 0.40},
		{Series: "binance ETH", Payments: 4383, Beyond: 150, ByYear: []int{39, 106, 5, 0}, Negative: 7, Episodes: 37, Base: 0.41, ZeroMAD: 0.36},
		{Series: "bybit ETH", Payments: 3285, Beyond: 131, ByYear: []int{0, 126, 5, 0}, Negative: 6, Episodes: 16, Base: 0.49, ZeroMAD: 0.52},
	}
	near := cmp.Comparer(func(a, b float64) bool { return a-b < 0.006 && b-a < 0.006 })
	episodes := 0
	for _, d := range r.Detector {
		episodes += d.Episodes
	}
	if e := r.Equal; e.Episodes > episodes || e.Episodes < episodes-3 || !(e.Threshold > 0.0005 && e.Threshold < 0.001) {
		t.Errorf("the naive rule in hindsight has %d episodes at %v: want the detector's %d, below 0.1 %%", e.Episodes, e.Threshold, episodes)
	}
	if diff := cmp.Diff(want, r.Naive, near); diff != "" {
		t.Errorf("naive rule (-want +got):\n%s", diff)
	}
	for i, d := range r.Detector {
		if d.Strict != want[i].Episodes {
			t.Errorf("%s: %d episodes by the knob alone, want %d", d.Series, d.Strict, want[i].Episodes)
		}
		if !d.HourlySame {
			t.Errorf("%s: an hourly series of an eighth each gives other episodes", d.Series)
		}
	}
	if both := r.Together[0]; both.Either != 152 || both.Both != 48 {
		t.Errorf("2021: %d slots with either BTC venue beyond the knob, %d with both: want 152 and 48", both.Either, both.Both)
	}
	for _, i := range r.Injections {
		if i.Naive && i.Found.Value < 1 {
			t.Errorf("%s %+.2f %%: found %.3f, want all that reach the knob", i.Asset, i.Rate, i.Found.Value)
		}
		if i.Rate == 0.05 && i.Found.Value < 0.9 {
			t.Errorf("%s %+.2f %%: found %.3f, want 0.9 of half the knob", i.Asset, i.Rate, i.Found.Value)
		}
	}
}
