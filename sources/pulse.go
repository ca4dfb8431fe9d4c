package sources

import (
	"sync"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Pulse tells the live sources of one process whether the others receive data: a fault of our own network must not read as
// an outage of every venue. Safe for concurrent use.
type Pulse struct {
	mu   sync.Mutex // guards last
	last map[string]schemas.Time
}

// Beat notes that a source has received data at a receipt time.
func (p *Pulse) Beat(source string, at schemas.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]schemas.Time{}
	}
	p.last[source] = max(p.last[source], at)
}

// Others reports whether any source but the named one has received data within the second before now.
func (p *Pulse) Others(source string, now schemas.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, at := range p.last {
		if name != source && now.Sub(at) <= time.Second {
			return true
		}
	}
	return false
}
