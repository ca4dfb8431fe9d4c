package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// panel is one graph of the dashboard.
type panel struct {
	title, unit string
	// queries are pairs of expression and legend.
	queries [][2]string
}

// dashboardRows are the dashboard: what an operator asks, from top to bottom.
var dashboardRows = []struct {
	title  string
	panels []panel
}{
	{"Is it well?", []panel{
		{"Processes that answer", "short", [][2]string{{`sum by (job) (up{job=~"tapewatch.*"})`, "{{job}}"}}},
		{"Watchdogs (1 healthy, 0.5 starting, 0 unhealthy)", "short", [][2]string{{"min by (watchdog) (watchdog_health_status)", "{{watchdog}}"}}},
		{"Breakers (0 closed, 1 half-open, 2 open)", "short", [][2]string{{"max by (sink) (sink_breaker_state)", "{{sink}}"}}},
		{"Dead letters", "short", [][2]string{{"sum by (processor, reason) (increase(tapewatch_dead_letters_total[$__rate_interval]))", "{{processor}} {{reason}}"}}},
	}},
	{"What does it find?", []panel{
		{"Events", "short", [][2]string{{"sum by (watchdog, severity) (increase(watchdog_events_total[$__rate_interval]))", "{{watchdog}} {{severity}}"}}},
		{"Checks", "ops", [][2]string{{"sum by (watchdog, status) (rate(watchdog_checks_total[$__rate_interval]))", "{{watchdog}} {{status}}"}}},
	}},
	{"Does it keep up?", []panel{
		{"Records", "ops", [][2]string{{"sum by (processor) (rate(tapewatch_records_total[$__rate_interval]))", "{{processor}}"}}},
		{"Lag, records", "short", [][2]string{{"sum by (processor) (tapewatch_lag_records)", "{{processor}}"}}},
		{"Lag, event time", "s", [][2]string{{"max by (processor) (tapewatch_lag_event_seconds)", "{{processor}}"}}},
		{"Late records", "ops", [][2]string{{"sum by (processor) (rate(tapewatch_late_records_total[$__rate_interval]))", "{{processor}}"}}},
	}},
	{"Transactions and state", []panel{
		{"Transactions", "ops", [][2]string{{"sum by (processor, outcome) (rate(tapewatch_transactions_total[$__rate_interval]))", "{{processor}} {{outcome}}"}}},
		{"Time of a stage, p99", "s", [][2]string{{"histogram_quantile(0.99, sum by (le, stage) (rate(tapewatch_transaction_seconds_bucket[$__rate_interval])))", "{{stage}}"}}},
		{"Snapshots", "Bps", [][2]string{{"sum by (processor) (rate(tapewatch_snapshot_bytes_total[$__rate_interval]))", "{{processor}}"}}},
		{"Age of the oldest snapshot", "s", [][2]string{{"max by (processor) (time() - tapewatch_snapshot_time_seconds)", "{{processor}}"}}},
		{"Restores: offsets left", "short", [][2]string{{"sum by (processor) (tapewatch_restore_left_offsets)", "{{processor}}"}}},
	}},
	{"Sources", []panel{
		{"Records", "ops", [][2]string{{"sum by (topic, type) (rate(tapewatch_source_records_total[$__rate_interval]))", "{{topic}} {{type}}"}}},
		{"Frames", "ops", [][2]string{{"sum by (source) (rate(tapewatch_source_frames_total[$__rate_interval]))", "{{source}}"}}},
		{"Gaps, reconnects, duplicates", "short", [][2]string{
			{"sum by (source) (increase(tapewatch_source_gaps_total[$__rate_interval]))", "{{source}} gaps"},
			{"sum by (source) (increase(tapewatch_source_reconnects_total[$__rate_interval]))", "{{source}} reconnects"},
			{"sum by (source) (increase(tapewatch_source_duplicates_total[$__rate_interval]))", "{{source}} duplicates"},
		}},
		{"Clock skew", "s", [][2]string{{"tapewatch_source_skew_seconds", "{{source}}"}}},
	}},
	{"Sinks", []panel{
		{"Written", "ops", [][2]string{{"sum by (sink, outcome) (rate(sink_records_total[$__rate_interval]))", "{{sink}} {{outcome}}"}}},
		{"Lag", "short", [][2]string{{"sum by (sink) (sink_lag_records)", "{{sink}}"}}},
		{"Time of a batch, p99", "s", [][2]string{{"histogram_quantile(0.99, sum by (le, sink) (rate(sink_write_seconds_bucket[$__rate_interval])))", "{{sink}}"}}},
		{"WebSocket", "short", [][2]string{{"sum(websocket_connections)", "connections"}, {"sum(increase(websocket_lagged_total[$__rate_interval]))", "lagged"}}},
	}},
}

// object is a JSON object.
type object = map[string]any

// writeDashboard writes the Grafana dashboard.
func writeDashboard(b *bytes.Buffer) error {
	source := object{"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
	var panels []object
	id, y := 1, 0
	for _, row := range dashboardRows {
		panels = append(panels, object{"type": "row", "id": id, "title": row.title, "collapsed": false, "gridPos": object{"h": 1, "w": 24, "x": 0, "y": y}, "panels": []object{}})
		id++
		y++
		const height, columns = 8, 2
		for i, p := range row.panels {
			var targets []object
			for n, q := range p.queries {
				targets = append(targets, object{"datasource": source, "expr": q[0], "legendFormat": q[1], "refId": string(rune('A' + n))})
			}
			panels = append(panels, object{
				"type": "timeseries", "id": id, "title": p.title, "datasource": source, "targets": targets,
				"gridPos":     object{"h": height, "w": 24 / columns, "x": (i % columns) * (24 / columns), "y": y + i/columns*height},
				"fieldConfig": object{"defaults": object{"unit": p.unit}, "overrides": []object{}},
				"options":     object{"tooltip": object{"mode": "multi", "sort": "desc"}, "legend": object{"displayMode": "list", "placement": "bottom"}},
			})
			id++
		}
		y += (len(row.panels) + columns - 1) / columns * height
	}
	enc := json.NewEncoder(b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(object{
		"__inputs": []object{{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}},
		"uid":      "tapewatch", "title": "tapewatch", "description": generatedNote, "tags": []string{"tapewatch"}, "schemaVersion": 41,
		"editable": true, "refresh": "15s", "time": object{"from": "now-1h", "to": "now"}, "templating": object{"list": []object{}}, "panels": panels,
	})
	if err != nil {
		return fmt.Errorf("writing the dashboard: %w", err)
	}
	return nil
}
