package sinks

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of all sinks of a process.
type Metrics struct {
	records  *prometheus.CounterVec
	failures *prometheus.CounterVec
	batch    *prometheus.HistogramVec
	breaker  *prometheus.GaugeVec
	lag      *prometheus.GaugeVec
	moved    *prometheus.CounterVec
}

// NewMetrics registers the figures; a nil registerer gives figures that nobody sees.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sink_records_total", Help: "Records by sink and outcome: written, duplicate, expired, dead_letter, tick.",
		}, []string{"sink", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sink_write_failures_total", Help: "Writes that failed and were tried again.",
		}, []string{"sink"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sink_write_seconds", Help: "Time of one batch, failed ones too.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"sink"}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sink_breaker_state", Help: "State of the breaker: 0 closed, 1 half-open, 2 open.",
		}, []string{"sink"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sink_lag_records", Help: "Records between the sink and the end of the partition.",
		}, []string{"sink", "topic", "partition"}),
		moved: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sink_repositions_total", Help: "Times that the system behind the sink stood elsewhere than expected.",
		}, []string{"sink"}),
	}
	if r != nil {
		r.MustRegister(m.records, m.failures, m.batch, m.breaker, m.lag, m.moved)
	}
	return m
}
