package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tapewatch/tapewatch/internal/logging"
	"github.com/tapewatch/tapewatch/schemas"
)

// progress shows how far a long command is: a bar on a terminal, a line every ten seconds elsewhere. Count is safe for
// concurrent use.
type progress struct {
	what    string
	out     io.Writer
	began   time.Time
	records atomic.Int64
	cursor  atomic.Int64 // event time
	bar     *progressbar.ProgressBar
	stop    chan struct{}
	stopped chan struct{}
}

// lineEvery is the pace of the lines away from a terminal.
const lineEvery = 10 * time.Second

// startProgress begins to show; total may be -1 when it is not known. done ends the goroutine that shows.
func startProgress(a *app, what string, total int64) *progress {
	p := &progress{what: what, out: a.stderr, began: time.Now(), stop: make(chan struct{}), stopped: make(chan struct{})}
	if a.quiet {
		p.out = io.Discard
	}
	every := lineEvery
	if logging.Terminal(p.out) {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
		every = 200 * time.Millisecond
	}
	go p.show(every)
	return p
}

func (p *progress) show(every time.Duration) {
	defer close(p.stopped)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			if p.bar != nil {
				_ = p.bar.Set64(p.records.Load()) // a bar that cannot be drawn is no failure of the command
				continue
			}
			fmt.Fprintln(p.out, p.line())
		}
	}
}

// count adds records, the last of them at an event time (0: unknown).
func (p *progress) count(n int64, at schemas.Time) {
	p.records.Add(n)
	if at != 0 {
		p.cursor.Store(int64(at))
	}
}

func (p *progress) line() string {
	n, took := p.records.Load(), time.Since(p.began)
	line := fmt.Sprintf("%s: %d records in %v, %.0f a second", p.what, n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if at := schemas.Time(p.cursor.Load()); at != 0 {
		line += ", event time " + at.UTC().Format(time.RFC3339)
	}
	return line
}

// done ends the showing and prints the last line.
func (p *progress) done() {
	p.end()
	fmt.Fprintln(p.out, p.line())
}

// end ends the showing, for a command that prints a summary of its own.
func (p *progress) end() {
	close(p.stop)
	<-p.stopped
	if p.bar != nil {
		_ = p.bar.Finish() // as above
	}
}
