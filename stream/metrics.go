package stream

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// wallClock is the one place of this package that asks for the time of day: for the age of transactions and snapshots and
// for metrics. No processor ever sees it.
func wallClock() time.Time { return time.Now() } //nolint:forbidigo // see above

// Metrics are the runtime's own, shared by all groups of a process.
type Metrics struct {
	transactions  *prometheus.CounterVec
	stages        *prometheus.HistogramVec
	records       *prometheus.CounterVec
	bytes         *prometheus.CounterVec
	lag, lagTime  *prometheus.GaugeVec
	snapshotBytes *prometheus.CounterVec
	snapshotTime  *prometheus.GaugeVec
	checkpoints   *prometheus.CounterVec
	restores      *prometheus.CounterVec
	restored      *prometheus.CounterVec
	restoreLeft   *prometheus.GaugeVec
	late, letters *prometheus.CounterVec
	duplicates    *prometheus.CounterVec
	fenced        *prometheus.CounterVec

	checks, events *prometheus.CounterVec
	checkSeconds   *prometheus.HistogramVec
	watchdogHealth *prometheus.GaugeVec

	jobs, tasks         *prometheus.CounterVec
	jobSeconds, execute *prometheus.HistogramVec
	active              *prometheus.GaugeVec
	workerHealth        *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; nil registers nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := factory{reg}
	short := prometheus.ExponentialBuckets(0.0005, 2, 15)
	jobs := []float64{0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600}
	return &Metrics{
		transactions:  f.counter("tapewatch_transactions_total", "Transactions ended, by outcome (committed, aborted, failed) and reason.", "processor", "outcome", "reason"),
		stages:        f.histogram("tapewatch_transaction_seconds", "Time in each stage of a transaction: poll, process, snapshot, flush, end.", short, "processor", "stage"),
		records:       f.counter("tapewatch_records_total", "Input records processed in committed transactions.", "processor"),
		bytes:         f.counter("tapewatch_record_bytes_total", "Bytes of the keys and values of those records.", "processor"),
		lag:           f.gauge("tapewatch_lag_records", "Input offsets between the position and the last stable offset.", "processor", "partition"),
		lagTime:       f.gauge("tapewatch_lag_event_seconds", "Wall clock less the event time of the last tick processed.", "processor", "partition"),
		snapshotBytes: f.counter("tapewatch_snapshot_bytes_total", "Bytes of state written, checkpoints among them.", "processor"),
		checkpoints:   f.counter("tapewatch_checkpoints_total", "Whole states of a partition written: at the start, for a new day of event time and for another configuration.", "processor"),
		snapshotTime:  f.gauge("tapewatch_snapshot_time_seconds", "When the partition was last snapshotted, Unix time; age is time() less this.", "processor", "partition"),
		restores:      f.counter("tapewatch_restores_total", "Restores of a partition's state, by outcome (done, cancelled, failed, refused).", "processor", "outcome"),
		restored:      f.counter("tapewatch_restore_records_total", "Records read by restores, by kind (state, input).", "processor", "kind"),
		restoreLeft:   f.gauge("tapewatch_restore_left_offsets", "Input offsets that a running restore has still to replay.", "processor", "partition"),
		late:          f.counter("tapewatch_late_records_total", "Records whose event time had passed when they came.", "processor"),
		duplicates:    f.counter("tapewatch_duplicate_records_total", "Records left out because they had come before.", "processor"),
		letters:       f.counter("tapewatch_dead_letters_total", "Records sent to the dead letters, by reason.", "processor", "reason"),
		fenced:        f.counter("tapewatch_fenced_total", "Times that another process or the broker fenced this one.", "processor"),

		checks:         f.counter("watchdog_checks_total", "Records checked by a watchdog, by status (ok, late, rejected).", "watchdog", "status"),
		events:         f.counter("watchdog_events_total", "Events committed by a watchdog.", "watchdog", "severity"),
		checkSeconds:   f.histogram("watchdog_check_seconds", "Time to check one batch of records of one partition.", short, "watchdog"),
		watchdogHealth: f.gauge("watchdog_health_status", "1 when healthy, 0.5 when starting, 0 when not healthy.", "watchdog"),

		jobs:         f.counter("worker_jobs_total", "Batches of input that a worker ran.", "worker_type", "job_type", "status"),
		tasks:        f.counter("worker_tasks_total", "Records that a worker took.", "worker_type", "status"),
		jobSeconds:   f.histogram("worker_job_duration_seconds", "Time to run one batch of input.", jobs, "worker_type", "job_type"),
		execute:      f.histogram("worker_execution_seconds", "Time to run one batch of input, finer.", short, "worker_type"),
		active:       f.gauge("worker_active_jobs", "Partitions that a worker is working on now.", "worker_type"),
		workerHealth: f.gauge("worker_health_status", "1 when healthy, 0.5 when starting, 0 when not healthy.", "worker_type", "worker_id"),
	}
}

