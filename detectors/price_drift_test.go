package detectors

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// What the statistic is for: returns that agree, in 5, 10 or 20 minutes; and what it is not for: single ones.
func TestDriftScores(t *testing.T) {
	const sigma = 0.001
	for _, c := range []struct {
		name    string
		returns []float64 // over sigma, after a quiet hour
		want    float64
	}{
		{"quiet", nil, 0},
		{"one jump, however large", []float64{50}, 0.85},
		{"a jump and back", []float64{50, -50}, 0.85},
		{"five minutes of 2", []float64{2, 2, 2, 2, 2}, 0.85 * 2 * math.Sqrt(5)},
		{"five minutes of 20", []float64{20, 20, 20, 20, 20}, 0.85 * 5},
		{"ten minutes of 1.5", []float64{1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5}, 1.5 * math.Sqrt(10)},
		{"ten minutes downwards", []float64{-1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -1.5}, 1.5 * math.Sqrt(10)},
		{"up and down", []float64{2, -2, 2, -2, 2, -2, 2, -2, 2, -2}, 0.85 * 2 / math.Sqrt(5)},
	} {
		var d drift
		for range 60 {
			d.add(0, sigma)
		}
		best := 0.0
		for _, z := range c.returns {
			d.add(z*sigma, sigma)
			best = max(best, d.score())
		}
		if math.Abs(best-c.want) > 0.2 {
			t.Errorf("%s: the score is %.2f, want about %.2f", c.name, best, c.want)
		}
	}
	var d drift
	for i := range driftMinutes {
		if d.known() || d.score() != 0 {
			t.Fatalf("after %d minutes the score is known", i)
		}
		d.add(sigma, sigma)
	}
	if want := 1.15 * math.Sqrt(driftMinutes); !d.known() || math.Abs(d.score()-want) > 0.01 {
		t.Errorf("twenty minutes of 1 score %.3f, want %.3f", d.score(), want)
	}
}

// Scores are bounded and blind to direction, and a restored drift goes on alike.
func TestDriftProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d, mirror drift
		for _, r := range rapid.SliceOfN(rapid.Float64Range(-0.5, 0.5), 0, 60).Draw(t, "returns") {
			d.add(r, 0.001)
			mirror.add(-r, 0.001)
			if s := d.score(); s < 0 || s > 1.15*5.01 || s != mirror.score() {
				t.Fatalf("the score is %v, that of the mirror image %v", s, mirror.score())
			}
		}
		var again drift
		rest, err := again.RestoreState(append(d.AppendState(nil), 7))
		if err != nil || !bytes.Equal(rest, []byte{7}) || again.score() != d.score() || again.swarm(0.001) != d.swarm(0.001) {
			t.Fatalf("restore gives %+v, rest %v, %v; want %+v", again, rest, err, d)
		}
	})
}

func FuzzDriftRestoreState(f *testing.F) {
	var d drift
	f.Add(d.AppendState(nil))
	d.add(0.01, 0.001)
	f.Add(d.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d drift
		if _, err := d.RestoreState(b); err == nil {
			d.add(0.01, 0.001)
			d.score()
		}
	})
}
