package detectors

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// names are the venue and symbol of a pair's event, and the key of its episode.
func (p *pair) names() (venue, symbol, key string) {
	if p.b == nil {
		return p.a.venue, p.a.symbol, p.a.key()
	}
	venue = p.a.venue
	if p.b.venue != venue {
		venue += "/" + p.b.venue
	}
	return venue, p.a.symbol + "/" + p.b.symbol, p.a.key() + "/" + p.b.key()
}

// report publishes an event of a pair's or a member's episode.
func (c *correlation) report(p *pair, now schemas.Time, v pairVerdict, status string, missing int, emit processor.Emit) {
	venue, symbol, key := p.names()
	assets := assetsOf(p.a.symbol)[:1]
	if p.b != nil {
		assets = append(slices.Clone(assets), assetsOf(p.b.symbol)[:1]...)
	}
	ev := c.explain(p, now, v)
	if missing > 0 {
		ev.Notes = append(ev.Notes, "members_missing:"+strconv.Itoa(missing))
	}
	emit(&schemas.Event{
		Type: correlationBreak, Severity: v.severity.String(), Status: status, Venue: venue, Symbol: symbol, Assets: assets, EventTime: int64(now),
		DedupKey:    schemas.DedupKey(correlationName, correlationVersion, c.key.String()+"/"+key, schemas.Time(p.episode.Onset())),
		Description: c.sentence(p, v, status), Evidence: ev,
	})
}

func (c *correlation) explain(p *pair, now schemas.Time, v pairVerdict) *schemas.Evidence {
	s := &p.now
	ev := &schemas.Evidence{
		WindowStart: int64(now.Add(-c.cfg.Window.D())), WindowEnd: int64(now), SampleSize: uint64(s.n), Calibrated: p.calib.Days() >= calibratedDays, Legs: v.legs,
		Threshold: new(c.cfg.Threshold), ThresholdOrigin: originKnob, LateRecords: p.a.late,
	}
	p.a.late = 0
	if p.b != nil {
		ev.LateRecords += p.b.late
		p.b.late = 0
	}
	if !s.ok {
		note := "no_data"
		if s.stale {
			note = "stale_leg"
		}
		ev.Notes = append(ev.Notes, note)
	}
	if t, from := p.calib.Threshold(); p.calib.Calibrated() && firstOf(v.legs) != legChange && len(v.legs) > 0 {
		ev.Threshold, ev.ThresholdOrigin = new(t), origin(from)
	}
	ev.Value, ev.Expected = new(s.change()), new(0.0)
	if s.usual != 0 {
		ev.Ratio = new(s.present / s.usual)
	}
	if s.n > 3 {
		// Fisher's z: evidence only, as a ranking it over-weights noise at high correlations.
		ev.Z = new(float64((fixed.Atanh(s.present) - fixed.Atanh(s.usual)) * math.Sqrt(float64(s.n-3))))
	}
	if v.days > 0 {
		days := min(v.days, longestDays)
		perDay := float64(24*time.Hour) / float64(c.cfg.Bar)
		ev.ReturnPeriodDays, ev.P = new(days), new(min(1/float64(days*perDay), 1))
	}
	var list measures
	list.add("recent_corr", s.present, "")
	list.add("hist_corr", s.usual, "")
	list.add("change", s.change(), "")
	list.add("threshold", c.cfg.Threshold, "")
	list.add("score", s.score, "")
	list.add("cusum_down", p.down, "")
	list.add("cusum_up", p.up, "")
	list.add("log_likelihood_ratio", s.window, "")
	list.add("zero_share", float64(p.a.zeros)/float64(c.cfg.bars()), "")
	if p.b != nil {
		list.add("zero_share_2", float64(p.b.zeros)/float64(c.cfg.bars()), "")
	} else {
		list.add("pairs_broken", float64(v.broken), "")
		list.add("pairs", float64(v.of), "")
	}
	list.add("bar_seconds", c.cfg.Bar.D().Seconds(), "seconds")
	list.add("time_window_seconds", c.cfg.Window.D().Seconds(), "seconds")
	ev.Measures = list
	ev.Series = c.products(p, now)
	return ev
}

// products lists the product of both returns of the last bars, oldest first, in squared standard deviations; 0 where one is absent.
func (c *correlation) products(p *pair, now schemas.Time) []float64 {
	n := c.cfg.bars()
	other := p.a.others
	if p.b != nil {
		other = p.b.z
	}
	out := make([]float64, 0, n)
	for k := 1; k <= n; k++ {
		i := (int(int64(now)/int64(c.cfg.Bar)%int64(n)) + k) % n
		x, y := p.a.z[i], other[i]
		if x == absent || y == absent {
			x = 0
		}
		out = append(out, float64(x)*float64(y)/(grain*grain))
	}
	return out
}

func (c *correlation) sentence(p *pair, v pairVerdict, status string) string {
	_, symbol, _ := p.names()
	name := strings.Replace(symbol, "/", " and ", 1)
	if p.b == nil {
		name = symbol + " and the rest of " + c.key.Symbol
	}
	s := &p.now
	if status == schemas.Resolved {
		if !s.ok {
			return name + " cannot be compared any more: the episode ends."
		}
		return name + " move together as they used to, correlation " + number(s.present, 2) + "."
	}
	return "The correlation of " + name + " over " + span(c.cfg.Window.D()) + " is " + number(s.present, 2) + "; it used to be " + number(s.usual, 2) +
		" (" + strings.Join(v.legs, ", ") + ")."
}
