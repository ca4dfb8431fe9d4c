package poll

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// machine is the state of one polling source: a function of its frames and of the receipt clock. It runs in one goroutine.
//
// The source's time follows what it publishes and, between answers, the receipt clock. The first turn of all jobs is held
// together and published in the order of what it says, so that years of history come one after the other and not job by job.
type machine struct {
	poller  Poller
	out     sources.Publisher
	metrics *Metrics
	shared  *sources.Metrics
	log     *slog.Logger

	jobs    map[string]*job
	first   map[string]bool // jobs whose first turn is not over
	held    []*held         // what the first turns gave
	started bool
	tail    map[uint64]bool // published by the run before, after its last state

	clock   schemas.Time // receipt clock, never back
	reached schemas.Time // last step of the receipt clock
	ticked  schemas.Time // the source's time on its data topics
	latest  schemas.Time // of the records on the data topics
	status  schemas.Time // the source's time on venues.status

	health   health
	rejected uint64
}

// job is what is known of one job.
type job struct {
	Job
	polled schemas.Time
	cursor []byte
	memory memory
	open   int  // requests of this turn without an answer
	begun  bool // it has had a whole turn, in this run or one before
	dirty  bool // its state is not saved
}

// held is a record on its way out.
type held struct {
	Record
	job      *job
	at       schemas.Time // receipt
	event    schemas.Time
	backfill bool
}

func newMachine(p Poller, out sources.Publisher, metrics *Metrics, shared *sources.Metrics, log *slog.Logger) *machine {
	m := &machine{
		poller: p, out: out, metrics: metrics, shared: shared, log: log,
		jobs: map[string]*job{}, first: map[string]bool{}, tail: map[uint64]bool{},
		health: newHealth(p.Name(), p.Venue()),
	}
	for _, j := range p.Jobs() {
		m.jobs[j.Name] = &job{Job: j}
		m.health.stream(j.Stream)
	}
	return m
}

// verdict is what a frame led to.
type verdict struct {
	next []Request
	// keep says that the answer may be referred to by later conditional requests.
	keep bool
	// ok says that the answer could be read; err is why it could not.
	ok  bool
	err error
}

// Frame takes the next frame: a start, an answer, or a failure.
func (m *machine) Frame(f capture.Frame) (verdict, error) {
	if err := m.Advance(f.At); err != nil {
		return verdict{}, err
	}
	switch f.Kind {
	case capture.Connect:
		return verdict{ok: true}, m.start(f)
	case capture.HTTP:
		return m.answer(f)
	case capture.Close:
		return verdict{}, m.failure(f)
	default:
		return verdict{}, nil
	}
}

// Advance moves the receipt clock, and with it the source's time, once nothing is held back any more.
func (m *machine) Advance(at schemas.Time) error {
	m.clock = max(m.clock, at)
	step := m.poller.Tick()
	last := m.clock.Floor(step)
	if m.reached == 0 || !m.started {
		m.reached = last
		return nil
	}
	for m.reached < last {
		m.reached = m.reached.Add(step)
		if err := m.step(m.reached); err != nil {
			return err
		}
	}
	return nil
}

// step publishes the health of every stream and the Tick of a moment that the receipt clock has reached.
func (m *machine) step(at schemas.Time) error {
	if err := m.report(at); err != nil {
		return err
	}
	if len(m.first) > 0 {
		return nil // history may still come: time on the data topics stands
	}
	return m.tick(at.Add(-m.poller.Lag()))
}

func (m *machine) report(at schemas.Time) error {
	if at <= m.status {
		return nil
	}
	if m.status == 0 { // a Tick ahead of the first record
		if err := m.tickStatus((at - 1).Floor(time.Second)); err != nil {
			return err
		}
	}
	if err := m.health.report(at, func(h *schemas.FeedHealth) error { return m.out.Publish(schemas.VenuesStatus, h) }); err != nil {
		return err
	}
	return m.tickStatus(at)
}

func (m *machine) tickStatus(at schemas.Time) error {
	if at <= m.status {
		return nil
	}
	m.status = at
	return m.out.Tick(m.poller.Name(), at, schemas.VenuesStatus)
}