type factory struct{ reg prometheus.Registerer }

func (f factory) add(c prometheus.Collector) {
	if f.reg != nil {
		f.reg.MustRegister(c)
	}
}

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.add(v)
	return v
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.add(v)
	return v
}

func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	f.add(v)
	return v
}

// meter is one group's view of the metrics, its labels resolved once.
type meter struct {
	m    *Metrics
	name string
	kind processor.Kind
	slot string

	poll, process, snapshot, flush, end prometheus.Observer
	records, bytes                      prometheus.Counter
	working                             atomic.Int64
}

func newMeter(m *Metrics, b *processor.Bound, slot int) *meter {
	stage := func(s string) prometheus.Observer { return m.stages.WithLabelValues(b.Name, s) }
	return &meter{
		m: m, name: b.Name, kind: b.Kind, slot: strconv.Itoa(slot),
		poll: stage("poll"), process: stage("process"), snapshot: stage("snapshot"), flush: stage("flush"), end: stage("end"),
		records: m.records.WithLabelValues(b.Name), bytes: m.bytes.WithLabelValues(b.Name),
	}
}

func (m *meter) transaction(outcome, reason string) {
	m.m.transactions.WithLabelValues(m.name, outcome, reason).Inc()
}

// batch counts one batch of one partition.
func (m *meter) batch(took time.Duration) {
	switch m.kind {
	case processor.Watchdog:
		m.m.checkSeconds.WithLabelValues(m.name).Observe(took.Seconds())
	case processor.Worker:
		m.m.jobs.WithLabelValues(m.name, "batch", "ok").Inc()
		m.m.jobSeconds.WithLabelValues(m.name, "batch").Observe(took.Seconds())
		m.m.execute.WithLabelValues(m.name).Observe(took.Seconds())
	case processor.Stage: // its transactions say it all
	}
}

// work notes that a partition is being worked on, or no more.
func (m *meter) work(delta int64) {
	n := m.working.Add(delta)
	if m.kind == processor.Worker {
		m.m.active.WithLabelValues(m.name).Set(float64(n))
	}
}

// committed counts what one partition did in a committed transaction.
func (m *meter) committed(p *part) {
	now := p.task.Stats()
	was := p.reported
	p.reported = now
	late, rejected := float64(now.Late-was.Late), float64(now.Rejected-was.Rejected)
	ok := float64(now.Records-was.Records) - late - rejected
	m.records.Add(float64(now.Records - was.Records))
	m.bytes.Add(float64(p.bytes))
	m.m.late.WithLabelValues(m.name).Add(late)
	m.m.duplicates.WithLabelValues(m.name).Add(float64(now.Duplicates - was.Duplicates))
	for reason, n := range p.letters {
		m.m.letters.WithLabelValues(m.name, reason).Add(float64(n))
	}
	var vec *prometheus.CounterVec
	switch m.kind {
	case processor.Watchdog:
		vec = m.m.checks
		for rank, n := range p.severities {
			if n > 0 {
				m.m.events.WithLabelValues(m.name, severityNames[rank]).Add(float64(n))
			}
		}
	case processor.Worker:
		vec = m.m.tasks
	default:
		return
	}
	vec.WithLabelValues(m.name, "ok").Add(max(ok, 0))
	vec.WithLabelValues(m.name, "late").Add(late)
	vec.WithLabelValues(m.name, "rejected").Add(rejected)
}

var severityNames = [...]string{"none", schemas.Low, schemas.Medium, schemas.High, schemas.Critical}

// behind notes how far what is committed of a partition is behind.
func (m *meter) behind(p *part) {
	m.m.lag.WithLabelValues(m.name, p.label).Set(float64(max(p.stable-p.committed, 0)))
}

// forget takes away the gauges of a partition that another process may have from now on.
func (m *meter) forget(partition string) {
	for _, v := range []*prometheus.GaugeVec{m.m.lag, m.m.lagTime, m.m.snapshotTime} {
		v.DeleteLabelValues(m.name, partition)
	}
}

// position notes where a partition stands after a commit.
func (m *meter) position(p *part, now time.Time) {
	m.behind(p)
	if p.snapshotted {
		m.m.snapshotTime.WithLabelValues(m.name, p.label).Set(float64(p.snapped.UnixNano()) / 1e9)
	}
	if at := p.task.Ticked(); at > 0 {
		m.m.lagTime.WithLabelValues(m.name, p.label).Set(now.Sub(at.UTC()).Seconds())
	}
}

// health publishes a component's state.
func (m *meter) health(state string) {
	v := 0.0
	switch state {
	case healthy:
		v = 1
	case starting:
		v = 0.5
	}
	switch m.kind {
	case processor.Watchdog:
		m.m.watchdogHealth.WithLabelValues(m.name).Set(v)
	case processor.Worker:
		m.m.workerHealth.WithLabelValues(m.name, m.slot).Set(v)
	case processor.Stage: // the health pages show it
	}
}
