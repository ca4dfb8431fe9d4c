// Package cases runs golden stories: testdata/<processor>/<story>.txtar holds a comment (the story), a configuration, records
// in a short notation, and the events that must come out. `go test -update` (make golden) rewrites the events.
//
//	-- config --
//	threshold_pct: 5
//	-- records --
//	12:00:00.5 trade binance:BTC-USDT price=61345.12 qty=0.125 side=buy
//	12:00:01 tick
//	12:00:02 gap binance:BTC-USDT channel=trades from=12:00:01 to=12:00:02
//	00:00:00..48:00:00 every=30s trade v:A price=100~0.001 qty=1~0.5 seed=7
//	00:00:00..48:00:00 every=1m tick
//	{"topic":"market.trades","key":"v:A","type":"Trade","value":{…}}
//	-- events --
//	{"id":…}
//
// Times count from 2024-01-01 00:00 UTC (a Monday) and may pass 24 hours. `x~r` draws from x(1-r) to x(1+r), seeded. Lines are
// sorted by time, stably, so that blocks interleave. The lines of `tapewatch replay --in` may be pasted in as they are.
package cases

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

var update = flag.Bool("update", false, "rewrite the events of golden cases")

// Run runs every case of dir, which is named for its processor. A processor without cases fails.
func Run(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no cases in %s: a processor needs at least one story", dir)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { run(t, filepath.Base(dir), f) })
	}
}

func run(t *testing.T, name, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Play(name, section(archive, "config"), section(archive, "records"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(got, "\n")
	if text != "" {
		text += "\n"
	}
	if *update {
		put(archive, "events", text)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(section(archive, "events"), text); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Play runs records through a processor and returns its output, one line each.
func Play(name, config, records string) ([]string, error) {
	def, err := processor.Lookup(name)
	if err != nil {
		return nil, err
	}
	conf, err := toJSON(config)
	if err != nil {
		return nil, err
	}
	bound, err := def.BindJSON(conf)
	if err != nil {
		return nil, err
	}
	messages, err := parse(records)
	if err != nil {
		return nil, err
	}
	inputs, err := feed.Inputs(def.Input, messages)
	if err != nil {
		return nil, err
	}
	sink := &feed.Recorder{}
	task := processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
	for _, in := range inputs {
		task.Process(in)
	}
	var out []string
	for _, l := range sink.Lines {
		if !strings.HasPrefix(l, "tick ") {
			out = append(out, strings.TrimPrefix(l, "Event "))
		}
	}
	return out, nil
}

func toJSON(config string) ([]byte, error) {
	if strings.TrimSpace(config) == "" {
		return nil, nil
	}
	var v map[string]any
	if err := yaml.Unmarshal([]byte(config), &v); err != nil {
		return nil, fmt.Errorf("reading the config section: %w", err)
	}
	return json.Marshal(v)
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func put(a *txtar.Archive, name, text string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(text)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
}
