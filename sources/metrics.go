package sources

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what operators see of all sources of the process.
type Metrics struct {
	Records       *prometheus.CounterVec // topic, type
	Frames        *prometheus.CounterVec // source
	Gaps          *prometheus.CounterVec // source, channel, cause
	Reconnects    *prometheus.CounterVec // source
	Duplicates    *prometheus.CounterVec // source
	Skew          *prometheus.GaugeVec   // source
	Unknown       *prometheus.CounterVec // source, reason
	Rejected      *prometheus.CounterVec // source, reason
	Unburied      *prometheus.CounterVec // source
	Shed          *prometheus.CounterVec // topic
	ProduceErrors *prometheus.CounterVec // topic

	// Pulse is what the live sources of the process know of each other.
	Pulse *Pulse
}

// NewMetrics makes the metrics and registers them; a nil registry leaves them unregistered, for tests.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tapewatch", Subsystem: "source", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		Pulse:      &Pulse{},
		Records:    counter("records_total", "Records handed to the producer.", "topic", "type"),
		Frames:     counter("frames_total", "Raw frames received, or rows read.", "source"),
		Gaps:       counter("gaps_total", "Losses found and published as Gap records.", "source", "channel", "cause"),
		Reconnects: counter("reconnects_total", "Connections opened after the first.", "source"),
		Duplicates: counter("duplicates_total", "Records dropped because their native id was seen before.", "source"),
		Skew: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "tapewatch", Subsystem: "source", Name: "skew_seconds",
			Help: "Receipt minus venue time, median; negative when the own clock is behind.",
		}, []string{"source"}),
		Unknown:       counter("unknown_messages_total", "Messages that no decoder knows.", "source", "reason"),
		Rejected:      counter("rejected_total", "Frames, rows or records that broke a rule and were not published.", "source", "reason"),
		Unburied:      counter("unburied_total", "Frames that could not be read and were not written to the dead letters either: too many, too large, or the producer was behind.", "source"),
		Shed:          counter("shed_total", "Quotes and books dropped because the producer was behind.", "topic"),
		ProduceErrors: counter("produce_errors_total", "Records that Kafka did not take.", "topic"),
	}
	if registry != nil {
		registry.MustRegister(m.Records, m.Frames, m.Gaps, m.Reconnects, m.Duplicates, m.Skew, m.Unknown, m.Rejected, m.Unburied, m.Shed, m.ProduceErrors)
	}
	return m
}
