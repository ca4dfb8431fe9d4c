package poll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/transport"
)

// openAfter failures in a row open a host's breaker; halfOpenAfter lets one request through to see.
const (
	openAfter     = 5
	halfOpenAfter = time.Minute
)

// A Client asks services. One client serves all polling sources of a process, because budgets and breakers are per host. Safe
// for concurrent use.
type Client struct {
	cfg     Config
	http    *http.Client
	metrics *Metrics
	// halfOpen is halfOpenAfter, shorter in tests.
	halfOpen time.Duration

	mu    sync.Mutex // guards hosts
	hosts map[string]*host
}

// host is what is shared by all requests to one host.
type host struct {
	budget  *rate.Limiter
	breaker *gobreaker.CircuitBreaker[*reply]

	mu    sync.Mutex   // guards pause
	pause schemas.Time // a Retry-After holds for all requests to the host
}

// reply is an answer that can be used. A nil body says that nothing has changed.
type reply struct {
	body           []byte
	etag, modified string
}

// refused is an error of a request, with what is to be done about it.
type refused struct {
	outcome string
	status  int
	// final says that the same request would fail again at once; ours says that the fault is the request, not the host.
	final, ours bool
	after       time.Duration
	err         error
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// NewClient makes a client.
func NewClient(cfg Config, metrics *Metrics) *Client {
	c := &Client{cfg: cfg, metrics: metrics, hosts: map[string]*host{}, halfOpen: halfOpenAfter}
	c.http = &http.Client{
		Timeout: cfg.Timeout, Transport: http.DefaultTransport.(*http.Transport).Clone(), CheckRedirect: sameHost,
	}
	return c
}

// guarded marks requests that carry a secret.
type guarded struct{}

// sameHost ends redirects that would carry a secret to another host, and long chains of others.
func sameHost(req *http.Request, via []*http.Request) error {
	const most = 5
	switch {
	case len(via) >= most:
		return fmt.Errorf("redirected %d times", len(via))
	case req.Context().Value(guarded{}) != nil && req.URL.Host != via[0].URL.Host:
		return fmt.Errorf("redirected to %s: a request with a key stays on its host", req.URL.Host)
	}
	return nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) host(name string, perMinute int) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		perMinute = max(perMinute, 1)
		h = &host{
			budget: rate.NewLimiter(rate.Limit(float64(perMinute)/60), max(perMinute/60, 1)),
			breaker: gobreaker.NewCircuitBreaker[*reply](gobreaker.Settings{
				Name: name, Timeout: c.halfOpen,
				ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= openAfter },
				IsExcluded:    func(err error) bool { return errors.Is(err, context.Canceled) },
				IsSuccessful:  func(err error) bool { return err == nil || isOurs(err) },
				OnStateChange: func(name string, _, to gobreaker.State) { c.metrics.Breaker.WithLabelValues(name).Set(float64(to)) },
			}),
		}
		c.metrics.Breaker.WithLabelValues(name).Set(float64(gobreaker.StateClosed))
		c.hosts[name] = h
	}
	return h
}

func isOurs(err error) bool {
	var r *refused
	return errors.As(err, &r) && r.ours
}

// do asks until there is an answer, the tries are used up, or trying again is of no use. known are the conditions of the
// last answer; check recognises answers that say no with status 200. after is how long the service wants to be left alone.
func (c *Client) do(ctx context.Context, source string, req Request, known validators, check func([]byte) error) (r *reply, after time.Duration, err error) {
	address, err := url.Parse(req.address())
	if err != nil || address.Host == "" {
		return nil, 0, &refused{outcome: "refused", final: true, ours: true, err: fmt.Errorf("the address of %s cannot be used: it must be a URL with a host", req.Ref)}
	}
	h := c.host(address.Host, req.PerMinute)
	bound := time.Second
	for try := 1; ; try++ {
		if err := h.wait(ctx, c.cfg.BackoffMax); err != nil {
			if no, ok := errors.AsType[*refused](err); ok {
				after = no.after
			}
			return nil, after, err
		}
		r, err = h.breaker.Execute(func() (*reply, error) { return c.get(ctx, req, known, check) })
		c.count(source, address.Host, r, err)
		if err == nil {
			return r, 0, nil
		}
		var no *refused
		if !errors.As(err, &no) { // the breaker is open, or ctx is done
			return nil, c.halfOpen, err
		}
		h.leave(no.after)
		if no.final || try >= c.cfg.Attempts || no.after > c.cfg.BackoffMax {
			return nil, no.after, err
		}
		bound = min(2*bound, c.cfg.BackoffMax)
		if !sleep(ctx, max(no.after, jitter(bound))) {
			return nil, 0, ctx.Err()
		}
	}
}

// jitter is anything from nothing to the bound: a thousand clients of a service that comes back do not come back together.
func jitter(bound time.Duration) time.Duration {
	if bound <= 0 {
		return 0
	}
	return rand.N(bound)
}

