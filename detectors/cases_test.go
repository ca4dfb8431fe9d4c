package detectors

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/cases"
)

// Every watchdog has a folder of stories, and every folder a watchdog.
func TestCases(t *testing.T) {
	testservices.Study(t)
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if _, err := processor.Lookup(d.Name()); err != nil && d.Name() != "fuzz" {
			t.Errorf("testdata/%s: %v", d.Name(), err)
		}
	}
	for _, def := range processor.All() {
		if def.Kind == processor.Watchdog {
			t.Run(def.Name, func(t *testing.T) { cases.Run(t, filepath.Join("testdata", def.Name)) })
		}
	}
}
