package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
)

//go:embed write.lua
var script string

// writer is the sinks.Writer of Redis.
type writer struct {
	config Config
	client *redis.Client
	script *redis.Script
	log    *slog.Logger

	// mu guards quiet: the highest position that this process has seen per partition, below which a rebuild is silent.
	mu    sync.Mutex
	quiet map[sinks.Partition]int64
}

func newWriter(c Config, log *slog.Logger) (*writer, error) {
	o, err := redis.ParseURL(c.URL.Reveal())
	if err != nil {
		return nil, errors.New("reading redis.url: it must be like redis://user:password@host:6379/0")
	}
	o.DisableIdentity = true // its replies could be taken for those of later commands
	o.MaxRetries = -1        // the consumer tries again, behind its breaker
	o.DialerRetries = 1
	silence()
	return &writer{config: c, client: redis.NewClient(o), script: redis.NewScript(script), log: log, quiet: map[sinks.Partition]int64{}}, nil
}

// silence turns the client's own log off: what it would print on stderr is in the errors that it returns.
var silence = sync.OnceFunc(func() { redis.SetLogger(quietLog{}) })

type quietLog struct{}

func (quietLog) Printf(context.Context, string, ...any) {}

func field(p sinks.Partition) string { return p.Topic + "/" + strconv.Itoa(int(p.Number)) }

// Positions returns the stored positions; partitions without one begin at the start of the log.
func (w *writer) Positions(ctx context.Context, start map[sinks.Partition]int64) (map[sinks.Partition]int64, error) {
	out := make(map[sinks.Partition]int64, len(start))
	key := w.config.Prefix + keyPositions
	for p, from := range start {
		if err := w.client.HSetNX(ctx, key, field(p), from).Err(); err != nil {
			return nil, fmt.Errorf("noting the position of %s: %w", field(p), err)
		}
		next, err := w.client.HGet(ctx, key, field(p)).Int64()
		if err != nil {
			return nil, fmt.Errorf("reading the position of %s: %w", field(p), err)
		}
		quiet, err := w.client.HGet(ctx, key, fieldQuiet+field(p)).Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("reading the silence of %s: %w", field(p), err)
		}
		out[p] = next
		w.raiseQuiet(p, max(quiet, next))
	}
	return out, nil
}

func (w *writer) raiseQuiet(p sinks.Partition, to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet[p] = max(w.quiet[p], to)
}

// Check accepts every valid event: Redis takes any bytes.
func (w *writer) Check(*schemas.Event) error { return nil }

// Write stores one batch by one call of the script.
func (w *writer) Write(ctx context.Context, b sinks.Batch) (sinks.Result, error) {
	args, parts, err := w.arguments(b)
	if err != nil {
		return sinks.Result{}, err
	}
	p := w.config.Prefix
	keys := []string{p + keyStream, p + keyPositions, p + keyIDs, p + keyLatest, p + Channel}
	answer, err := w.script.Run(ctx, w.client, keys, args...).Int64Slice()
	if err != nil {
		return sinks.Result{}, fmt.Errorf("writing %d events: %w", len(b.Entries), err)
	}
	if len(answer) != 3 {
		return sinks.Result{}, fmt.Errorf("writing %d events: the script answered %v", len(b.Entries), answer)
	}
	if i := answer[0]; i > 0 {
		return sinks.Result{}, fmt.Errorf("%w: Redis no longer stands at offset %d of %s; it lost data and is built again from the topic",
			sinks.ErrMoved, b.From[parts[i-1]], field(parts[i-1]))
	}
	for at, next := range b.Next {
		w.raiseQuiet(at, next)
	}
	return sinks.Result{Written: int(answer[1]), Duplicates: int(answer[2])}, nil
}

// arguments lays a batch out for the script.
func (w *writer) arguments(b sinks.Batch) ([]any, []sinks.Partition, error) {
	args := make([]any, 0, 4+4*len(b.Next)+10*len(b.Entries))
	args = append(args, w.config.StreamCap, w.config.RememberIDs, len(b.Next), len(b.Entries))
	var parts []sinks.Partition
	index := map[sinks.Partition]int{}
	w.mu.Lock()
	for p, next := range b.Next {
		parts = append(parts, p)
		index[p] = len(parts)
		args = append(args, field(p), b.From[p], next, w.quiet[p])
	}
	w.mu.Unlock()
	for _, e := range b.Entries {
		text, err := schemas.MarshalJSON(e.Event)
		if err != nil {
			return nil, nil, &sinks.DataError{Err: err}
		}
		ev := e.Event
		args = append(args, index[e.At], e.Offset, ev.Id, fmt.Sprintf("%019d", ev.EventTime), ev.Detector+":"+ev.Key,
			ev.Type, ev.Severity, ev.Status, ev.Symbol, text)
	}
	return args, parts, nil
}

// rebuild forgets the data, so that the next write finds the position gone and everything is built again. What was published
// stays published: the offsets up to which that is so are kept in the positions' place.
func (w *writer) rebuild(ctx context.Context) error {
	p := w.config.Prefix
	positions, err := w.client.HGetAll(ctx, p+keyPositions).Result()
	if err != nil {
		return fmt.Errorf("reading the positions: %w", err)
	}
	published := map[string]int64{}
	for name, at := range positions {
		next, err := strconv.ParseInt(at, 10, 64)
		if err != nil || name == "written" {
			continue
		}
		// A position that is behind the silence is that of a rebuild that has not come to its end.
		name = strings.TrimPrefix(name, fieldQuiet)
		published[name] = max(published[name], next)
	}
	quiet := make(map[string]any, len(published))
	for name, next := range published {
		quiet[fieldQuiet+name] = next
	}
	_, err = w.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Del(ctx, p+keyStream, p+keyPositions, p+keyIDs)
		if len(quiet) > 0 {
			pipe.HSet(ctx, p+keyPositions, quiet)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing the data: %w", err)
	}
	return w.forgetLatest(ctx)
}

// forgetLatest removes the state hashes, which are as many as there are detectors times keys.
func (w *writer) forgetLatest(ctx context.Context) error {
	keys := w.client.Scan(ctx, 0, w.config.Prefix+keyLatest+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := w.client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return fmt.Errorf("removing %s: %w", keys.Val(), err)
		}
	}
	if err := keys.Err(); err != nil {
		return fmt.Errorf("listing the states: %w", err)
	}
	return nil
}
