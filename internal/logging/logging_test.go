package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func noEnv(string) string { return "" }

func TestJSONAwayFromATerminal(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Config{Level: "warn", Format: "auto"}, &out, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not wanted")
	log.Warn("broker away", slog.String("broker", "b:9092"), slog.Duration("pause", 1500*time.Millisecond))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("the log must be one JSON line, got %q: %v", out.String(), err)
	}
	if line["msg"] != "broker away" || line["broker"] != "b:9092" || line["level"] != "WARN" || line["pause"] != "1.5s" {
		t.Errorf("line = %v", line)
	}
}

func TestTextWithoutColourIntoAFile(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Config{Level: "debug", Format: "text"}, &out, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	log.Error("broker away")
	if got := out.String(); strings.Contains(got, "\x1b[") || !strings.Contains(got, "broker away") {
		t.Errorf("text into a buffer must carry no colour codes: %q", got)
	}
}

func TestConfigNamesFieldValueAndRule(t *testing.T) {
	for want, c := range map[string]Config{
		`log.level is "loud": it must be debug, info, warn or error`: {Level: "loud", Format: "auto"},
		`log.format is "xml": it must be auto, text or json`:         {Level: "info", Format: "xml"},
	} {
		if _, err := New(c, &bytes.Buffer{}, noEnv); err == nil || err.Error() != want {
			t.Errorf("New(%+v) = %v, want %q", c, err, want)
		}
	}
}
