package proofs

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// pipeline is a whole installation: topics, stages, detectors, the three sinks.
type pipeline struct {
	*system
	postgres, redis string
	parts           []*service
	sockets         *listener
	play            func(*pipeline) // ingests the input
	knobs           []string
}

// lowKnobs make a simulated market of some hours raise many events, recordingKnobs one of less than six minutes some.
var (
	lowKnobs       = []string{"PRICE_ANOMALY_THRESHOLD_PCT=0.2", "UNUSUAL_VOLUME_MULTIPLIER=1.5"}
	recordingKnobs = []string{
		"PRICE_ANOMALY_THRESHOLD_PCT=0.02", "TAPEWATCH_PROCESSORS__PRICE_ANOMALY__WINDOW=1m",
		"TAPEWATCH_PROCESSORS__PRICE_ANOMALY__QUIET_FOR=1m", "TAPEWATCH_PROCESSORS__PRICE_ANOMALY__COOL_DOWN=0s",
	}
)

// install applies the topics and starts every consumer.
func install(t *testing.T, brokers, prefix string, partitions int, play func(*pipeline), knobs []string) *pipeline {
	t.Helper()
	p := &pipeline{postgres: testservices.Postgres(t), redis: testservices.Redis(t), play: play, knobs: knobs}
	port := freePort(t)
	p.system = newSystem(t, brokers, prefix, append(slices.Clone(knobs),
		"TAPEWATCH_SINKS__POSTGRES__URL="+p.postgres, "TAPEWATCH_SINKS__REDIS__URL="+p.redis, "TAPEWATCH_SINKS__REDIS__STREAM_CAP=1000000",
		fmt.Sprintf("TAPEWATCH_API__PORT=%d", port))...)
	p.run("topics", "apply", "-s", fmt.Sprintf("topics.partitions=%d", partitions))
	p.parts = append(p.parts, p.start("serve"))
	p.sockets = p.listen(fmt.Sprintf("ws://127.0.0.1:%d/api/v1/events/ws", port))
	p.parts = append(p.parts,
		p.start("stage", "bars", "baskets"), p.start("detect", "price_anomaly", "unusual_volume"), p.start("sink", "postgres", "redis"))
	return p
}

// drain waits until everything that was ingested has come out at the far end, and stops the consumers.
func (p *pipeline) drain() {
	p.t.Helper()
	for _, group := range []string{"price_anomaly", "bars", "baskets", "unusual_volume", "sink.postgres", "sink.redis"} {
		p.awaitLag(group, 4*time.Minute)
	}
	// A stage may have written after its reader was looked at: go round once more.
	for _, group := range []string{"baskets", "unusual_volume", "sink.postgres", "sink.redis"} {
		p.awaitLag(group, time.Minute)
	}
}

func (p *pipeline) stopAll() {
	p.t.Helper()
	for _, s := range slices.Backward(p.parts) {
		s.stop()
	}
}

// sinksEqual compares the three sinks with the topic, both ways.
func (p *pipeline) sinksEqual(events map[string]string) {
	p.t.Helper()
	want := slices.Sorted(maps.Keys(events))
	p.same("postgres", want, p.postgresIDs())
	p.same("redis", want, p.redisIDs())
	await(p.t, 30*time.Second, "the WebSocket delivers", func() bool { return len(p.sockets.all()) >= len(want) })
	p.same("websocket", want, p.sockets.all())
}

func (p *pipeline) same(sink string, want, got []string) {
	p.t.Helper()
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
		p.t.Errorf("%s holds %d events twice", sink, len(got)-n)
	}
	missing, extra := difference(want, got), difference(got, want)
	if len(missing) > 0 || len(extra) > 0 {
		p.t.Errorf("%s: %d events of the topic are missing, %d are not on the topic", sink, len(missing), len(extra))
	}
	p.t.Logf("%s: %d events, the topic %d: missing %d, extra %d", sink, len(got), len(want), len(missing), len(extra))
}

// difference returns what sorted a has and sorted b has not.
func difference(a, b []string) []string {
	var out []string
	for _, x := range a {
		if _, found := slices.BinarySearch(b, x); !found {
			out = append(out, x)
		}
	}
	return out
}

