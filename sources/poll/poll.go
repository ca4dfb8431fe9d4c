// Package poll runs the sources that are asked instead of listened to: filings, statistics, earnings, news, chains, status
// pages. A Poller knows one service; the package asks, waits, retries, remembers, keeps time and publishes.
//
// As with a venue, three steps are apart. client.go is transport: budget per host, conditional requests, retries, breaker.
// The Poller's Decode is decode: a pure function from an answer to records. machine.go is state: it drops what was published,
// orders what is new, moves the source's time, and tells its health. Frames of package capture stand between the first two,
// so a recorded poll plays back to the same records. memory.go keeps the state where a restart finds it.
package poll

import (
	"errors"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
)

// A Poller knows one service. All its methods are pure: the same arguments give the same results, also at the same time from
// several goroutines.
type Poller interface {
	// Name is the source's name and its records' Meta.source, such as "edgar".
	Name() string
	// Venue is the Meta.venue of the source's own health, such as "sec".
	Venue() string
	// Topics are those that the records go to.
	Topics() []schemas.Topic
	// Tick is how often the source's time moves on: between two Ticks no processor of these topics learns that time has passed.
	Tick() time.Duration
	// Lag is how far the source's time stays behind the receipt clock: how long after the fact the service usually tells.
	Lag() time.Duration
	// Jobs lists what is asked for again and again.
	Jobs() []Job
	// Ask is the first request of a job; what its answer leads to follows from Decode. now is the receipt clock.
	Ask(job Job, cursor []byte, now schemas.Time) (Request, error)
	// Refusal recognises an answer that came with status 200 and says that there is none. It is nil for any other.
	Refusal(body []byte) error
	// Decode reads an answer. An error wrapping ErrShape says that the answer is not what the service documents.
	Decode(a Answer) (Result, error)
}

// A Fallback is a Poller that knows another way to ask for some of what its service refuses.
type Fallback interface {
	// Instead is what is asked in place of a request that the service refused for a reason, if ok.
	Instead(refused Request, why error) (r Request, ok bool)
}

// ErrShape says that an answer has changed its shape: nothing of it is published, and the source's health says so.
var ErrShape = errors.New("unexpected shape")

// Job is one thing that is asked for at an interval.
type Job struct {
	// Name is unique within the source and stable, such as "company/AAPL".
	Name string
	// Stream is the FeedHealth channel that the job belongs to, such as "filings".
	Stream string
	// Every is the interval.
	Every time.Duration
}

// Request is one call of a service.
type Request struct {
	// Ref names the request in captures and logs: the address without secrets. Two requests of one job differ in it.
	Ref string
	// URL is what is asked when it is not Ref, because it holds a secret or is the same for several calls.
	URL secret.Secret
	// Header are added as they are.
	Header map[string]secret.Secret
	// Body makes it a POST of JSON.
	Body []byte
	// PerMinute is the budget of the host; the first request to a host sets it.
	PerMinute int
	// Fresh asks without conditions, although an earlier answer is known.
	Fresh bool
}

// Answer is what came back.
type Answer struct {
	// Job is the name of the job.
	Job string
	// Ref is that of the request.
	Ref string
	// At is the receipt clock.
	At schemas.Time
	// Body is the whole answer; Decode must not keep it.
	Body []byte
	// Cursor is what the job's last Result left.
	Cursor []byte
}

// Result is what an answer means.
type Result struct {
	// Records in any order. Those that were published before may be among them: they are recognised.
	Records []Record
	// Cursor replaces the job's cursor when it is not nil.
	Cursor []byte
	// Next are asked now, in this order, before the job is done.
	Next []Request
	// Partial says that the answer must be asked for again in full, although it may not change.
	Partial bool
	// Bad are entries that could not be read; they are counted and left out.
	Bad []error
}

// Record is one message to publish. The source fills what Meta shares; the poller sets venue, symbol, id.
type Record struct {
	Topic   schemas.Topic
	Message schemas.Message
	// Said is when the record became public, as the service says; 0 when it does not. It becomes the event time while the
	// source's time has not passed it; otherwise the record is taken as known from its receipt.
	Said schemas.Time
	// Backfill says that the record is old although Said does not tell. A record of a job's very first answer that was public an
	// hour before is one in any case.
	Backfill bool
	// Keys are identities besides the key on the topic, the type and Meta.id: any of them makes the record the same as an
	// earlier one of its key.
	Keys []string
}
