package proofs

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// inputs are the topics that the simulator writes for the eight watchdogs.
var inputs = []schemas.Topic{
	schemas.MarketTrades, schemas.MarketBooks, schemas.MarketDerivatives, schemas.ChainTransfers, schemas.ReferenceEquities, schemas.VenuesStatus,
}

// A spoiler takes the lines of a tape to those that are ingested.
type spoiler func(*rand.Rand, []string) []string

// TestRobust spoils the input of all eight watchdogs and ingests it on 1, 2 and 8 partitions, with a restart of the watchdogs in
// the middle. One record in a hundred twice changes no byte of any event. One in a hundred late by up to 30 s as well changes
// what the watchdogs see, but the same on every number of partitions, and a replay sees it too. The negative control loses one
// record in a hundred: the comparison must show it.
func TestRobust(t *testing.T) {
	asked(t)
	brokers := testservices.Kafka(t)
	hours := "6h"
	if full() {
		hours = "24h"
	}
	clean := newSystem(t, brokers, "clean.")
	clean.run("topics", "apply", "-s", "topics.partitions=1")
	clean.run("ingest", "simulator", "--once", "-s", "simulator.start=2024-01-01T12:00:00Z", "-s", "simulator.duration="+hours, "-s", "simulator.speed=0",
		"-s", "simulator.instruments=4", "-s", "simulator.rate=20", "-s", "simulator.anomalies_per_day=48", "-s", "simulator.rare_anomalies_per_day=48",
		"-s", "simulator.kinds=trades,books,derivatives,transfers,equities,status")
	tapes := map[string][]string{}
	for _, topic := range inputs {
		tapes[topic.Name] = clean.dump(topic)
	}
	want := bare(t, clean.watch8(nil))
	if n := len(tally(t, want)); n < 5 {
		t.Errorf("only %d of eight watchdogs raised events", n)
	}

	spoilt := func(name string, partitions int, s spoiler) (*system, map[string]string) {
		sys := newSystem(t, brokers, fmt.Sprintf("%s%d.", name, partitions))
		sys.run("topics", "apply", "-s", fmt.Sprintf("topics.partitions=%d", partitions))
		events := sys.watch8(func() {
			for i, topic := range inputs {
				sys.ingest(s(rand.New(rand.NewPCG(1, uint64(i))), tapes[topic.Name]))
			}
		})
		return sys, events
	}
	for _, n := range []int{1, 8} {
		_, got := spoilt("twice", n, twice)
		compare(t, fmt.Sprintf("one record in a hundred twice, %d partitions", n), want, bare(t, got))
	}
	both := func(r *rand.Rand, lines []string) []string { return late(r, twice(r, lines)) }
	var first map[string]string
	for _, n := range []int{1, 2, 8} {
		sys, got := spoilt("late", n, both)
		if first == nil {
			first = bare(t, got)
			t.Logf("late records change %d of %d events", len(differences(want, first)), len(want))
		}
		compare(t, fmt.Sprintf("twice and late, %d partitions, beside 1", n), first, bare(t, got))
		liveEqualsReplay(t, sys, got, []int{2}, slices.Sorted(maps.Keys(watchdogs))...)
	}
	_, got := spoilt("lost", 8, lost)
	wrong := differences(want, bare(t, got))
	if len(wrong) == 0 {
		t.Error("one record in a hundred was lost and no event differs: the comparison proves nothing")
	}
	t.Logf("negative control, one record in a hundred lost: %d of %d events differ", len(wrong), len(want))
}

// watch8 runs all eight watchdogs and the stages over what ingest writes, restarts the watchdogs in the middle, and returns the
// events.
func (s *system) watch8(ingest func()) map[string]string {
	s.t.Helper()
	names := slices.Sorted(maps.Keys(watchdogs))
	detect := append([]string{"detect"}, names...)
	stages := s.start("stage", "bars", "baskets")
	watching := s.start(detect...)
	if ingest != nil {
		ingest()
	}
	await(s.t, time.Minute, "price_anomaly commits", func() bool { return len(s.lags([]string{"price_anomaly"})) > 0 })
	watching.stop()
	watching = s.start(detect...)
	for _, group := range append([]string{"bars", "baskets", "baskets"}, names...) {
		s.awaitLag(group, 4*time.Minute)
	}
	for _, group := range names { // a stage may have written after its reader was looked at
		s.awaitLag(group, time.Minute)
	}
	watching.stop()
	stages.stop()
	return s.events(false)
}

// dump returns the lines of a topic of one partition.
func (s *system) dump(topic schemas.Topic) (lines []string) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "tape.jsonl")
	s.run("dump", topic.Name, "--out", path)
	file, err := os.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if err := in.Err(); err != nil || len(lines) == 0 {
		s.t.Fatalf("%s: %d lines, %v", topic.Name, len(lines), err)
	}
	return lines
}

// ingest plays lines.
func (s *system) ingest(lines []string) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "tape.jsonl")
	file, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	for _, l := range lines {
		fmt.Fprintln(out, l)
	}
	if err := out.Flush(); err != nil {
		s.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.run("ingest", "--from", path)
}

// ticked returns the time of a Tick in ns; false for other lines.
func ticked(line string) (int64, bool) {
	if fastjson.GetString([]byte(line), "type") != "Tick" {
		return 0, false
	}
	v := fastjson.MustParse(line).Get("value", "time")
	if text, err := v.StringBytes(); err == nil {
		return fastjson.MustParse(string(text)).GetInt64(), true
	}
	return v.GetInt64(), true
}

// twice repeats one record in a hundred, one at a time, at most 40 lines behind itself: the watchdogs
// remember the last 64 ids of a key.
func twice(r *rand.Rand, lines []string) (out []string) {
	again, due := "", 0
	for _, l := range lines {
		out = append(out, l)
		if _, tick := ticked(l); again == "" && !tick && r.IntN(80) == 0 {
			again, due = l, len(out)+r.IntN(40)
		}
		if again != "" && len(out) >= due {
			out = append(out, again)
			again = ""
		}
	}
	return out
}

// late holds one record in a hundred back until up to 30 s have passed.
func late(r *rand.Rand, lines []string) (out []string) {
	type held struct {
		line string
		due  int64
	}
	var waiting []held
	now := int64(0)
	for _, l := range lines {
		at, tick := ticked(l)
		if !tick && now > 0 && r.IntN(100) == 0 {
			waiting = append(waiting, held{l, now + int64(1+r.IntN(29))*int64(time.Second)})
			continue
		}
		out = append(out, l)
		if !tick {
			continue
		}
		now = at
		waiting = slices.DeleteFunc(waiting, func(h held) bool {
			if h.due <= now {
				out = append(out, h.line)
			}
			return h.due <= now
		})
	}
	for _, h := range waiting {
		out = append(out, h.line)
	}
	return out
}

func lost(r *rand.Rand, lines []string) (out []string) {
	for _, l := range lines {
		if _, tick := ticked(l); tick || r.IntN(100) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// bare are events without where their input lay.
func bare(t *testing.T, events map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for id, text := range events {
		out[id] = bareEvent(t, text)
	}
	return out
}
