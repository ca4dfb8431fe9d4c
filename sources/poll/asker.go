package poll

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/sources/capture"
)

// asker does one job again and again.
type asker struct {
	*run
	job   Job
	known map[string]validators // by Request.Ref
	fails int                   // turns in a row that came to nothing
}

// firstRetry is how soon a job that came to nothing has another turn; the wait doubles up to its interval.
const firstRetry = 30 * time.Second

// loop waits for each turn until ctx is done; with Once it has one.
func (a *asker) loop(ctx context.Context, wait time.Duration) {
	for sleep(ctx, wait) {
		after, err := a.turn(ctx)
		if ctx.Err() != nil {
			return
		}
		if a.opt.Once {
			a.note(err)
			return
		}
		wait = a.job.Every - jitter(a.job.Every/10)
		if err != nil {
			a.fails = min(a.fails+1, 20)
			wait = max(after, min(wait, jitter(firstRetry<<(a.fails-1))))
		} else {
			a.fails = 0
		}
	}
}

// note keeps why the job's only turn came to nothing.
func (a *asker) note(err error) {
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed[a.job.Name] = err
	}
}

// turn asks the job's first request and all that follows from the answers. after is how long to wait at least after an error.
func (a *asker) turn(ctx context.Context) (after time.Duration, err error) {
	v, ok := a.send(ctx, nil)
	for ok && len(v.next) > 0 {
		req := v.next[0]
		rest := v.next[1:]
		answer, after, err := a.opt.Client.do(ctx, a.Name(), req, a.known[req.Ref], a.poller.Refusal)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if other, ok := a.instead(req, err); ok {
			v.next = append([]Request{other}, rest...)
			continue
		}
		frame := &capture.Frame{Kind: capture.HTTP, Conn: a.job.Name, At: now(), URL: req.Ref}
		if err != nil {
			frame.Kind, frame.Data = capture.Close, []byte(err.Error())
			a.warn(req, after, err)
			a.send(ctx, frame)
			return after, err
		}
		frame.Data = answer.body
		if v, ok = a.send(ctx, frame); !ok {
			return 0, ctx.Err()
		}
		if !v.ok {
			delete(a.known, req.Ref)
			return 0, v.err
		}
		a.remember(req, answer, v)
		v.next = append(slices.Clip(rest), v.next...)
	}
	return 0, nil
}

// instead is another request for what the service refuses to answer as it was asked.
func (a *asker) instead(req Request, err error) (Request, bool) {
	f, able := a.poller.(Fallback)
	if no, refusal := errors.AsType[*refused](err); !able || !refusal || !no.ours {
		return Request{}, false
	}
	other, ok := f.Instead(req, err)
	return other, ok && other.Ref != req.Ref
}

// maxKnown bounds the conditions that are kept: requests for blocks do not repeat.
const maxKnown = 64

// remember keeps the conditions for the next request of the same.
func (a *asker) remember(req Request, answer *reply, v verdict) {
	switch {
	case !v.keep:
		delete(a.known, req.Ref)
	case answer.etag != "" || answer.modified != "":
		if len(a.known) >= maxKnown {
			clear(a.known)
		}
		a.known[req.Ref] = validators{answer.etag, answer.modified}
	}
}

// send hands a frame to the loop and waits for its verdict; ok is false when the run ends.
func (a *asker) send(ctx context.Context, f *capture.Frame) (v verdict, ok bool) {
	msg := message{job: a.job.Name, frame: f, reply: make(chan verdict, 1)}
	select {
	case a.messages <- msg:
	case <-ctx.Done():
		return v, false
	}
	select {
	case v = <-msg.reply:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

func (a *asker) warn(req Request, after time.Duration, err error) {
	if a.opt.Log == nil || errors.Is(err, context.Canceled) {
		return
	}
	a.opt.Log.Warn("request came to nothing", slog.String("source", a.Name()), slog.String("request", req.Ref),
		slog.Any("error", err), slog.Duration("again_after", after))
}
