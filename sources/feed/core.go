// Package feed is the state that every venue connector has: the source's time and its Ticks, stream health, de-duplication
// by native id, gaps. It is driven by frames alone, live or recorded, and takes no clock of its own.
package feed

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// Options make a Core.
type Options struct {
	// Source is the Meta.source of every record, and Venue their venue.
	Source, Venue string
	Clock         ClockConfig
	// Topics are those that the source's keys live on: Ticks go to all of them.
	Topics    []schemas.Topic
	Publisher sources.Publisher
	Metrics   *sources.Metrics
	Log       *slog.Logger
}

// Core is what a venue's machine publishes through: it keeps Ticks, FeedHealth and Gaps in their places. Not for
// concurrent use.
type Core struct {
	Clock  *Clock
	Health *Health
	// Flush publishes what is held back (conflated books) before a Tick covers it.
	Flush func() error

	opt        Options
	latest     schemas.Time
	epochs     map[string]uint32
	epoch      uint32
	reconnects uint32
	gap        schemas.Gap

	frames, duplicates prometheus.Counter
	skew               prometheus.Gauge
	rejected           uint64
	grave              grave
}

// NewCore makes the core of one source.
func NewCore(opt Options) *Core {
	return &Core{
		Clock: NewClock(opt.Clock), Health: NewHealth(opt.Source, opt.Venue), Flush: func() error { return nil },
		opt: opt, epochs: map[string]uint32{}, gap: schemas.Gap{Meta: &schemas.Meta{}},
		frames:     opt.Metrics.Frames.WithLabelValues(opt.Source),
		duplicates: opt.Metrics.Duplicates.WithLabelValues(opt.Source),
		skew:       opt.Metrics.Skew.WithLabelValues(opt.Source),
	}
}

// Connect notes a new session of a connection.
func (c *Core) Connect(conn string, at schemas.Time) {
	c.Clock.Connect(conn, at)
	c.Health.Connect(conn, at)
	c.epoch++
	c.epochs[conn] = c.epoch
	if n := c.Health.Reconnects(); n > c.reconnects {
		c.opt.Metrics.Reconnects.WithLabelValues(c.opt.Source).Add(float64(n - c.reconnects))
		c.reconnects = n
	}
}

// Close notes the end of a session and reports whether its slot has no other.
func (c *Core) Close(conn string) bool {
	c.Clock.Close(conn)
	delete(c.epochs, conn)
	return c.Health.Close(conn)
}

// Epoch returns the number of a session, 0 when it is not known.
func (c *Core) Epoch(conn string) uint32 { return c.epochs[conn] }

// Received counts a frame with data.
func (c *Core) Received(conn string, at schemas.Time) {
	c.frames.Inc()
	c.Health.Received(conn, at)
}

// Meta fills the fields that all records of the source share.
func (c *Core) Meta(m *schemas.Meta, s *Stream, conn string, event, received schemas.Time) {
	m.Reset()
	m.Source, m.Venue, m.Symbol, m.VenueSymbol = c.opt.Source, c.opt.Venue, s.Symbol, s.VenueSymbol
	m.EventTime, m.ReceiveTime, m.Epoch = int64(event), int64(received), c.epochs[conn]
	m.TimeSource = schemas.TimeSource_TIME_SOURCE_EXCHANGE
}

// Publish validates a record and hands it on, behind the first Tick of the source. A record that breaks a rule is counted
// and dropped; ErrShed comes back for the caller to fold the record into the next.
func (c *Core) Publish(topic schemas.Topic, m schemas.Message) error {
	if err := schemas.Validate(m); err != nil {
		c.Reject("invalid", err, nil)
		return nil
	}
	at := schemas.TimeOf(m)
	_, skewed := c.Clock.Skew()
	if schemas.MetaOf(m).TimeSource == schemas.TimeSource_TIME_SOURCE_RECEIPT && !skewed {
		// Its time is a guess as long as nothing has shown how far the clocks are apart: it does not begin the source's time.
	} else if first, ok := c.Clock.First(at); ok {
		if err := c.opt.Publisher.Tick(c.opt.Source, first, c.opt.Topics...); err != nil {
			return err
		}
	}
	if err := c.opt.Publisher.Publish(topic, m); err != nil {
		return err
	}
	c.latest = max(c.latest, at)
	return nil
}

// Tick publishes the watermark if a second of source time has ended: first what is held back, then the health of every
// stream, then the Tick.
func (c *Core) Tick() error {
	at, due := c.Clock.Due()
	if !due {
		return nil
	}
	return c.tick(at)
}

