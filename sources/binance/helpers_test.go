package binance

import (
	"context"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

func bytesContains(b []byte, text string) bool { return strings.Contains(string(b), text) }

// encoding is a publisher that encodes, as the producer does, and keeps nothing.
type encoding struct {
	enc schemas.Encoder
	buf []byte
}

func (e *encoding) Publish(topic schemas.Topic, m schemas.Message) (err error) {
	e.buf, err = e.enc.AppendValue(e.buf[:0], topic, m)
	return err
}

func (e *encoding) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }

func (e *encoding) Flush(context.Context) error { return nil }