func (p *pipeline) postgresIDs() []string {
	p.t.Helper()
	ctx := p.t.Context()
	conn, err := pgx.Connect(ctx, p.postgres)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id FROM events")
	if err != nil {
		p.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

func (p *pipeline) redisIDs() []string {
	p.t.Helper()
	opts, err := redis.ParseURL(p.redis)
	if err != nil {
		p.t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer func() { _ = c.Close() }()
	var cursor uint64
	var ids []string
	for {
		keys, next, err := c.ScanType(p.t.Context(), cursor, "*", 100, "stream").Result()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, k := range keys {
			entries, err := c.XRange(p.t.Context(), k, "-", "+").Result()
			if err != nil {
				p.t.Fatal(err)
			}
			for _, e := range entries {
				if id, ok := e.Values["id"].(string); ok {
					ids = append(ids, id)
				}
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	sort.Strings(ids)
	return ids
}

// TestMainJobSimulated runs 64 simulated instruments with low knobs through the whole path; at least 1,000 events must be in
// all three sinks (100 in the short form).
func TestMainJobSimulated(t *testing.T) {
	asked(t)
	brokers := testservices.Kafka(t)
	p := install(t, brokers, "sim1.", 8, (*pipeline).simulate, lowKnobs)
	p.play(p)
	p.drain()
	events := p.events(false)
	least := 100
	if full() {
		least = 1000
	}
	if len(events) < least {
		t.Errorf("%d events, want at least %d", len(events), least)
	}
	bothDetectors(t, events)
	p.sinksEqual(events)
	p.stopAll()
	liveEqualsReplay(t, p.system, events, []int{1, 2, 4}, "price_anomaly", "unusual_volume")
	againElsewhere(t, p, brokers, events)
}

// tally logs how many events there are of each kind and returns how many of each detector.
func tally(t *testing.T, events map[string]string) (detectors map[string]int) {
	t.Helper()
	detectors, kinds := map[string]int{}, map[string]int{}
	for _, text := range events {
		e := []byte(text)
		name := fastjson.GetString(e, "detector")
		detectors[name]++
		kinds[name+" "+fastjson.GetString(e, "type")+" "+fastjson.GetString(e, "status")]++
	}
	t.Logf("%d events by detector: %v, by kind: %v", len(events), detectors, kinds)
	return detectors
}

// bothDetectors requires events of both.
func bothDetectors(t *testing.T, events map[string]string) {
	t.Helper()
	detectors := tally(t, events)
	for _, name := range []string{"price_anomaly", "unusual_volume"} {
		if detectors[name] == 0 {
			t.Errorf("%s raised no event", name)
		}
	}
}

// simulate plays the simulated market to its end.
func (p *pipeline) simulate() {
	p.t.Helper()
	// unusual_volume judges from its eighth block of 15 minutes on.
	duration, rate := "3h", "15"
	if full() {
		duration, rate = "16h", "30"
	}
	p.run("ingest", "simulator", "--once", "-s", "simulator.start=2024-01-01T12:00:00Z", "-s", "simulator.duration="+duration, "-s", "simulator.speed=0",
		"-s", "simulator.instruments=64", "-s", "simulator.rate="+rate, "-s", "simulator.anomalies_per_day=96", "-s", "simulator.kinds=trades")
}

// TestMainJobRecorded plays the recorded Binance day through the whole path: every trade of the file is in market.trades once.
func TestMainJobRecorded(t *testing.T) {
	asked(t)
	file := filepath.Join(testservices.DataDir(t), "hftbacktest", "usdm", "btcusdt_20240808.gz")
	brokers := testservices.Kafka(t)
	p := install(t, brokers, "rec1.", 8, func(p *pipeline) { p.run("ingest", "binance_usdm", "--from", file) }, recordingKnobs)
	p.play(p)
	p.drain()
	want := recordedTrades(t, file)
	var got []string
	p.read(schemas.MarketTrades, func(r record) {
		if tr, ok := r.message.(*schemas.Trade); ok {
			got = append(got, tr.Meta.Id)
		}
	})
	slices.Sort(want)
	slices.Sort(got)
	if len(got) != len(want) || digest(got) != digest(want) {
		t.Errorf("market.trades holds %d trades with digest %s, the file %d with %s", len(got), digest(got), len(want), digest(want))
	}
	t.Logf("trades: %d on the topic, %d in the file, sha256 of the sorted ids %s", len(got), len(want), digest(want))
	events := p.events(false)
	if tally(t, events)["price_anomaly"] == 0 {
		t.Error("price_anomaly raised no event: the sinks and the replay prove nothing")
	}
	p.sinksEqual(events)
	p.stopAll()
	liveEqualsReplay(t, p.system, events, []int{1, 2, 4}, "price_anomaly", "unusual_volume")
	againElsewhere(t, p, brokers, events)
}

// recordedTrades counts the trades of the recording by a parser of its own.
func recordedTrades(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		_, frame, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.Contains(frame, `"e":"trade"`) {
			continue
		}
		v, err := fastjson.Parse(frame)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, strconv.FormatUint(v.GetUint64("data", "t"), 10))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func digest(sorted []string) string {
	sum := sha256.Sum256([]byte(strings.Join(sorted, "\n")))
	return hex.EncodeToString(sum[:])
}

// againElsewhere ingests the same source into fresh topics, on one and on eight partitions: the same events come out, where
// the input lay aside.
func againElsewhere(t *testing.T, first *pipeline, brokers string, events map[string]string) {
	t.Helper()
	want := map[string]string{}
	for id, e := range events {
		want[id] = bareEvent(t, e)
	}
	counts := []int{8}
	if full() {
		counts = []int{1, 8}
	}
	for _, partitions := range counts {
		p := install(t, brokers, fmt.Sprintf("%sagain%d.", first.prefix, partitions), partitions, first.play, first.knobs)
		p.play(p)
		p.drain()
		compare(t, fmt.Sprintf("ingested again on %d partitions", partitions), want, p.events(true))
		p.stopAll()
	}
}

// compare fails where two sets of events differ in any byte.
func compare(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	wrong := differences(want, got)
	for _, text := range wrong[:min(len(wrong), 3)] {
		t.Errorf("%s: %s", what, text)
	}
	t.Logf("%s: %d events, %d differ", what, len(got), len(wrong))
}

// differences names every event in which two sets differ.
func differences(want, got map[string]string) (out []string) {
	for id, e := range want {
		if got[id] != e {
			out = append(out, fmt.Sprintf("event %s\n got %s\nwant %s", id, got[id], e))
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok {
			out = append(out, fmt.Sprintf("event %s is new: %s", id, got[id]))
		}
	}
	return out
}
