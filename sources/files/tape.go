package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// place is one partition of one topic in a tape.
type place struct {
	topic     string
	partition int32
}

// lane is the reading of one place.
type lane struct {
	place
	topic   schemas.Topic
	reader  tape.Reader
	batch   *tape.Batch
	at      int // in the batch
	decoder schemas.Decoder
	silent  bool // the tape has no Ticks on this topic: they are made

	message schemas.Message // the next one; nil at the end
	time    schemas.Time
}

// survey is what a first pass over the tape finds: its places in order of appearance, and the topics that have Ticks.
type survey struct {
	places []place
	ticked map[string]bool
}

// tape reads the whole tape. The partitions of a dump stand one behind the other in the file, so each is read on its own and
// they are merged by event time: a Tick that is written to all partitions must not overtake the records of another one.
func (s *Source) tape(ctx context.Context, p sources.Publisher) error {
	if s.cfg.Path == "-" {
		return errors.New("a tape from standard input cannot be read twice: give a file")
	}
	found, err := s.survey(ctx)
	if err != nil {
		return err
	}
	var lanes []*lane
	defer func() {
		for _, l := range lanes {
			_ = l.reader.Close()
		}
	}()
	for _, at := range found.places {
		l, err := s.lane(at, found)
		if err != nil {
			return err
		}
		lanes = append(lanes, l)
		if err := l.next(s); err != nil {
			return err
		}
	}
	marks := watermarks{publisher: p, of: map[watermark]*ticker{}}
	for {
		l := earliest(lanes)
		if l == nil {
			break
		}
		if err := l.publish(p, &marks); err != nil {
			return err
		}
		if s.count(1)%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.next(s); err != nil {
			return err
		}
	}
	return marks.end()
}

// watermarks are the Ticks of a tape, by topic and source.
type watermarks struct {
	publisher sources.Publisher
	of        map[watermark]*ticker
	order     []*ticker
}

type watermark struct{ topic, source string }

func (w *watermarks) ticker(topic schemas.Topic, source string) *ticker {
	k := watermark{topic.Name, source}
	t := w.of[k]
	if t == nil {
		t = &ticker{publisher: w.publisher, source: source, topics: []schemas.Topic{topic}}
		w.of[k] = t
		w.order = append(w.order, t)
	}
	return t
}

// end closes the time of sources whose Ticks were made; the others have said themselves how far they are.
func (w *watermarks) end() error {
	for _, t := range w.order {
		if err := t.end(); err != nil {
			return err
		}
	}
	return nil
}

// survey reads the tape once, and counts what cannot be read of it: lines, and an end that is cut off.
func (s *Source) survey(ctx context.Context) (survey, error) {
	found := survey{ticked: map[string]bool{}}
	seen := map[place]bool{}
	r, err := tape.Open(s.cfg.Path, tape.Options{BadLine: func(e *tape.LineError) error {
		s.skip(e.Err, "line", e.Line)
		return nil
	}})
	if err != nil {
		return found, err
	}
	defer func() { _ = r.Close() }()
	for {
		b, err := r.Next()
		if errors.Is(err, tape.ErrTruncated) {
			s.skip(err)
			return found, nil
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		at := place{b.Topic, b.Partition}
		if !seen[at] {
			seen[at] = true
			found.places = append(found.places, at)
		}
		for i := range b.Records {
			if b.Records[i].Type == "Tick" {
				found.ticked[b.Topic] = true
			}
		}
		b.Release()
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
	}
}

func (s *Source) lane(at place, found survey) (*lane, error) {
	topic, err := schemas.TopicByName(at.topic)
	if err != nil {
		return nil, err
	}
	l := &lane{place: at, topic: topic, silent: !found.ticked[at.topic]}
	if l.reader, err = tape.Open(s.cfg.Path, tape.Options{BadLine: func(*tape.LineError) error { return nil }}); err != nil {
		return nil, err
	}
	return l, nil
}

// next brings the lane to its next good record.
func (l *lane) next(s *Source) error {
	for {
		for l.batch == nil || l.at == len(l.batch.Records) {
			if l.batch != nil {
				l.batch.Release()
			}
			b, err := l.reader.Next()
			if errors.Is(err, io.EOF) || errors.Is(err, tape.ErrTruncated) {
				l.batch, l.message = nil, nil
				return nil
			}
			if err != nil {
				return err
			}
			l.batch, l.at = b, 0
			if (place{b.Topic, b.Partition}) != l.place {
				l.at = len(b.Records)
			}
		}
		r := &l.batch.Records[l.at]
		l.at++
		name := r.Type
		if name == "" {
			name = l.topic.Types[0]
		}
		m, err := l.decoder.Decode(name, r.ContentType, r.Value)
		if err == nil {
			err = schemas.Validate(m)
		}
		if err == nil && !l.topic.Carries(m) {
			err = fmt.Errorf("a %s does not belong on %s", name, l.topic.Name)
		}
		if err != nil {
			s.skip(err, "topic", l.topic.Name, "partition", l.partition, "offset", r.Offset)
			continue
		}
		l.message, l.time = m, schemas.TimeOf(m)
		return nil
	}
}

// earliest returns the lane whose next record is first in event time; of equals, records go ahead of the Tick that covers
// them, then the order of the file decides.
func earliest(lanes []*lane) *lane {
	var best *lane
	for _, l := range lanes {
		if l.message == nil {
			continue
		}
		if best == nil || l.time < best.time || (l.time == best.time && isTick(best.message) && !isTick(l.message)) {
			best = l
		}
	}
	return best
}

func isTick(m schemas.Message) bool {
	_, ok := m.(*schemas.Tick)
	return ok
}

// publish hands the lane's record on. A Tick stands in every partition of a dump; the first is the one that counts.
func (l *lane) publish(p sources.Publisher, w *watermarks) error {
	if t, ok := l.message.(*schemas.Tick); ok {
		return w.ticker(l.topic, t.Source).tick(l.time)
	}
	if l.silent {
		if err := w.ticker(l.topic, schemas.SourceOf(l.message)).reach((l.time - 1).Floor(time.Second), l.time); err != nil {
			return err
		}
	}
	return p.Publish(l.topic, l.message)
}
