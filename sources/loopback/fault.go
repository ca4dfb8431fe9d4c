package loopback

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of fault.
const (
	// Silence: a stream is acknowledged and not sent.
	Silence = "silence"
	// Drop: messages are lost; where the venue numbers them, their numbers are used up.
	Drop = "drop"
	// Duplicate: messages come twice.
	Duplicate = "duplicate"
	// Reorder: a message comes behind the next one of its rule.
	Reorder = "reorder"
	// Corrupt: a digit of a price or quantity is another.
	Corrupt = "corrupt"
	// Cut: the message ends in its middle.
	Cut = "cut"
	// Slow: messages, and all behind them, are held up.
	Slow = "slow"
	// HalfOpen: the connection stands, and is neither read nor written any more.
	HalfOpen = "half-open"
	// Disconnect: the connection ends without a word.
	Disconnect = "disconnect"
	// Shutdown: the venue says that it will close the connection, and does so later.
	Shutdown = "shutdown"
	// Age: a connection ends at an age, as after 24 hours.
	Age = "age"
	// TooMany: a request, or a handshake, is answered with status 429.
	TooMany = "429"
)

// kinds with what they are in a word, in the order of the documentation.
var kinds = []struct{ name, doc string }{
	{Silence, "a stream is acknowledged and not sent"},
	{Drop, "messages are lost"},
	{Duplicate, "messages come twice"},
	{Reorder, "a message comes behind the next one"},
	{Corrupt, "a digit of a price or quantity is another"},
	{Cut, "a message ends in its middle"},
	{Slow, "messages come late by `for`"},
	{HalfOpen, "the connection stands and is neither read nor written"},
	{Disconnect, "the connection ends"},
	{Shutdown, "the venue announces the end of the connection, which comes after `for`"},
	{Age, "every connection ends at the age `for`"},
	{TooMany, "requests and handshakes are answered with 429, and a Retry-After of `for`"},
}

// Fault is one thing that goes wrong.
type Fault struct {
	// Kind is one of the constants.
	Kind string
	// Stream is a part of the names of the streams it is about, of the address for 429; empty means all.
	Stream string
	// At is the message (or request) that it begins with, counted from 1 over what it is about.
	At int
	// After begins it so long after the opening, on the recorded clock, in place of At.
	After time.Duration
	// Count is how many messages (requests) it is about; 0 means one, and for silence all.
	Count int
	// For is how long: the delay of slow, the notice of a shutdown, the age, the Retry-After of 429.
	For time.Duration
}

// ParseFault reads KIND[:KEY=VALUE,...] with the keys stream, at, after, count and for.
func ParseFault(text string) (Fault, error) {
	kind, rest, _ := strings.Cut(text, ":")
	f := Fault{Kind: kind}
	if !slices.ContainsFunc(kinds, func(k struct{ name, doc string }) bool { return k.name == kind }) {
		var names []string
		for _, k := range kinds {
			names = append(names, k.name)
		}
		return f, fmt.Errorf("fault %q is unknown: it must be one of %s", kind, strings.Join(names, ", "))
	}
	for part := range strings.SplitSeq(rest, ",") {
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return f, fmt.Errorf("fault %s has %q: it must be KEY=VALUE", kind, part)
		}
		if err := f.set(key, value); err != nil {
			return f, fmt.Errorf("fault %s has %q: %w", kind, part, err)
		}
	}
	return f, f.valid()
}

var (
	errKey      = errors.New("the key must be one of stream, at, after, count, for")
	errNumber   = errors.New("it must be a whole number of 0 or more")
	errDuration = errors.New("it must be a duration of 0 or more, such as 2s")
)

// set takes one key of the text.
func (f *Fault) set(key, value string) (err error) {
	number, length := &f.At, &f.For
	switch key {
	case "stream":
		f.Stream = value
		return nil
	case "at", "count":
		if key == "count" {
			number = &f.Count
		}
		if *number, err = strconv.Atoi(value); err != nil || *number < 0 {
			return errNumber
		}
		return nil
	case "after", "for":
		if key == "after" {
			length = &f.After
		}
		if *length, err = time.ParseDuration(value); err != nil || *length < 0 {
			return errDuration
		}
		return nil
	}
	return errKey
}

// Describe lists the kinds of fault, one a line.
func Describe() string {
	var b strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&b, "%-11s %s\n", k.name, k.doc)
	}
	return b.String()
}

func (f Fault) valid() error {
	if f.At < 0 || f.Count < 0 || f.After < 0 || f.For < 0 {
		return fmt.Errorf("fault %s has at %d, count %d, after %v, for %v: none must be negative", f.Kind, f.At, f.Count, f.After, f.For)
	}
	if (f.Kind == Slow || f.Kind == Age) && f.For == 0 {
		return fmt.Errorf("fault %s: for is missing, it must be a duration such as for=2s", f.Kind)
	}
	return nil
}

