package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/stream"
)

// metrics are the figures of every part, in one registry. Parts that a process does not run stay without samples.
type metrics struct {
	stream  *stream.Metrics
	sinks   *sinks.Metrics
	sources *sources.Metrics
	poll    *poll.Metrics
}

func newMetrics(r prometheus.Registerer) metrics {
	return metrics{
		stream:  stream.NewMetrics(r),
		sinks:   sinks.NewMetrics(r),
		sources: sources.NewMetrics(r),
		poll:    poll.NewMetrics(r),
	}
}
