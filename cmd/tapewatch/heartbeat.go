package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// heartbeats writes a sign of life, with what every part says of itself, until ctx ends. A broker that is away only costs a
// line in the log: the next heartbeat says it all again. A process that came to its end by itself takes its heartbeat off the
// board; one that was stopped leaves it, so that the board shows what is missing.
func (p *process) heartbeats(ctx context.Context) error {
	s := p.app.settings
	cl, err := kgo.NewClient(append(s.Kafka.Options(nil), kgo.RecordDeliveryTimeout(s.Process.Heartbeat))...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	// The pace is even: the board takes the time between two heartbeats for the interval, and three of them for silence.
	ticker := time.NewTicker(s.Process.Heartbeat)
	defer ticker.Stop()
	for {
		p.beat(ctx, cl, time.Now())
		select {
		case <-ctx.Done():
			if p.finished.Load() {
				p.leaveBoard(ctx, cl)
			}
			return nil
		case <-ticker.C:
		}
	}
}

func (p *process) beat(ctx context.Context, cl *kgo.Client, now time.Time) {
	r, err := p.heartbeat(now)
	if err == nil {
		err = cl.ProduceSync(ctx, r).FirstErr()
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn("heartbeat not written", slog.Any("error", err))
	}
}

// leaveBoard writes a tombstone.
func (p *process) leaveBoard(ctx context.Context, cl *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s := p.app.settings
	r := &kgo.Record{Topic: s.Kafka.Topic(schemas.Health.Name), Key: []byte(p.instance())}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		p.log.Warn("heartbeat not taken back", slog.Any("error", err))
	}
}

// instance is the name of this process: the configured one, or what it does, where, and its slot.
func (p *process) instance() string {
	s := p.app.settings.Process
	if s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("%s/%s/%d", hostname(), p.app.role, s.slot())
}

// heartbeat makes the record of one sign of life.
func (p *process) heartbeat(now time.Time) (*kgo.Record, error) {
	s := p.app.settings
	h := &schemas.Heartbeat{
		Instance: p.instance(), Time: now.UnixNano(), Started: p.started.UnixNano(), Version: thisBuild().Version, Components: p.components(),
	}
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, schemas.Health, h)
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Topic: s.Kafka.Topic(schemas.Health.Name), Key: []byte(h.Instance), Value: value}
	for _, head := range enc.Headers(schemas.Health, h) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: head.Key, Value: head.Value})
	}
	return r, nil
}
