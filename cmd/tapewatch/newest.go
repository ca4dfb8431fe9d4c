package main

import (
	"context"
	"sync"

	"github.com/tapewatch/tapewatch/schemas"
)

// newest shows the present one of a row of parts: a sink or source that failed is made anew.
type newest struct {
	mu    sync.Mutex // guards both
	part  running
	fresh bool
}

func (n *newest) set(r running) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.part, n.fresh = r, true
}

// take returns the part if it has not run yet.
func (n *newest) take() running {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.fresh {
		return nil
	}
	n.fresh = false
	return n.part
}

// close runs a part that never ran for an instant, so that it gives back what it holds.
func (n *newest) close(ctx context.Context) {
	if r := n.take(); r != nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel()
		_ = r.Run(ctx) // it ends at once: its context has ended
	}
}

// Component is that of the present part.
func (n *newest) Component() *schemas.Component {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.part.Component()
}
