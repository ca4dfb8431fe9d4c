package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tapewatch/tapewatch/schemas"
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

// inFlight bounds the requests of a fetcher that are under way at a time: so many slow answers hold up the rest.
const inFlight = 4

// A Fetcher gets addresses within a budget, and sends the answers as HTTP frames. What fails is asked again until it comes:
// with full jitter and a backoff of its own, while the others go on. A venue that wants to be left alone is left alone by all.
type Fetcher struct {
	opt    FetchOptions
	client *http.Client
	budget *rate.Limiter
	slots  chan struct{} // one for each request under way
	frames chan<- capture.Frame
	wake   chan struct{}

	mu      sync.Mutex // guards what follows
	pending map[string]bool
	queue   []string     // of pending, what Run has not begun with
	pause   schemas.Time // until then no request goes out
}

// NewFetcher makes a fetcher that sends to frames.
func NewFetcher(opt FetchOptions, frames chan<- capture.Frame) *Fetcher {
	return &Fetcher{
		opt: opt, client: &http.Client{Timeout: dialTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}, frames: frames,
		budget: rate.NewLimiter(rate.Limit(float64(opt.PerMinute)/60), max(opt.PerMinute/12, 1)),
		slots:  make(chan struct{}, inFlight), wake: make(chan struct{}, 1), pending: map[string]bool{},
	}
}

// Get asks for an address, unless it is being asked for. It does not wait.
func (f *Fetcher) Get(url string) {
	f.mu.Lock()
	if !f.pending[url] {
		f.pending[url] = true
		f.queue = append(f.queue, url)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run gets what is asked for until ctx is done.
func (f *Fetcher) Run(ctx context.Context) error {
	defer f.client.CloseIdleConnections()
	var fetches sync.WaitGroup
	defer fetches.Wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
		}
		for _, url := range f.take() {
			fetches.Go(func() { f.fetch(ctx, url) })
		}
	}
}

func (f *Fetcher) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	urls := f.queue
	f.queue = nil
	return urls
}

// fetch gets one address, however often it takes.
func (f *Fetcher) fetch(ctx context.Context, url string) {
	wait := backoff{cap: f.opt.BackoffMax}
	for {
		body, after, err := f.try(ctx, url)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			f.mu.Lock()
			delete(f.pending, url) // whoever sees the answer may ask again
			f.mu.Unlock()
			select {
			case f.frames <- capture.Frame{Kind: capture.HTTP, Conn: f.opt.Conn, At: now(), URL: url, Data: body}:
			case <-ctx.Done():
			}
			return
		}
		pause := max(after, wait.next())
		if f.opt.Log != nil {
			f.opt.Log.Warn("request failed", "url", url, "error", err, "again_in", pause)
		}
		sleep(ctx, pause)
	}
}

// try makes one request when there is a slot, the budget allows it and the venue does not want to be left alone. after is how
// long the venue wants this address to be left alone.
func (f *Fetcher) try(ctx context.Context, url string) (body []byte, after time.Duration, err error) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	defer func() { <-f.slots }()
	if err := f.budget.Wait(ctx); err != nil {
		return nil, 0, fmt.Errorf("waiting for the request budget: %w", err)
	}
	// A little jitter between requests, so that all instances do not ask in step.
	sleep(ctx, rand.N(50*time.Millisecond))
	for pause := f.paused(); pause > 0 && ctx.Err() == nil; pause = f.paused() {
		sleep(ctx, pause)
	}
	return f.get(ctx, url)
}

// leave makes all requests wait: the venue counts them, not the addresses.
func (f *Fetcher) leave(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = max(f.pause, now().Add(d))
}

// paused is how long the venue still wants to be left alone.
func (f *Fetcher) paused() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.pause.Sub(now()), 0)
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
		after = retryAfter(resp)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusTeapot {
			f.leave(after)
		}
		return nil, after, fmt.Errorf("requesting: the venue answers %s", resp.Status)
	}
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody)); err != nil {
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	}
	return body, 0, nil
}