// tick moves the source's time on its data topics; venues.status has its Ticks from report.
func (m *machine) tick(at schemas.Time) error {
	if at <= m.ticked || at < schemas.MinTime || at > schemas.MaxTime {
		return nil
	}
	m.ticked = at
	topics := slices.DeleteFunc(slices.Clone(m.poller.Topics()), func(t schemas.Topic) bool { return t.Name == schemas.VenuesStatus.Name })
	if len(topics) == 0 {
		return nil
	}
	return m.out.Tick(m.poller.Name(), at, topics...)
}

// answer decodes and takes in what came.
func (m *machine) answer(f capture.Frame) (verdict, error) {
	j := m.job(f.Conn)
	j.open = max(j.open, 1) - 1
	v := verdict{ok: true, keep: true}
	if len(f.Data) > 0 {
		res, err := m.decode(Answer{Job: j.Name, Ref: f.URL, At: f.At, Body: f.Data, Cursor: j.cursor})
		if err != nil {
			m.reject("shape", err, f.Data)
			m.bury(j, f, err)
			return verdict{err: err}, m.failed(j)
		}
		for _, bad := range res.Bad {
			m.reject("entry", bad, nil)
		}
		if res.Cursor != nil {
			j.cursor = res.Cursor
		}
		m.take(j, f.At, res.Records)
		j.open += len(res.Next)
		v.next, v.keep = res.Next, !res.Partial
	}
	m.health.answered(j.Stream, f.At)
	m.metrics.Success.WithLabelValues(m.poller.Name(), j.Stream).Set(float64(f.At) / 1e9)
	if j.open > 0 {
		return v, m.publishUnlessFirst()
	}
	j.polled = f.At
	return v, m.over(j)
}

// decode runs the poller's decoder; a panic in it costs the answer only.
func (m *machine) decode(a Answer) (res Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			res, err = Result{}, fmt.Errorf("decoding panicked: %v", v)
		}
	}()
	return m.poller.Decode(a)
}

// take puts the records of an answer among those on their way, without those that were published before.
func (m *machine) take(j *job, at schemas.Time, records []Record) {
	source := m.poller.Name()
	j.memory.turn++
	for _, r := range records {
		keys := identities(r)
		known := m.known(keys)
		j.memory.add(keys)
		if known {
			m.health.duplicate(j.Stream)
			m.shared.Duplicates.WithLabelValues(source).Inc()
			continue
		}
		meta := schemas.MetaOf(r.Message)
		meta.Source, meta.EventTime = source, int64(max(at, schemas.MinTime))
		if err := schemas.Validate(r.Message); err != nil {
			m.reject("invalid", err, nil)
			continue
		}
		m.held = append(m.held, &held{Record: r, job: j, at: at, backfill: r.Backfill || !j.begun && r.Said != 0 && at.Sub(r.Said) > old})
	}
}

// old is what a job's very first answer must hold to be called a backfill: what the service had long before anybody asked.
const old = time.Hour

// known reports whether a record was published before, by whatever job: two feeds may carry one article.
func (m *machine) known(keys []uint64) bool {
	for _, k := range keys {
		if m.tail[k] {
			return true
		}
		for _, j := range m.jobs { // any: the order plays no part
			if j.memory.has(k) {
				return true
			}
		}
	}
	return false
}

// failure takes a request that came to nothing, or the end of the run.
func (m *machine) failure(f capture.Frame) error {
	if f.Conn == m.poller.Name() {
		return nil
	}
	return m.failed(m.job(f.Conn))
}

func (m *machine) failed(j *job) error {
	m.metrics.Failures.WithLabelValues(m.poller.Name(), j.Stream).Inc()
	m.health.failed(j.Stream)
	j.open = 0
	return m.over(j)
}

// over ends a job's turn.
func (m *machine) over(j *job) error {
	j.dirty = true
	if m.first[j.Name] {
		delete(m.first, j.Name)
		if len(m.first) > 0 {
			return nil
		}
		return m.firstOver()
	}
	return m.publish()
}

func (m *machine) publishUnlessFirst() error {
	if len(m.first) > 0 {
		return nil
	}
	return m.publish()
}

// firstOver publishes what all first turns gave, and lets time go on from now.
func (m *machine) firstOver() error {
	if err := m.publish(); err != nil {
		return err
	}
	return m.tick(m.clock.Add(-m.poller.Lag()).Floor(time.Second))
}