// wait holds a request back until the host's pause is over and its budget allows it; a pause longer than most is refused.
func (h *host) wait(ctx context.Context, most time.Duration) error {
	h.mu.Lock()
	pause := h.pause.Sub(now())
	h.mu.Unlock()
	if pause > most {
		return &refused{outcome: "throttled", final: true, after: pause, err: fmt.Errorf("requesting: the host wants to be left alone for another %v", pause.Round(time.Second))}
	}
	if pause > 0 && !sleep(ctx, pause) {
		return ctx.Err()
	}
	if err := h.budget.Wait(ctx); err != nil {
		return fmt.Errorf("waiting for the request budget: %w", err)
	}
	return nil
}

// leave makes all requests to the host wait.
func (h *host) leave(d time.Duration) {
	if d <= 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pause = max(h.pause, now().Add(d))
}

func (c *Client) count(source, host string, r *reply, err error) {
	outcome := "ok"
	var no *refused
	switch {
	case errors.As(err, &no):
		outcome = no.outcome
	case errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests):
		outcome = "open"
	case err != nil:
		return
	case r.body == nil:
		outcome = "not_modified"
	}
	c.metrics.Requests.WithLabelValues(source, host, outcome).Inc()
}

func (r Request) address() string {
	if !r.URL.IsZero() {
		return r.URL.Reveal()
	}
	return r.Ref
}

// get makes one request.
func (c *Client) get(ctx context.Context, r Request, known validators, check func([]byte) error) (*reply, error) {
	req, err := c.request(ctx, r, known)
	if err != nil {
		return nil, &refused{outcome: "refused", final: true, ours: true, err: errors.New("making the request: the address must be a URL")}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, "requesting", "network", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return &reply{}, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp, check)
	}
	body, err := c.body(ctx, resp)
	if err != nil {
		return nil, err
	}
	if err := check(body); err != nil {
		return nil, &refused{outcome: "throttled", status: resp.StatusCode, final: true, err: fmt.Errorf("requesting: the service answers with a refusal: %w", err)}
	}
	return &reply{body: body, etag: resp.Header.Get("ETag"), modified: resp.Header.Get("Last-Modified")}, nil
}

func (c *Client) request(ctx context.Context, r Request, known validators) (*http.Request, error) {
	method, payload := http.MethodGet, io.Reader(http.NoBody)
	if r.Body != nil {
		method, payload = http.MethodPost, bytes.NewReader(r.Body)
	}
	if !r.URL.IsZero() || len(r.Header) > 0 {
		ctx = context.WithValue(ctx, guarded{}, true)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.address(), payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.Header {
		req.Header.Set(name, value.Reveal())
	}
	if !r.Fresh && known.etag != "" {
		req.Header.Set("If-None-Match", known.etag)
	}
	if !r.Fresh && known.modified != "" {
		req.Header.Set("If-Modified-Since", known.modified)
	}
	return req, nil
}

// body reads the answer to its end, within the limit.
func (c *Client) body(ctx context.Context, resp *http.Response) ([]byte, error) {
	limit := int64(c.cfg.MaxBodyMB) << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, c.failed(ctx, "reading the answer", "truncated", err)
	case int64(len(body)) > limit:
		return nil, &refused{outcome: "too_large", final: true, ours: true, err: fmt.Errorf("reading the answer: it is larger than poll.max_body_mb (%d MiB)", c.cfg.MaxBodyMB)}
	case len(body) == 0:
		return nil, &refused{outcome: "truncated", err: errors.New("reading the answer: it is empty")}
	}
	return body, nil
}

// failed is an error of the network. The address is left out of it: it may hold a key.
func (c *Client) failed(ctx context.Context, doing, outcome string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &refused{outcome: outcome, err: fmt.Errorf("%s: %w", doing, err)}
}

// maxReason bounds what is read of an answer that is none, for the reason in it.
const maxReason = 16 << 10

// statusError says what a status means for the next request, and why, where check recognises the service's words.
func statusError(resp *http.Response, check func([]byte) error) error {
	after, _ := transport.RetryAfter(resp.Header, now(), 24*time.Hour)
	r := &refused{
		outcome: "error", status: resp.StatusCode, after: after,
		err: fmt.Errorf("requesting: the service answers %s", resp.Status),
	}
	if body, err := io.ReadAll(io.LimitReader(resp.Body, maxReason)); err == nil {
		if why := check(body); why != nil {
			r.err = fmt.Errorf("%w: %w", r.err, why)
		}
	}
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests || s == http.StatusTeapot:
		r.outcome = "throttled"
	case s == http.StatusForbidden:
		// SEC EDGAR answers a breach of its limit with 403 and blocks who goes on.
		r.outcome, r.final = "blocked", true
	case s == http.StatusRequestTimeout:
	case s < 500:
		r.outcome, r.final, r.ours = "refused", true, true
	}
	return r
}

// validators are what a conditional request says of the answer that is known.
type validators struct{ etag, modified string }
