package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/tapewatch/tapewatch/sources/capture"
)

// FetchOptions describe a fetcher.
type FetchOptions struct {
	// Conn names it in frames.
	Conn string
	// PerMinute is the budget of requests.
	PerMinute int
	// BackoffMax caps the wait after a failure.
	BackoffMax time.Duration
	Log        *slog.Logger
}

// A Fetcher gets addresses one after another within a budget, and sends the answers as HTTP frames. What fails is asked
// again until it comes: with full jitter, as late as the venue says, behind a breaker.
type Fetcher struct {
	opt     FetchOptions
	client  *http.Client
	budget  *rate.Limiter
	breaker *gobreaker.CircuitBreaker[[]byte]
	frames  chan<- capture.Frame
	wake    chan struct{}

	mu    sync.Mutex // guards queue
	queue []string
}

// NewFetcher makes a fetcher that sends to frames.
func NewFetcher(opt FetchOptions, frames chan<- capture.Frame) *Fetcher {
	return &Fetcher{
		opt: opt, client: &http.Client{Timeout: dialTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}, frames: frames, wake: make(chan struct{}, 1),
		budget: rate.NewLimiter(rate.Limit(float64(opt.PerMinute)/60), max(opt.PerMinute/12, 1)),
		breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
			Name: opt.Conn, Timeout: time.Minute,
			IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
		}),
	}
}

// Get asks for an address; the caller sees to it that it asks for one thing once at a time. It does not wait.
func (f *Fetcher) Get(url string) {
	f.mu.Lock()
	f.queue = append(f.queue, url)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run works the queue off until ctx is done.
func (f *Fetcher) Run(ctx context.Context) error {
	defer f.client.CloseIdleConnections()
	for {
		url, ok := f.take()
		if !ok {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-f.wake:
				continue
			}
		}
		if err := f.fetch(ctx, url); err != nil {
			return err
		}
	}
}

func (f *Fetcher) take() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return "", false
	}
	url := f.queue[0]
	f.queue = f.queue[1:]
	return url, true
}

// fetch gets one address, however often it takes.
func (f *Fetcher) fetch(ctx context.Context, url string) error {
	wait := backoff{cap: f.opt.BackoffMax}
	for {
		if err := f.budget.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the request budget: %w", err)
		}
		// A little jitter between requests, so that all instances do not ask in step.
		sleep(ctx, rand.N(50*time.Millisecond))
		var pause time.Duration
		body, err := f.breaker.Execute(func() ([]byte, error) {
			body, after, err := f.get(ctx, url)
			pause = after
			return body, err
		})
		if err == nil {
			select {
			case f.frames <- capture.Frame{Kind: capture.HTTP, Conn: f.opt.Conn, At: now(), URL: url, Data: body}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause = max(pause, wait.next())
		if f.opt.Log != nil {
			f.opt.Log.Warn("request failed", "url", url, "error", err, "again_in", pause)
		}
		sleep(ctx, pause)
	}
}

// maxBody bounds an answer.
const maxBody = 16 << 20

func (f *Fetcher) get(ctx context.Context, url string) (body []byte, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, 0, fmt.Errorf("making the request: %w", err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("requesting: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, retryAfter(resp), fmt.Errorf("requesting: the venue answers %s", resp.Status)
	}
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody)); err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	}
	return body, 0, nil
}
