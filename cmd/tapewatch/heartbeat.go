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
// line in the log: the next heartbeat says it all again.
func (p *process) heartbeats(ctx context.Context) error {
	s := p.app.settings
	cl, err := kgo.NewClient(append(s.Kafka.Options(nil), kgo.RecordDeliveryTimeout(s.Process.Heartbeat))...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	ticker := time.NewTicker(s.Process.Heartbeat)
	defer ticker.Stop()
	beat := func(ctx context.Context) {
		r, err := p.heartbeat(time.Now())
		if err == nil {
			err = cl.ProduceSync(ctx, r).FirstErr()
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("heartbeat not written", slog.Any("error", err))
		}
	}
	beat(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			beat(ctx)
		}
	}
}

// heartbeat makes the record of one sign of life.
func (p *process) heartbeat(now time.Time) (*kgo.Record, error) {
	s := p.app.settings
	h := &schemas.Heartbeat{
		Instance: s.Process.instance(), Time: now.UnixNano(), Started: p.started.UnixNano(), Version: thisBuild().Version, Components: p.components(),
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
