// Package sourcetest holds a Publisher for tests: it keeps what a source published, encoded as the producer would.
package sourcetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// Entry is one published record, or one Tick of one topic.
type Entry struct {
	Topic, Key, Type string
	Message          schemas.Message
}

// Memory keeps every record in the order of the calls.
type Memory struct {
	// Refuse, when set, answers a Publish in place of taking it.
	Refuse func(topic schemas.Topic, m schemas.Message) error

	mu      sync.Mutex // guards entries and flushes
	entries []Entry
	flushes int
}

var _ sources.Publisher = (*Memory)(nil)

// Publish keeps a copy of the record.
func (p *Memory) Publish(topic schemas.Topic, m schemas.Message) error {
	if p.Refuse != nil {
		if err := p.Refuse(topic, m); err != nil {
			return err
		}
	}
	if err := schemas.Validate(m); err != nil {
		return fmt.Errorf("publishing to %s: %w", topic.Name, err)
	}
	if !topic.Carries(m) {
		return fmt.Errorf("publishing to %s: a %s does not belong there", topic.Name, schemas.TypeOf(m))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, Entry{topic.Name, topic.KeyOf(m), schemas.TypeOf(m), proto.Clone(m)})
	return nil
}

// Tick keeps one entry for each topic.
func (p *Memory) Tick(source string, at schemas.Time, topics ...schemas.Topic) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range topics {
		p.entries = append(p.entries, Entry{t.Name, "", "Tick", &schemas.Tick{Source: source, Time: int64(at)}})
	}
	return nil
}

// Flush counts itself.
func (p *Memory) Flush(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushes++
	return nil
}

// Add appends an entry as it is.
func (p *Memory) Add(e Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, e)
}

// Entries returns what was published so far.
func (p *Memory) Entries() []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Entry(nil), p.entries...)
}

// Of returns the messages of one type, in order.
func Of[M schemas.Message](p *Memory) []M {
	var out []M
	for _, e := range p.Entries() {
		if m, ok := e.Message.(M); ok {
			out = append(out, m)
		}
	}
	return out
}

// Digest is the SHA-256 over topics, keys, types and encoded values of the entries that keep accepts; nil accepts all.
func (p *Memory) Digest(keep func(Entry) bool) string {
	h := sha256.New()
	var enc schemas.Encoder
	for _, e := range p.Entries() {
		if keep != nil && !keep(e) {
			continue
		}
		value, err := enc.AppendValue(nil, schemas.Topic{Name: e.Topic}, e.Message)
		if err != nil {
			return err.Error()
		}
		_, _ = fmt.Fprintf(h, "%s\n%s\n%s\n%d\n%s", e.Topic, e.Key, e.Type, len(value), value)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Late returns the records that a processor with no allowance would call late: not after their source's last Tick on their
// topic.
func (p *Memory) Late() []Entry {
	ticked := map[string]schemas.Time{}
	var out []Entry
	for _, e := range p.Entries() {
		at := schemas.TimeOf(e.Message)
		place := e.Topic + "/" + schemas.SourceOf(e.Message)
		switch {
		case e.Type == "Tick":
			ticked[place] = max(ticked[place], at)
		case at <= ticked[place]:
			out = append(out, e)
		}
	}
	return out
}
