package proofs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/valyala/fastjson"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/schemas"
)

// liveEqualsReplay replays the topics through detectors, with some numbers of partitions in parallel: the bytes of every event
// must be those of the live run.
func liveEqualsReplay(t *testing.T, s *system, events map[string]string, parallels []int, detectors ...string) {
	t.Helper()
	for _, parallel := range parallels {
		got := map[string]string{}
		for _, name := range detectors {
			out := filepath.Join(t.TempDir(), "events.jsonl")
			s.run("replay", "--processor", name, "--out", out, "--parallel", strconv.Itoa(parallel))
			readEvents(t, out, got)
		}
		compare(t, fmt.Sprintf("replayed at %d in parallel", parallel), events, got)
	}
}

func readEvents(t *testing.T, file string, into map[string]string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		id := fastjson.GetString(lines.Bytes(), "id")
		if _, twice := into[id]; twice || id == "" {
			t.Errorf("%s: id %q twice or empty", file, id)
		}
		into[id] = lines.Text()
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// bareEvent leaves out where the input lay.
func bareEvent(t *testing.T, text string) string {
	t.Helper()
	var e schemas.Event
	if err := protojson.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	e.Position = nil
	out, err := schemas.MarshalJSON(&e)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
