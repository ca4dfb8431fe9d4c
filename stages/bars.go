package stages

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func init() {
	processor.Register(processor.Spec[barsConfig]{
		Name:     "bars",
		Kind:     processor.Stage,
		Summary:  "Bars of every interval from trades.",
		Version:  1,
		Input:    schemas.MarketTrades,
		Output:   schemas.MarketBars,
		Step:     time.Second,
		Defaults: barsConfig{Intervals: []processor.Duration{second, minute, hour, day}, EmptyFrom: minute},
		New: func(c barsConfig, key processor.Key) processor.Processor {
			return &bars{cfg: c, key: key, series: make([]barSeries, len(c.Intervals))}
		},
	})
}

const (
	second = processor.Duration(time.Second)
	minute = processor.Duration(time.Minute)
	hour   = processor.Duration(time.Hour)
	day    = processor.Duration(24 * time.Hour)
)

// barsConfig is the configuration of bars.
type barsConfig struct {
	Intervals []processor.Duration `koanf:"intervals" json:"intervals" doc:"Lengths of the bars, whole seconds, ascending; bars start at multiples of their length since the epoch, UTC."`
	EmptyFrom processor.Duration   `koanf:"empty_from" json:"empty_from" doc:"Bars of this length and longer are also published when nothing traded."`
}

// Validate checks the settings.
func (c barsConfig) Validate() error {
	if len(c.Intervals) == 0 || len(c.Intervals) > 8 {
		return fmt.Errorf("bars.intervals has %d entries: it must have 1 to 8", len(c.Intervals))
	}
	for i, d := range c.Intervals {
		if d <= 0 || d.D()%time.Second != 0 {
			return fmt.Errorf("bars.intervals[%d] is %v: it must be a whole number of seconds", i, d.D())
		}
		if i > 0 && d <= c.Intervals[i-1] {
			return fmt.Errorf("bars.intervals[%d] is %v: it must be longer than the one before", i, d.D())
		}
	}
	if c.EmptyFrom <= 0 {
		return fmt.Errorf("bars.empty_from is %v: it must be greater than zero", c.EmptyFrom.D())
	}
	return nil
}

// maxEmpty bounds the empty bars that one jump of time makes; a longer silence leaves a hole in the series.
const maxEmpty = 4 * 24 * 60

// bars is the processor of one instrument.
type bars struct {
	cfg    barsConfig
	key    processor.Key
	series []barSeries
	recent dedup.Recent
	source string
	// The last gap: buckets that it touches are incomplete. gapTo is 0 while it is open.
	gapFrom, gapTo schemas.Time
	closed         schemas.Time
}

// barSeries is the open buckets of one interval, ascending: a source's Tick may come after records of the next bucket.
type barSeries struct {
	open []bucket
	// next is the start of the first bucket that was not published yet; 0 before the first trade.
	next schemas.Time
	late uint32
}

var _ processor.Deduplicator = (*bars)(nil)

func (b *bars) Duplicates() uint64 { return b.recent.Duplicates() }

func (b *bars) OnRecord(rec schemas.Record, _ processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Trade:
		b.trade(rec, m)
	case *schemas.Gap:
		b.gap(rec, m)
	}
}

func (b *bars) trade(rec schemas.Record, t *schemas.Trade) {
	if b.recent.Seen(t.Meta) {
		return
	}
	if b.source != t.Meta.Source {
		b.source = string(append([]byte(nil), t.Meta.Source...))
	}
	if b.gapFrom != 0 && b.gapTo == 0 {
		b.gapTo = rec.Time
	}
	for i := range b.series {
		s, length := &b.series[i], b.cfg.Intervals[i].D()
		start := rec.Time.Floor(length)
		if s.next == 0 {
			s.next = start
			if b.closed != 0 && start.Add(length) <= b.closed {
				s.next = b.closed.Floor(length)
			}
		}
		if start < s.next {
			s.late++
			continue
		}
		b.bucketAt(s, length, start).add(t, rec.Time)
	}
}

// bucketAt finds or opens the bucket that starts at start.
func (b *bars) bucketAt(s *barSeries, length time.Duration, start schemas.Time) *bucket {
	i := len(s.open)
	for i > 0 && s.open[i-1].start >= start {
		i--
	}
	if i == len(s.open) || s.open[i].start != start {
		s.open = slices.Insert(s.open, i, bucket{start: start, incomplete: b.gapped(start, length)})
	}
	return &s.open[i]
}

