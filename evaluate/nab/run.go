package nab

import (
	"fmt"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// A Result is the score of the volume engine.
type Result struct {
	// Profiles are the scores over all series together.
	Profiles []ProfileResult `json:"profiles"`
	Series   []SeriesResult  `json:"series"`
}

// A ProfileResult is the score under one profile: 100 is perfect, 0 is doing nothing.
type ProfileResult struct {
	Profile string  `json:"profile"`
	Score   float64 `json:"score"`
}

// A SeriesResult is what the engine did on one series; the score is the standard one.
type SeriesResult struct {
	Series  string  `json:"series"`
	Windows int     `json:"windows"`
	Found   int     `json:"found"`
	False   int     `json:"false_alarms"`
	Raw     float64 `json:"raw_standard"`
	Score   float64 `json:"score_standard"`
}

// Run scores the volume engine on every labelled series of a folder of NAB (data and labels), one configuration for all.
func Run(dir string) (*Result, error) {
	all, err := load(dir)
	if err != nil {
		return nil, err
	}
	return score(all, chosen())
}

func score(all []dataset, s settings) (*Result, error) {
	out := &Result{}
	var err error
	alarms := make([][]int, len(all))
	for i := range all {
		if alarms[i], err = all[i].alarms(s); err != nil {
			return nil, fmt.Errorf("running the volume engine on %s: %w", all[i].name, err)
		}
	}
	for k, p := range Profiles() {
		var total tally
		for i := range all {
			one := judge(alarms[i], all[i].windows, len(all[i].values), p)
			total.add(one)
			if k == 0 {
				out.Series = append(out.Series, SeriesResult{
					Series: all[i].name, Windows: one.windows, Found: one.found, False: one.wrong, Raw: one.raw, Score: one.score(),
				})
			}
		}
		out.Profiles = append(out.Profiles, ProfileResult{p.Name, total.score()})
	}
	return out, nil
}

// alarms runs the volume engine over a series and returns the rows of its alarms.
func (s *dataset) alarms(with settings) ([]int, error) {
	if len(s.at) < 2 {
		return nil, fmt.Errorf("series has %d rows: it must have two at least", len(s.at))
	}
	v, err := newVolume(s.at[1]-s.at[0], with)
	if err != nil {
		return nil, err
	}
	var out []int
	for i, x := range s.values {
		if v.step(s.at[i], x) {
			out = append(out, i)
		}
	}
	return out, nil
}

// Sheet shows the result.
func (r *Result) Sheet() *sheet.Sheet {
	series := sheet.NewTable("Series", "Windows", "Found", "False alarms", "Standard")
	for _, s := range r.Series {
		series.Row(s.Series, s.Windows, s.Found, s.False, fmt.Sprintf("%.1f", s.Score))
	}
	profiles := sheet.NewTable("Profile", "Score")
	for _, p := range r.Profiles {
		profiles.Row(p.Profile, fmt.Sprintf("%.1f", p.Score))
	}
	return &sheet.Sheet{Title: "volume engine on NAB", Parts: []sheet.Part{{Tables: []*sheet.Table{series}}, {Tables: []*sheet.Table{profiles}}}}
}