// publish hands on what is held, in the order of time; a Tick goes ahead of each later moment.
func (m *machine) publish() error {
	for _, h := range m.held {
		h.event = m.eventOf(h)
	}
	slices.SortStableFunc(m.held, func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.event, b.event), strings.Compare(a.job.Name, b.job.Name))
	})
	for _, h := range m.held {
		if err := m.put(h); err != nil {
			return err
		}
	}
	m.held = m.held[:0]
	for _, j := range m.jobs {
		j.begun = j.begun || j.polled != 0
	}
	return nil
}

// eventOf is when a record became public, as long as the source's time has not passed that and the receipt clock has; else it
// is known from where the receipt clock puts the source's time.
func (m *machine) eventOf(h *held) schemas.Time {
	ticked, lag := m.ticked, m.poller.Lag()
	if h.Topic.Name == schemas.VenuesStatus.Name {
		ticked, lag = m.status, 0
	}
	if h.Said > ticked && h.Said <= h.at && h.Said >= schemas.MinTime {
		return h.Said
	}
	return max(h.at.Add(-lag), ticked+1, schemas.MinTime)
}

// put publishes one record.
func (m *machine) put(h *held) error {
	meta := schemas.MetaOf(h.Message)
	event := h.event
	meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	if event == h.Said {
		meta.TimeSource = schemas.TimeSource_TIME_SOURCE_EXCHANGE
	}
	meta.EventTime, meta.ReceiveTime, meta.SequenceKind = int64(event), int64(h.at), schemas.SequenceKind_SEQUENCE_KIND_NONE
	if h.backfill {
		meta.Flags |= flagBackfill
	}
	tick := m.tickStatus
	if h.Topic.Name != schemas.VenuesStatus.Name {
		tick, m.latest = m.tick, max(m.latest, event)
	}
	if err := tick((event - 1).Floor(time.Second)); err != nil {
		return err
	}
	m.health.record(h.job.Stream)
	if err := m.out.Publish(h.Topic, h.Message); err != nil && !errors.Is(err, sources.ErrShed) {
		return err
	}
	return nil
}

// flagBackfill marks records of a job's very first answer: what the service had before anybody asked.
const flagBackfill = 4

// job finds the job of a frame; one that is not known comes from a recording with other settings.
func (m *machine) job(name string) *job {
	j := m.jobs[name]
	if j == nil {
		j = &job{Job: Job{Name: name, Stream: streamOf(name)}}
		m.jobs[name] = j
		m.health.stream(j.Stream)
	}
	return j
}

// streamOf guesses the stream of a job of other settings.
func streamOf(name string) string {
	stream, _, _ := strings.Cut(name, "/")
	return stream
}

// reject counts what broke a rule; every power of two it shows one.
func (m *machine) reject(reason string, err error, raw []byte) {
	const most = 512
	m.rejected++
	m.health.unknown++
	m.shared.Rejected.WithLabelValues(m.poller.Name(), reason).Inc()
	if n := m.rejected; m.log != nil && n&(n-1) == 0 {
		m.log.Warn("answer not published", "source", m.poller.Name(), "reason", reason, "error", err, "raw", string(raw[:min(len(raw), most)]), "count", n)
	}
}

// bury writes an answer that could not be read to the dead letters as it came, where there is a place for them.
func (m *machine) bury(j *job, f capture.Frame, err error) {
	to, ok := m.out.(sources.Burier)
	letter := deadletter.Frame{Source: m.poller.Name(), Connection: j.Name, Received: f.At, Reason: "shape", Detail: err.Error(), Data: f.Data}
	if !ok || len(f.Data) > schemas.MaxOutputBytes-deadletter.MaxDetailBytes || !to.Bury(letter) {
		m.shared.Unburied.WithLabelValues(m.poller.Name()).Inc()
	}
}

// Finish ends a run with --once, or a recording: the last Tick stands behind everything.
func (m *machine) Finish() error {
	clear(m.first)
	if err := m.publish(); err != nil {
		return err
	}
	end := m.clock.Floor(time.Second).Add(time.Second)
	if err := m.report(end); err != nil {
		return err
	}
	return m.tick(max(end.Add(-m.poller.Lag()), m.latest.Floor(time.Second).Add(time.Second)))
}
