package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/config"
)

// TestEveryKnownEnvironmentNameIsTaken sets each name that operators know: it must change its setting, or be said to have no
// effect yet, with the reason.
func TestEveryKnownEnvironmentNameIsTaken(t *testing.T) {
	values := map[string]string{
		"LOG_LEVEL": "ERROR", "WORKER_NAME": "w", "WORKER_METRICS_PORT": "9", "WORKER_MEMORY_LIMIT_MB": "2048", "WORKER_CPU_LIMIT": "1.5",
		"WORKER_RETRY_ATTEMPTS": "7", "WORKER_RETRY_DELAY": "6", "WORKER_HEALTH_CHECK_INTERVAL": "61", "WATCHDOG_HEALTH_CHECK_INTERVAL": "61",
		"WATCHDOG_MAX_EVENTS_IN_MEMORY": "2000", "UNUSUAL_VOLUME_MULTIPLIER": "4", "PRICE_ANOMALY_THRESHOLD_PCT": "6",
		"UNUSUAL_VOLUME_CHECK_INTERVAL": "120", "PRICE_ANOMALY_CHECK_INTERVAL": "5",
		"FUNDING_RATE_THRESHOLD_PCT": "0.2", "FUNDING_RATE_CHECK_INTERVAL": "600",
		"LIQUIDITY_DROP_THRESHOLD_PCT": "60", "LIQUIDITY_DROP_CHECK_INTERVAL": "5", "CORRELATION_CHANGE_THRESHOLD": "0.6", "CORRELATION_BREAKDOWN_CHECK_INTERVAL": "600",
		"EXCHANGE_OUTAGE_CHECK_INTERVAL": "60",
		"WHALE_MOVEMENT_MIN_USD":         "2000000", "WHALE_MOVEMENT_CHECK_INTERVAL": "600",
		"EARNINGS_SURPRISE_THRESHOLD_PCT": "20", "EARNINGS_ANOMALY_CHECK_INTERVAL": "600",
	}
	_, names := newSettings()
	idle := 0
	for _, a := range aliases(names) {
		value := values[a.Name]
		if value == "" {
			value = "false"
		}
		s, tree := newSettings()
		report, err := tree.Load(config.Options{Environ: []string{a.Name + "=" + value}, Aliases: aliases(tree)})
		if err == nil {
			err = s.bind()
		}
		if err != nil {
			t.Errorf("%s=%s: %v", a.Name, value, err)
			continue
		}
		if a.Path == "" {
			idle++
			if len(report.Idle) != 1 || a.Note == "" {
				t.Errorf("%s has no effect and no reason is told: %v", a.Name, report.Idle)
			}
			continue
		}
		f := tree.Field(a.Path)
		if f.Origin != "environment "+a.Name || reflect.DeepEqual(f.Value(), f.Default()) {
			t.Errorf("%s=%s: %s is %v from %s, want it changed", a.Name, value, a.Path, f.Value(), f.Origin)
		}
	}
	t.Logf("%d of %d names have no effect yet", idle, len(aliases(names)))
}

// TestEveryDetectorSettingIsPartOfItsConfigHash changes each setting of each processor: events carry the hash of the
// configuration, so two configurations must not share one.
func TestEveryDetectorSettingIsPartOfItsConfigHash(t *testing.T) {
	base, tree := newSettings()
	if err := base.bind(); err != nil {
		t.Fatal(err)
	}
	for _, f := range tree.Fields() {
		rest, ok := strings.CutPrefix(f.Path, "processors.")
		name, key, _ := strings.Cut(rest, ".")
		if !ok || key == "enabled" {
			continue
		}
		changed := false
		var last error
		for _, value := range other(f.Value()) {
			if value == fmt.Sprint(f.Value()) {
				continue
			}
			s, tree := newSettings()
			if _, last = tree.Load(config.Options{Set: []string{f.Path + "=" + value}}); last != nil {
				continue
			}
			if last = s.bind(); last != nil {
				continue
			}
			changed = s.processors[name].bound.ConfigHash != base.processors[name].bound.ConfigHash
			break
		}
		if !changed {
			t.Errorf("%s has no part in the config hash, or none of %v is allowed: %v", f.Path, other(f.Value()), last)
		}
	}
}

// other returns values that differ from v, some of which a setting will allow.
func other(v any) []string {
	switch v := v.(type) {
	case bool:
		return []string{strconv.FormatBool(!v)}
	case string:
		return []string{"2m0s", "1m0s", "10s", "2s", "1h0m0s", "24h0m0s", "high", "other"}
	case []any:
		return []string{"[1s, 1m]", "[1m]", "[a]", "[a/b]", "[{name: a, members: [x:A-B, x:C-D]}]", "[{venue: a, bps: 1}]", "[{key: a, days: 2}]"}
	case map[string]any:
		return []string{"{a: [x:A-B]}", "{a: b}", "{a: 1}"}
	}
	return []string{"2", "3", "4", "1", "0.2", "0.3", "0.05", "10", "20", "100", "1000"}
}

// TestEverySettingIsRead finds settings that are parsed and never used: the field of each must be read somewhere outside of
// its defaults and its validation.
func TestEverySettingIsRead(t *testing.T) {
	type field struct{ dir, name, setting string }
	var fields []field
	reads := map[string]map[string]bool{} // folder, then field
	fset := token.NewFileSet()
	for _, dir := range []string{"stream", "sinks", "sources", "api", "cmd", "internal", "detectors", "stages"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				return err
			}
			in := filepath.Dir(path)
			if reads[in] == nil {
				reads[in] = map[string]bool{}
			}
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && (strings.HasPrefix(strings.ToLower(f.Name.Name), "validate") || strings.HasSuffix(f.Name.Name, "efaults")) {
					continue
				}
				ast.Inspect(decl, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.SelectorExpr:
						reads[in][n.Sel.Name] = true
					case *ast.Field:
						if n.Tag != nil && len(n.Names) == 1 && strings.Contains(n.Tag.Value, "koanf:") && !strings.Contains(n.Tag.Value, `koanf:"-"`) {
							fields = append(fields, field{in, n.Names[0].Name, n.Tag.Value})
						}
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(fields) < 80 {
		t.Fatalf("only %d settings were found: the search is broken", len(fields))
	}
	cmd := filepath.Join(root, "cmd", "tapewatch")
	for _, f := range fields {
		read := reads[f.dir][f.name] || reads[cmd][f.name]
		if filepath.Base(f.dir) == "venue" {
			// Every connector embeds these, and reads its own part of them.
			for dir := range reads {
				read = read || filepath.Dir(dir) == filepath.Dir(f.dir) && reads[dir][f.name]
			}
		}
		if !read {
			t.Errorf("%s: %s is set and never read: %s", f.dir, f.name, f.setting)
		}
	}
}

func TestSlotComesFromTheHostName(t *testing.T) {
	for host, want := range map[string]int{"price-anomaly-3": 3, "price-anomaly-0": 0, "laptop": 0, "web-12": 12, "ip-10-0-0-12345": 0, "7": 0} {
		if got := slotOf(host); got != want {
			t.Errorf("slotOf(%q) = %d, want %d", host, got, want)
		}
	}
	if got := (processConfig{Slot: 5}).slot(); got != 5 {
		t.Errorf("slot = %d, want the configured 5", got)
	}
}
