package evaluate

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

// On a seed that nothing was chosen on: few enough alarms, single transfers and splits of a size that is rare for the asset found, shuffles
// inside an exchange never more than low.
func TestWhaleStudy(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	dir := testservices.DataDir(t)
	result, err := RunStudy(t.Context(), StudyOptions{
		Detector: "whale_movement", Seed: 3, Days: 30,
		Data: []string{
			filepath.Join(dir, "ethereum-etl", "blocks_17173049_17173050", "expected_token_transfers.json.gz"), filepath.Join(dir, "anomaly", "whale", "eth_address_labels.csv.gz"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := result.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	r := result.(*WhaleReport)
	if r.Shape.Transfers != 291 || r.Shape.Largest < 600321.87 || r.Shape.Largest > 600321.89 {
		t.Errorf("%d transfers, largest %.2f: want 291 and 600321.88", r.Shape.Transfers, r.Shape.Largest)
	}
	for i, a := range r.Assets {
		if a.Medium.Value > 5 {
			t.Errorf("%s asset: %.2f events of medium or above a day, want 5 at most", a.Asset, a.Medium.Value)
		}
		for _, g := range a.Grades {
			if g.Any != g.Beyond[0] || g.Found != g.Beyond[1] || a.Medium != a.Beyond[1] || g.Naive != (g.NaivePerDay <= a.Medium.Value) {
				t.Errorf("%s asset, %s: %+v, want any and found to be those by severity, and the naive rule to find what costs no more than %v", a.Asset, g.Grade, g, a.Medium)
			}
			for s := 1; s < len(g.Beyond); s++ {
				if g.Beyond[s].Value > g.Beyond[s-1].Value || a.Beyond[s].Value > a.Beyond[s-1].Value {
					t.Errorf("%s asset, %s: more of %s and above than of the severity below", a.Asset, g.Grade, severityNames[s])
				}
			}
			rare := i == 1 || strings.HasPrefix(g.Grade, "99.99 ") // 99.9 % of the busy asset's sizes is passed twelve times a day
			switch {
			case strings.HasSuffix(g.Grade, "internal"):
				if g.Found.Value > 0 {
					t.Errorf("%s asset, %s: %.3f are more than low", a.Asset, g.Grade, g.Found.Value)
				}
			case rare && strings.HasSuffix(g.Grade, "size") && g.Found.Value < 0.95,
				rare && strings.Contains(g.Grade, " in 20 ") && !strings.HasSuffix(g.Grade, "senders") && g.Found.Value < 0.9,
				rare && strings.HasSuffix(g.Grade, "senders") && g.Found.Value < 0.85:
				t.Errorf("%s asset, %s: found %.3f of %d", a.Asset, g.Grade, g.Found.Value, g.N)
			}
		}
	}
}
