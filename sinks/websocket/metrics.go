package websocket

import "github.com/prometheus/client_golang/prometheus"

// metrics are the figures of the server.
type metrics struct {
	connections prometheus.Gauge
	refused     *prometheus.CounterVec
	closed      *prometheus.CounterVec
	events      prometheus.Counter
	messages    prometheus.Counter
	lagged      prometheus.Counter
	replays     *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "websocket_connections", Help: "Open connections."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "websocket_refused_total", Help: "Connections refused, by reason: origin, auth, limit, closing."}, []string{"reason"}),
		closed:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "websocket_closed_total", Help: "Connections that ended, by close code; 1006 where none could be exchanged, private for those of the client's own choice (3000 on)."}, []string{"code"}),
		events:      prometheus.NewCounter(prometheus.CounterOpts{Name: "websocket_events_total", Help: "Events sent, all clients together."}),
		messages:    prometheus.NewCounter(prometheus.CounterOpts{Name: "websocket_messages_total", Help: "Messages of events sent, all clients together."}),
		lagged:      prometheus.NewCounter(prometheus.CounterOpts{Name: "websocket_lagged_total", Help: "Times that a client was told that it lags."}),
		replays:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "websocket_replays_total", Help: "Resumes, by origin of the events: memory, topic, refused."}, []string{"from"}),
	}
	if r != nil {
		r.MustRegister(m.connections, m.refused, m.closed, m.events, m.messages, m.lagged, m.replays)
	}
	return m
}