// Finish publishes what is held back and the last Tick, behind which nothing follows: the end of a recording.
func (c *Core) Finish() error {
	if err := c.Flush(); err != nil {
		return err
	}
	at, due := c.Clock.Last(c.latest)
	if !due {
		return nil
	}
	return c.tick(at)
}

func (c *Core) tick(at schemas.Time) error {
	if err := c.Flush(); err != nil {
		return err
	}
	err := c.Health.Report(at, c.Clock.Now(), c.epoch, func(h *schemas.FeedHealth) error {
		return c.opt.Publisher.Publish(schemas.VenuesStatus, h)
	})
	if err != nil {
		return err
	}
	if skew, ok := c.Clock.Skew(); ok {
		c.skew.Set(skew.Seconds())
	}
	return c.opt.Publisher.Tick(c.opt.Source, at, c.opt.Topics...)
}

// Loss is what is known of a gap.
type Loss struct {
	Cause string
	// From and To are the last moment known complete and the first one complete again; 0 when unknown.
	From, To schemas.Time
	// Missing records, when Counted.
	Missing uint64
	Counted bool
}

// Gap publishes a loss on a stream, ahead of what follows there. channel is the Gap's own name for it, and symbol what keys
// the topic: the base asset on market.derivatives.
func (c *Core) Gap(topic schemas.Topic, s *Stream, channel, symbol, conn string, l Loss) error {
	s.gaps++
	c.opt.Metrics.Gaps.WithLabelValues(c.opt.Source, s.Channel, l.Cause).Inc()
	event := l.To
	if event == 0 {
		event = max(l.From, c.Clock.Estimate(c.Clock.Now()))
	}
	g := &c.gap
	c.Meta(g.Meta, s, conn, event, c.Clock.Now())
	g.Meta.Symbol = symbol
	g.Meta.Epoch = c.epoch
	g.Channel, g.From, g.To, g.Cause, g.Missing = channel, int64(l.From), int64(l.To), l.Cause, nil
	g.Meta.Id = channel + "/" + schemas.Time(g.Meta.EventTime).String() + "/" + l.Cause
	if l.Counted {
		g.Missing = new(l.Missing)
	}
	return c.Publish(topic, g)
}

// Duplicate counts a record that was dropped because it was known.
func (c *Core) Duplicate(s *Stream) {
	s.Duplicate()
	c.duplicates.Inc()
}

// Unknown counts a message that no decoder knows; every power of two it shows one.
func (c *Core) Unknown(reason string, raw []byte) {
	c.Health.Unknown()
	c.opt.Metrics.Unknown.WithLabelValues(c.opt.Source, reason).Inc()
	c.sample("unknown message", reason, nil, raw, c.Health.unknown)
}

// Undecodable rejects a frame that no decoder could read, or that made one panic, and writes it to the dead letters as it
// came: the log shows a clipped sample, and not every source is captured.
func (c *Core) Undecodable(reason, conn string, err error, raw []byte) {
	c.Reject(reason, err, raw)
	c.grave.bury(c, deadletter.Frame{
		Source: c.opt.Source, Connection: conn, Received: c.Clock.Now(), Reason: reason, Detail: err.Error(), Data: raw,
	})
}

// Reject counts a frame or record that broke a rule; every power of two it shows one.
func (c *Core) Reject(reason string, err error, raw []byte) {
	c.rejected++
	c.opt.Metrics.Rejected.WithLabelValues(c.opt.Source, reason).Inc()
	c.sample("rejected", reason, err, raw, c.rejected)
}

// Counts returns how many messages were unknown, and how many frames or records were rejected.
func (c *Core) Counts() (unknown, rejected uint64) { return c.Health.unknown, c.rejected }

// maxSample bounds the raw bytes in a log line; the capture has them all.
const maxSample = 512

func (c *Core) sample(what, reason string, err error, raw []byte, n uint64) {
	if c.opt.Log == nil || n&(n-1) != 0 {
		return
	}
	if len(raw) > maxSample {
		raw = raw[:maxSample]
	}
	c.opt.Log.Warn("message not published", "source", c.opt.Source, "what", what, "reason", reason, "error", err, "raw", string(raw), "count", n)
}

// Shed reports whether an error of Publish only means that the producer is behind.
func Shed(err error) bool { return errors.Is(err, sources.ErrShed) }
