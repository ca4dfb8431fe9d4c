package main

import (
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/internal/config"
)

// knob is an environment name and the settings that it may stand for; the first one that exists is taken.
type knob struct {
	name  string
	paths []string
	note  string
}

const (
	withWorkers  = "the analysis workers come in a later release"
	withBacktest = "back-tests and optimisation come in a later release"
	eventTime    = "A cadence in event time; a bare number means seconds."
)

var knobs = []knob{
	{"LOG_LEVEL", []string{"log.level"}, ""},
	{"WORKER_NAME", []string{"process.name"}, ""},
	{"WORKER_METRICS_PORT", []string{"admin.port"}, "Port of /metrics, /livez and /readyz in processes other than `up` and `serve`, which have them on the API's."},
	{"WORKER_MEMORY_LIMIT_MB", []string{"process.memory_limit_mb"}, ""},
	{"WORKER_CPU_LIMIT", []string{"process.cpu_limit"}, ""},
	{"WORKER_RETRY_ATTEMPTS", []string{"supervision.retry_attempts"}, "Restarts of a source or sink that fails without having worked in between."},
	{"WORKER_RETRY_DELAY", []string{"supervision.retry_delay"}, "Pause before the first restart; a bare number means seconds."},
	{"WORKER_HEALTH_CHECK_INTERVAL", []string{"process.heartbeat"}, "A bare number means seconds."},
	{"WORKER_POOL_SIZE", nil, withWorkers + "; processors scale by partitions and processes"},
	{"WORKER_MAX_CONCURRENT_TASKS", nil, withWorkers},
	{"WORKER_TASK_TIMEOUT", nil, withWorkers},
	{"BACKTEST_SYMBOLS", nil, withBacktest},
	{"OPTIM_TRIALS", nil, withBacktest},
	{"OPTIM_SPLITS", nil, withBacktest},
	{"WATCHDOG_GLOBAL_ENABLED", []string{"watchdogs.enabled"}, ""},
	{"WATCHDOG_EVENT_STREAM_ENABLED", []string{"sinks.enabled"}, "Whether `up` runs any sink; events are on their topic in any case."},
	{"WATCHDOG_EVENT_PERSISTENCE", []string{"sinks.redis.enabled"}, "Whether `up` runs the Redis sink."},
	{"WATCHDOG_WEBSOCKET_BROADCAST", []string{"sinks.websocket.enabled"}, "Whether the API serves events over WebSocket."},
	{"WATCHDOG_MAX_EVENTS_IN_MEMORY", []string{"sinks.websocket.feed.max_events"}, "Events that the API holds; the length of Redis' stream is sinks.redis.stream_cap."},
	{"WATCHDOG_HEALTH_CHECK_INTERVAL", []string{"process.heartbeat"}, "A bare number means seconds."},
	{"UNUSUAL_VOLUME_MULTIPLIER", []string{"processors.unusual_volume.multiplier"}, ""},
	{"PRICE_ANOMALY_THRESHOLD_PCT", []string{"processors.price_anomaly.threshold_pct"}, ""},
	{"EARNINGS_SURPRISE_THRESHOLD_PCT", []string{"processors.earnings_anomaly.threshold_pct"}, ""},
	{"WHALE_MOVEMENT_MIN_USD", []string{"processors.whale_movement.min_usd"}, ""},
	{"FUNDING_RATE_THRESHOLD_PCT", []string{"processors.funding_rate.threshold_pct"}, ""},
	{"LIQUIDITY_DROP_THRESHOLD_PCT", []string{"processors.liquidity_drop.threshold_pct"}, ""},
	{"CORRELATION_CHANGE_THRESHOLD", []string{"processors.correlation_breakdown.threshold"}, ""},
}

// watchdogNames and workerNames are the names that the ENABLE_ and _CHECK_INTERVAL variables are made of.
var (
	watchdogNames = []string{
		"earnings_anomaly", "unusual_volume", "whale_movement", "funding_rate", "liquidity_drop", "correlation_breakdown",
		"exchange_outage", "price_anomaly",
	}
	workerNames = []string{"fundamentals", "technical", "macro", "sentiment", "correlation", "risk", "news", "options"}
)

// aliases lists the environment names that operators know, each with the setting that it stands for. A name whose part does
// not exist yet is accepted and said to have no effect.
func aliases(t *config.Tree) []config.Alias {
	all := knobs
	for _, n := range watchdogNames {
		upper := strings.ToUpper(n)
		all = append(slices.Clip(all),
			knob{"ENABLE_" + upper + "_WATCHDOG", []string{"processors." + n + ".enabled"}, ""},
			knob{upper + "_CHECK_INTERVAL", []string{"processors." + n + ".check_interval"}, eventTime})
	}
	for _, n := range workerNames {
		all = append(all, knob{"ENABLE_" + strings.ToUpper(n) + "_WORKER", []string{"processors." + n + ".enabled"}, withWorkers})
	}
	out := make([]config.Alias, 0, len(all))
	for _, k := range all {
		a := config.Alias{Name: k.name, Note: k.note}
		for _, p := range k.paths {
			if t.Field(p) != nil {
				a.Path = p
				break
			}
		}
		if a.Path != "" && a.Note == withWorkers {
			a.Note = ""
		}
		out = append(out, a)
	}
	return out
}
