package poll

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what operators see of the polling sources besides sources.Metrics.
type Metrics struct {
	Requests *prometheus.CounterVec // source, host, outcome
	Breaker  *prometheus.GaugeVec   // host
	Success  *prometheus.GaugeVec   // source, stream
	Failures *prometheus.CounterVec // source, stream
}

// NewMetrics makes the metrics and registers them; a nil registry leaves them unregistered, for tests.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	const namespace, subsystem = "tapewatch", "poll"
	m := &Metrics{
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_total",
			Help: "Requests by outcome: ok, not_modified, throttled, blocked, refused, error, network, truncated, too_large, open.",
		}, []string{"source", "host", "outcome"}),
		Breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "breaker_state",
			Help: "State of the breaker in front of a host: 0 closed, 1 half open, 2 open.",
		}, []string{"host"}),
		Success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "last_success_timestamp_seconds",
			Help: "When a stream last had an answer that could be read, Unix time.",
		}, []string{"source", "stream"}),
		Failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "failures_total",
			Help: "Turns of jobs that ended without an answer that could be read.",
		}, []string{"source", "stream"}),
	}
	if registry != nil {
		registry.MustRegister(m.Requests, m.Breaker, m.Success, m.Failures)
	}
	return m
}