func (f Fault) check(d *dialect) error {
	if f.Kind == Shutdown && d.shutdown == "" {
		return fmt.Errorf("fault %s: this venue announces nothing before it closes a connection", f.Kind)
	}
	return f.valid()
}

// rule is a fault with how far it has come.
type rule struct {
	Fault
	seen, done int
	awaits     bool // a message is held until the next one
}

// hit counts what the rule is about and says whether this one is struck. late is how long the market has been open.
func (r *rule) hit(late time.Duration) bool {
	r.seen++
	if r.After > 0 && late < r.After || r.After == 0 && r.seen < max(r.At, 1) {
		return false
	}
	if r.Count == 0 && r.Kind == Silence {
		return true
	}
	if r.done >= max(r.Count, 1) {
		return false
	}
	r.done++
	return true
}

// about says that a rule is about one of the streams.
func (r *rule) about(keys []string) bool {
	return r.Stream == "" || slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, r.Stream) })
}

// effect is what the faults make of one message, for every session that follows it.
type effect struct {
	silence, drop, twice bool
	reorder, release     bool
	delay                time.Duration
	alter                func([]byte) []byte
	announce             []byte
	end                  ending
}

// effect counts a frame for every rule and says what becomes of it. Frames that nobody follows count for none.
func (s *Server) effect(m *message) (e effect) {
	if !slices.ContainsFunc(s.sessions, func(c *session) bool { return c.follows(m.keys) }) {
		return e
	}
	for _, r := range s.rules {
		if r.Kind == Age || r.Kind == TooMany || !r.about(m.keys) {
			continue
		}
		if !r.hit(m.At.Sub(s.begun)) {
			e.release = e.release || r.awaits
			r.awaits = false
			continue
		}
		switch r.Kind {
		case Silence:
			e.silence = true
		case Drop:
			e.drop = true
		case Duplicate:
			e.twice = true
		case Reorder:
			e.reorder, r.awaits = true, true
		case Corrupt:
			n := r.seen
			e.alter = func(raw []byte) []byte { return flip(raw, place(s.opt.Seed, n)) }
		case Cut:
			e.alter = func(raw []byte) []byte { return raw[:len(raw)/2] }
		case Slow:
			e.delay = r.For
		case HalfOpen:
			e.end = stalls
		case Disconnect:
			e.end = closes
		case Shutdown:
			e.announce = []byte(s.dialect.shutdown)
			for _, c := range s.sessions {
				if c.follows(m.keys) {
					time.AfterFunc(r.For, c.close)
				}
			}
		}
	}
	return e
}

// close ends the session behind what waits.
func (c *session) close() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.push(parcel{end: closes})
}

// silent says that a stream is not sent at all.
func (s *Server) silent(key string) bool {
	return slices.ContainsFunc(s.rules, func(r *rule) bool {
		return r.Kind == Silence && r.Count == 0 && r.After == 0 && r.At <= max(r.seen, 1) && r.about([]string{key})
	})
}

// aging says when a connection that begins now is as old as it becomes; nil never does.
func (s *Server) aging() <-chan time.Time {
	for _, r := range s.rules {
		if r.Kind == Age {
			return s.after(r.For)
		}
	}
	return nil
}

// refused answers a request with 429 when it is struck.
func (s *Server) refused(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if rule.Kind != TooMany || !strings.Contains(r.URL.String(), rule.Stream) || !rule.hit(s.at.Sub(s.begun)) {
			continue
		}
		seconds := (rule.For + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return true
	}
	return false
}

// place picks the digit of the n-th message.
func place(seed uint64, n int) uint64 { return rand.New(rand.NewPCG(seed, uint64(n))).Uint64() }

// flip makes one digit of one number with a point another; place picks them. A frame without such a number is cut instead.
func flip(raw []byte, place uint64) []byte {
	var digits []int
	for i := 0; i < len(raw); {
		n := 0
		for n < len(raw[i:]) && (raw[i+n] >= '0' && raw[i+n] <= '9' || raw[i+n] == '.') {
			n++
		}
		// A time ends in Z, a date has other signs about it.
		whole := i > 0 && bytes.IndexByte([]byte(`":[,`), raw[i-1]) >= 0 && i+n < len(raw) && bytes.IndexByte([]byte(`",]}`), raw[i+n]) >= 0
		if whole && bytes.Count(raw[i:i+n], []byte(".")) == 1 {
			for j := i; j < i+n; j++ {
				if raw[j] != '.' {
					digits = append(digits, j)
				}
			}
		}
		i += max(n, 1)
	}
	if len(digits) == 0 {
		return raw[:len(raw)/2]
	}
	out := bytes.Clone(raw)
	at := digits[place%uint64(len(digits))]
	out[at] = '0' + (out[at]-'0'+1+byte(place>>32%9))%10
	return out
}
