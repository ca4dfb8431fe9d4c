package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tapewatch/tapewatch/internal/config"
)

// root is the repository's.
const root = "../.."

func TestReferenceIsFresh(t *testing.T) {
	for _, g := range generatedFiles() {
		var want bytes.Buffer
		if err := g.write(&want); err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		have, err := os.ReadFile(filepath.Join(root, g.path))
		if err != nil {
			t.Errorf("%v: run `make generate`", err)
			continue
		}
		if diff := cmp.Diff(string(have), want.String()); diff != "" {
			t.Errorf("%s is stale, run `make generate` (-file +code):\n%s", g.path, diff)
		}
	}
}

func TestReferenceLoads(t *testing.T) {
	_, defaults := newSettings()
	_, tree := newSettings()
	if _, err := tree.Load(config.Options{Files: []string{filepath.Join(root, "configs", "reference.yaml")}}); err != nil {
		t.Fatal(err)
	}
	for _, f := range tree.Fields() {
		if f.Origin == "default" {
			t.Errorf("%s is not in the reference", f.Path)
		}
		if f.Doc == "" {
			t.Errorf("%s has no doc tag", f.Path)
		}
		if diff := cmp.Diff(defaults.Field(f.Path).Value(), f.Value()); diff != "" {
			t.Errorf("%s changed by loading the reference (-default +loaded):\n%s", f.Path, diff)
		}
	}
}

func TestReferenceExamplesLoad(t *testing.T) {
	s, tree := newSettings()
	if _, err := tree.Load(config.Options{Files: []string{filepath.Join(root, "configs", "tapewatch.yaml")}, Aliases: aliases(tree)}); err != nil {
		t.Fatal(err)
	}
	if err := s.bind(); err != nil {
		t.Fatal(err)
	}
}

// metricName finds names of ours in an expression.
var metricName = regexp.MustCompile(`\b(?:tapewatch|watchdog|worker|sink|websocket|feed|http)_[a-z_]+\b`)

// elsewhere are names that look like metrics and are labels.
var elsewhere = []string{"worker_type", "worker_id", "job_type"}

func TestReferenceMetricsExist(t *testing.T) {
	all, err := metricFamilies()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range all {
		known[m.name] = true
		if m.kind == "histogram" {
			known[m.name+"_bucket"], known[m.name+"_sum"], known[m.name+"_count"] = true, true, true
		}
		if m.help == "" {
			t.Errorf("%s has no help", m.name)
		}
	}
	used := map[string]string{}
	for _, r := range rules(t) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			used[name] = "alert " + r.Alert
		}
	}
	for _, row := range dashboardRows {
		for _, p := range row.panels {
			for _, q := range p.queries {
				for _, name := range metricName.FindAllString(q[0], -1) {
					used[name] = "panel " + p.title
				}
			}
		}
	}
	if len(used) < 20 {
		t.Fatalf("only %d metrics are used in rules and dashboard: the search is broken", len(used))
	}
	for name, where := range used {
		if !known[name] && !slices.Contains(elsewhere, name) {
			t.Errorf("%s uses %s, which no process has", where, name)
		}
	}
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "configs", "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("no alert rules")
	}
	return out
}

func TestReferenceRunbookHasEveryAlert(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if !strings.Contains(string(text), "\n## "+r.Alert+"\n") {
			t.Errorf("docs/runbook.md has no section on %s", r.Alert)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q: it must be critical or warning", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
	}
}

// TestReferencePrometheus runs promtool over configuration, rules, their tests, and every query of the dashboard.
func TestReferencePrometheus(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is not installed")
		}
		t.Skip("SKIPPED: promtool is not installed; make deps installs it")
	}
	var queries struct {
		Groups []map[string]any `yaml:"groups"`
	}
	var list []map[string]string
	for _, row := range dashboardRows {
		for _, p := range row.panels {
			for _, q := range p.queries {
				list = append(list, map[string]string{"record": "panel:query", "expr": strings.ReplaceAll(q[0], "$__rate_interval", "5m")})
			}
		}
	}
	queries.Groups = []map[string]any{{"name": "panels", "rules": list}}
	text, err := yaml.Marshal(map[string]any{"groups": queries.Groups})
	if err != nil {
		t.Fatal(err)
	}
	panels := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(panels, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "configs", "prometheus")
	for _, args := range [][]string{
		{"check", "config", "--syntax-only", filepath.Join(dir, "prometheus.yml")},
		{"check", "rules", filepath.Join(dir, "alerts.yml")},
		{"test", "rules", filepath.Join(dir, "alerts_test.yml")},
		{"check", "rules", "--lint=none", panels},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
