package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/internal/config"
)

// metricFamily is one metric as the documentation tells it.
type metricFamily struct {
	name, kind, help string
	labels           []string
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// typed remembers the kind of each collector that is registered through it.
type typed struct {
	*prometheus.Registry
	kinds map[string]string
}

// MustRegister registers and remembers.
func (t *typed) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		kind := ""
		switch c.(type) {
		case *prometheus.GaugeVec, prometheus.Gauge: // a Gauge has what a Counter has
			kind = "gauge"
		case *prometheus.CounterVec, prometheus.Counter:
			kind = "counter"
		case *prometheus.HistogramVec, prometheus.Histogram:
			kind = "histogram"
		}
		for _, d := range describe(c) {
			t.kinds[d.name] = kind
		}
	}
	t.Registry.MustRegister(all...)
}

func describe(c prometheus.Collector) []metricFamily {
	descs := make(chan *prometheus.Desc)
	go func() {
		c.Describe(descs)
		close(descs)
	}()
	var out []metricFamily
	for d := range descs {
		m := descPattern.FindStringSubmatch(d.String())
		if m == nil {
			continue
		}
		f := metricFamily{name: m[1], help: strings.ReplaceAll(m[2], `\"`, `"`)}
		for l := range strings.SplitSeq(m[3], ",") {
			if name, _, ok := strings.Cut(l, "="); ok {
				f.labels = append(f.labels, name)
			}
		}
		if m[4] != "" {
			f.labels = append(f.labels, strings.Split(m[4], ",")...)
		}
		out = append(out, f)
	}
	return out
}

// metricFamilies returns every metric that a process can have, Go's own left out.
func metricFamilies() ([]metricFamily, error) {
	s, tree := newSettings()
	if _, err := tree.Load(config.Options{}); err != nil {
		return nil, err
	}
	a := &app{settings: s, tree: tree, log: slog.New(slog.DiscardHandler)}
	t := &typed{Registry: prometheus.NewRegistry(), kinds: map[string]string{}}
	p := &process{app: a, log: a.log, registry: t.Registry}
	p.metrics = newMetrics(t)
	registerBuild(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g, ctx := errgroup.WithContext(ctx)
	// The API and the WebSocket register theirs when they are made; they end at once, as ctx has ended.
	if err := p.serve(ctx, g); err != nil {
		return nil, err
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		a.log.Debug("ended", slog.Any("error", err))
	}
	all := describe(t.Registry)
	for i := range all {
		if all[i].kind = t.kinds[all[i].name]; all[i].kind == "" {
			all[i].kind = guessKind(all[i].name)
		}
	}
	slices.SortFunc(all, func(a, b metricFamily) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b metricFamily) bool { return a.name == b.name }), nil
}

// guessKind goes by the naming rules, for what was registered by others.
func guessKind(name string) string {
	switch {
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case strings.HasSuffix(name, "_seconds"), strings.HasSuffix(name, "_bytes"):
		return "histogram"
	}
	return "gauge"
}

// writeMetrics writes the table of metrics.
func writeMetrics(b *bytes.Buffer) error {
	all, err := metricFamilies()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "# Metrics\n\n%s\n\nOn `/metrics` of the API (`up`, `serve`) and of the admin port (`admin.port`, every other process), beside those of Go and the\n"+
		"process itself. Alert rules: configs/prometheus/alerts.yml; dashboard: configs/grafana/tapewatch.json.\n\n", generatedNote)
	b.WriteString("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range all {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), strings.ReplaceAll(m.help, "|", "\\|"))
	}
	return nil
}