func (b *bars) gap(rec schemas.Record, g *schemas.Gap) {
	if g.Channel != "trades" && g.Channel != "all" {
		return
	}
	b.gapFrom, b.gapTo = schemas.Time(g.From), schemas.Time(g.To)
	if b.gapFrom == 0 {
		b.gapFrom = rec.Time
	}
	for i := range b.series {
		for j := range b.series[i].open {
			bk := &b.series[i].open[j]
			bk.incomplete = bk.incomplete || b.gapped(bk.start, b.cfg.Intervals[i].D())
		}
	}
}

// gapped reports whether the last gap touches [start, start+length).
func (b *bars) gapped(start schemas.Time, length time.Duration) bool {
	return b.gapFrom != 0 && b.gapFrom < start.Add(length) && (b.gapTo == 0 || b.gapTo >= start)
}

// OnTime publishes every bucket that ended, shorter intervals first, and the empty ones between.
func (b *bars) OnTime(now schemas.Time, emit processor.Emit) {
	b.closed = now
	for i := range b.series {
		s, length := &b.series[i], b.cfg.Intervals[i].D()
		if s.next == 0 {
			continue
		}
		end := now.Floor(length)
		for s.next < end {
			switch {
			case len(s.open) > 0 && s.open[0].start == s.next:
				b.publish(s, length, &s.open[0], emit)
				s.open = slices.Delete(s.open, 0, 1)
			case length >= b.cfg.EmptyFrom.D() && end.Sub(s.next) <= maxEmpty*length:
				b.publish(s, length, &bucket{start: s.next, incomplete: b.gapped(s.next, length)}, emit)
			default:
				// Nothing to publish until the next bucket that holds trades, or the end.
				s.next = end
				if len(s.open) > 0 {
					s.next = min(end, s.open[0].start)
				}
				continue
			}
			s.next = s.next.Add(length)
		}
	}
}

func (b *bars) publish(s *barSeries, length time.Duration, bk *bucket, emit processor.Emit) {
	end := bk.start.Add(length)
	bar := &schemas.Bar{
		Meta: &schemas.Meta{
			Source: b.source, Venue: b.key.Venue, Symbol: b.key.Symbol, EventTime: int64(end),
			Id: strconv.FormatInt(int64(length/time.Second), 10) + "s/" + strconv.FormatInt(int64(bk.start)/1e9, 10),
		},
		Start: int64(bk.start), End: int64(end), LateRecords: s.late,
	}
	s.late = 0
	bk.fill(bar)
	emit(bar)
}

const barsLayout = 1

func (b *bars) AppendState(dst []byte) []byte {
	dst = append(dst, barsLayout)
	dst = pack.String(dst, b.source)
	dst = b.recent.Append(dst)
	dst = pack.Int(pack.Int(dst, int64(b.gapFrom)), int64(b.gapTo))
	dst = pack.Int(dst, int64(b.closed))
	dst = pack.Uint(dst, uint64(len(b.series)))
	for i := range b.series {
		s := &b.series[i]
		dst = pack.Int(dst, int64(b.cfg.Intervals[i]))
		dst = pack.Int(dst, int64(s.next))
		dst = pack.Uint(dst, uint64(s.late))
		dst = pack.Uint(dst, uint64(len(s.open)))
		for j := range s.open {
			dst = s.open[j].appendTo(dst)
		}
	}
	return dst
}

// RestoreState keeps the series of the intervals that are configured now; others start anew.
func (b *bars) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != barsLayout {
		return fmt.Errorf("state layout of bars is %d: it must be %d", v, barsLayout)
	}
	b.source = r.String()
	b.recent.Restore(r)
	b.gapFrom, b.gapTo = schemas.Time(r.Int()), schemas.Time(r.Int())
	b.closed = schemas.Time(r.Int())
	b.series = make([]barSeries, len(b.cfg.Intervals))
	for range r.Count(8) {
		length := processor.Duration(r.Int())
		s := barSeries{next: schemas.Time(r.Int()), late: uint32(r.Uint())}
		for range r.Count(len(r.Rest())) { // a bucket has more bytes than one
			var bk bucket
			bk.restore(r)
			if r.Err() != nil {
				break
			}
			s.open = append(s.open, bk)
		}
		if i := slices.Index(b.cfg.Intervals, length); i >= 0 {
			b.series[i] = s
		}
	}
	return r.Err()
}
