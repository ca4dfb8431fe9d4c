package evaluate

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	_ "github.com/tapewatch/tapewatch/detectors" // registered
	"github.com/tapewatch/tapewatch/internal/testservices"
)

func earnings(t *testing.T) *EarningsReport {
	t.Helper()
	dir := testservices.DataDir(t)
	result, err := RunStudy(t.Context(), StudyOptions{
		Detector: "earnings_anomaly",
		Data: []string{
			filepath.Join(dir, "anomaly", "earnings", "russell3000_2022q3.csv"), filepath.Join(dir, "earnings", "daniel-bassett_earnings_1993_2023.csv.gz"),
		},
		Labels: filepath.Join(dir, "anomaly", "labels", "earnings_reaction_2022q3.csv"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := result.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	return result.(*EarningsReport)
}

func (r *EarningsReport) rule(t *testing.T, name string) Selection {
	t.Helper()
	for _, s := range r.Selections {
		if s.Rule == name {
			return s
		}
	}
	t.Fatalf("no selection %q", name)
	return Selection{}
}

// The figures of the design, measured by other means, come out of the detector's evidence; and what it reached stays reached.
func TestEarningsStudy(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	r := earnings(t)
	near := func(what string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within {
			t.Errorf("%s is %.4f, want %.4f ± %.4f", what, got, want, within)
		}
	}
	if r.Announcements != 2307 || r.Reactions != 1148 || r.LargeMoves != 476 {
		t.Errorf("%d announcements, %d reactions, %d large: want 2307, 1148, 476", r.Announcements, r.Reactions, r.LargeMoves)
	}
	near("flagged by the documented rule", r.rule(t, "documented rule: 10 %").Share.Value, 0.550, 0.0005)
	near("flagged below 0.10", r.rule(t, "same, estimate below 0.10").Share.Value, 0.89, 0.005)
	near("flagged by the detector", r.rule(t, "detector: any event").Share.Value, 0.537, 0.0005)
	near("z >= 3", r.rule(t, "population z >= 3").Share.Value, 0.13, 0.005)
	for score, want := range map[string]float64{"surprise / price": 0.599, "percent": 0.593, "percent, floor 0.05": 0.595, "raw surprise": 0.512} {
		for _, k := range r.Rankings {
			if k.Score == score {
				near("AUC of "+score, k.AUC, want, 0.0005)
			}
		}
	}
	all, top := r.rule(t, "any surprise"), r.rule(t, "detector: high and critical")
	if top.Share.Value > 0.15 || top.With < 2*all.With {
		t.Errorf("high and above: %.3f of announcements, %.4f with the surprise against %.4f of all: want at most 0.15, and twice as much", top.Share.Value, top.With, all.With)
	}
	if k := r.Rankings[len(r.Rankings)-1]; k.Score != bySeverity {
		t.Errorf("the last ranking is by %q, want the severity", k.Score)
	} else {
		for _, p := range k.Curve { // what the selections count in their own way
			of := map[float64]string{4: "detector: critical", 3: "detector: high and critical", 1: "detector: any event"}[p.Cut]
			if of != "" && (r.rule(t, of).Known != p.Picked || r.rule(t, of).Large != p.Precision) {
				t.Errorf("severity %v: %d picked, precision %v: want those of %s", p.Cut, p.Picked, p.Precision, of)
			}
		}
	}
	for i, s := range r.Selections[8:13] { // any event, low, medium, high, critical
		if i > 0 && s.N == 0 {
			t.Errorf("%s: no announcement", s.Rule)
		}
	}
}

func TestStudyErrors(t *testing.T) {
	for _, o := range []StudyOptions{
		{Detector: "price_anomaly"}, {Detector: "earnings_anomaly"}, {Detector: "earnings_anomaly", Data: []string{"earnings_test.go"}}, {Detector: "earnings_anomaly", Data: []string{"none"}},
	} {
		if _, err := RunStudy(t.Context(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// By hand: five announcements of which three are followed by a large move and one by nobody knows what; equal scores are picked together.
func TestByRank(t *testing.T) {
	of := func(severity int, known bool, reaction float64) *earning {
		return &earning{severity: severity, known: known, reaction: reaction}
	}
	all := []*earning{of(1, true, 0.1), of(4, true, -0.2), of(2, true, 0.01), of(4, false, 0.5), of(1, true, -0.08), of(0, true, 0)}
	score := func(e *earning) float64 { return -float64(e.severity) } // its sign plays no part
	want := []RankPoint{{4, 1, Wilson(1, 3), Wilson(1, 1)}, {2, 2, Wilson(1, 3), Wilson(1, 2)}, {1, 4, Wilson(3, 3), Wilson(3, 4)}, {0, 5, Wilson(3, 3), Wilson(3, 5)}}
	if d := cmp.Diff(want, byRank(all, score)); d != "" {
		t.Error(d)
	}
	k := ranking(bySeverity, all, score)
	for i, n := range []int{1, 1, 2, 4} { // of 5 %, 10 %, 25 % and half
		if k.Firsts[i].Picked != n {
			t.Errorf("the first %v are %d announcements, want %d", firstShares[i], k.Firsts[i].Picked, n)
		}
	}
	if r := ranking(bySeverity, all[3:4], score); len(r.Firsts) > 0 || len(r.Curve) > 0 {
		t.Errorf("without a known reaction the ranking is %+v, want no points", r)
	}
}
