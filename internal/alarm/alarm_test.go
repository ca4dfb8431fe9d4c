package alarm

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGrade(t *testing.T) {
	for _, c := range []struct {
		days, effect  float64
		union, byRare Severity
	}{
		{0.5, 1, Low, None},
		{1, 1, Medium, Low},
		{6.9, 1, Medium, Low},
		{7, 1.5, High, Medium},
		{91, 1, High, Medium},
		{92, 1, Critical, High},
		{0.5, 0.5, None, None},
		{1, 0.4, Low, None},
		{7, 0.4, Medium, None},
		{92, 0.99, High, None},
		{1e9, 0.39, None, None},
		{0, 2, Critical, None},
		{92, 2, Critical, Critical},
		{10, 2, Critical, Medium},
		{math.NaN(), 1, Low, None},
		{math.Inf(1), 1, Critical, High},
		{8, math.NaN(), None, None},
	} {
		if got := Grade(c.days, c.effect); got != c.union {
			t.Errorf("Grade(%v days, %v) = %v, want %v", c.days, c.effect, got, c.union)
		}
		if got := GradeByRarity(c.days, c.effect); got != c.byRare {
			t.Errorf("GradeByRarity(%v days, %v) = %v, want %v", c.days, c.effect, got, c.byRare)
		}
	}
	if GradeUncalibrated(1) != Medium || GradeUncalibrated(2) != Critical || GradeUncalibrated(0.9) != None {
		t.Error("GradeUncalibrated does not follow the warm-up rule")
	}
}

// TestEpisodeStories: one letter a bar. In: . quiet, l m h c enter with that severity, H hard trigger (high), s stay. Out: . nothing, O U R.
func TestEpisodeStories(t *testing.T) {
	rules := Rules{Need: 2, Of: 3, ExitBars: 2, CoolDown: 5}
	for _, c := range []struct{ name, in, out string }{
		{"two of three bars open", "m.m", "..O"},
		{"too far apart", "m..m", "...."},
		{"hard opens at once", "H", "O"},
		{"severity rises", "mmhsc", ".OU.U"},
		{"hysteresis holds", "mm.s.s..", ".O.....R"},
		{"cool-down swallows", "mm..mmm", ".O.R..."},
		{"cool-down ends after five bars", "mm..mmmmmm", ".O.R.....O"},
		{"two tiers break the cool-down", "ll..hh", ".O.R.O"},
		{"one tier does not", "ll..mm", ".O.R.."},
		{"one bar of two tiers lets no lesser one through", "ll..hll", ".O.R..."},
		{"stay alone opens nothing", "ssss", "...."},
	} {
		var e Episode
		var out strings.Builder
		for i, b := range []byte(c.in) {
			out.WriteByte(".OUR"[e.Step(rules, bar(int64(i), b))])
		}
		if out.String() != c.out {
			t.Errorf("%s: in %s gives %s, want %s", c.name, c.in, out.String(), c.out)
		}
	}
}

func bar(at int64, b byte) Signal {
	s := Signal{At: at, Severity: Severity(strings.IndexByte("-lmhc", b))}
	switch b {
	case 'l', 'm', 'h', 'c':
		s.Enter = true
	case 'H':
		s.Hard, s.Severity = true, High
	case 's':
		s.Stay, s.Severity = true, None
	default:
		s.Severity = None
	}
	return s
}

func TestWithdraw(t *testing.T) {
	var e Episode
	rules := Rules{Need: 2, Of: 2, ExitBars: 1}
	e.Step(rules, bar(1, 'm'))
	if got := e.Withdraw(2); got != Unchanged || e.Phase() != Quiet {
		t.Errorf("withdrawing a pending episode gives %v in phase %v", got, e.Phase())
	}
	e.Step(rules, bar(3, 'H'))
	if got := e.Withdraw(4); got != Resolve || e.Phase() != Cooling || e.Onset() != 3 || e.Opened() != 3 || e.Peak() != High {
		t.Errorf("withdrawing an active episode gives %v, %+v", got, e)
	}
}

// TestEpisodeProperties: opens and resolves alternate, updates lie between and only rise, and a restored copy goes on alike.
func TestEpisodeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{
			Need: rapid.IntRange(1, 4).Draw(t, "need"), ExitBars: rapid.IntRange(1, 4).Draw(t, "exit"),
			CoolDown: rapid.Int64Range(0, 9).Draw(t, "cool"),
		}
		r.Of = r.Need + rapid.IntRange(0, 4).Draw(t, "of")
		var e Episode
		open, charged, peak := false, false, None
		for i, b := range rapid.SliceOfN(rapid.SampledFrom([]byte("..slmhcH")), 0, 80).Draw(t, "bars") {
			var again Episode
			rest, err := again.RestoreState(append(e.AppendState(nil), 7))
			if err != nil || !bytes.Equal(rest, []byte{7}) || again != e {
				t.Fatalf("restore gives %+v, rest %v, %v; want %+v", again, rest, err, e)
			}
			s := bar(int64(i), b)
			step := e.Step(r, s)
			if step == Open {
				charged = false
			}
			if first := e.Charge(); first != (e.Phase() == Active && !charged) {
				t.Fatalf("bar %d charges: %v, charged before: %v, in phase %v", i, first, charged, e.Phase())
			}
			charged = charged || e.Phase() == Active
			switch step {
			case Open:
				if open || s.Severity == None {
					t.Fatalf("bar %d opened while open=%v, severity %v", i, open, s.Severity)
				}
				open, peak = true, s.Severity
			case Update:
				if !open || s.Severity <= peak {
					t.Fatalf("bar %d updated while open=%v from %v to %v", i, open, peak, s.Severity)
				}
				peak = s.Severity
			case Resolve:
				if !open {
					t.Fatalf("bar %d resolved what was not open", i)
				}
				open = false
			case Unchanged:
			}
		}
	})
}

func FuzzRestoreState(f *testing.F) {
	var e Episode
	f.Add(e.AppendState(nil))
	e.Step(Rules{Need: 1, Of: 1}, bar(1<<60, 'H'))
	f.Add(e.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again Episode
		if _, err := e.RestoreState(b); err != nil {
			return
		}
		if rest, err := again.RestoreState(e.AppendState(nil)); err != nil || len(rest) != 0 || again != e {
			t.Fatalf("restored state does not round-trip: %+v, %+v, %v", e, again, err)
		}
		e.Step(Rules{Need: 1, Of: 99, ExitBars: 1, CoolDown: 1}, bar(5, 'H'))
	})
}

func BenchmarkStep(b *testing.B) {
	var e Episode
	r := Rules{Need: 2, Of: 3, ExitBars: 3, CoolDown: 10}
	for i := int64(0); b.Loop(); i++ {
		e.Step(r, Signal{At: i, Enter: i%7 == 0, Severity: Low})
	}
}
