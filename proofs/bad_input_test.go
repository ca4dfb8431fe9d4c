package proofs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/internal/registry"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// A badRecord is one kind of bad input, made from a good record of the same place.
type badRecord struct {
	name string
	// reason and detail (a part of it) of the dead letter; without a reason only a counter tells of the record.
	reason, detail string
	make           func(good *kgo.Record, m *schemas.Trade) *kgo.Record
	// cut says that the letter holds only the beginning.
	cut bool
}

// badInput are the bad records of the test, and badEvents those for the sinks, which know fewer ways to be wrong.
func (w *badWorld) badInput() []badRecord {
	change := func(fn func(*schemas.Trade)) func(*kgo.Record, *schemas.Trade) *kgo.Record {
		return func(good *kgo.Record, m *schemas.Trade) *kgo.Record {
			c := proto.CloneOf(m)
			fn(c)
			return &kgo.Record{Key: good.Key, Value: w.encode(schemas.MarketTrades, c)}
		}
	}
	return append(w.badEvents(),
		badRecord{name: "future", reason: "future", detail: "more than 1m0s allowed", make: change(func(m *schemas.Trade) {
			m.Meta.EventTime += int64(time.Hour) // its Tick is less than a second old
		})},
		badRecord{name: "no venue", reason: "invalid", detail: "venue", make: change(func(m *schemas.Trade) { m.Meta.Venue = "" })},
		badRecord{name: "wrong key", reason: "key", detail: "sim:NOBODY", make: func(good *kgo.Record, _ *schemas.Trade) *kgo.Record {
			return &kgo.Record{Key: []byte("sim:NOBODY"), Value: good.Value}
		}},
		badRecord{name: "late", make: change(func(m *schemas.Trade) {
			m.Meta.EventTime -= int64(10 * time.Second)
			m.Meta.Sequence, m.Meta.Id = 0, fmt.Sprint("late", m.Meta.Id)
		})},
		badRecord{name: "duplicate", make: func(good *kgo.Record, _ *schemas.Trade) *kgo.Record {
			return &kgo.Record{Key: good.Key, Value: good.Value}
		}},
	)
}

func (w *badWorld) badEvents() []badRecord {
	value := func(fn func(good []byte) []byte) func(*kgo.Record, *schemas.Trade) *kgo.Record {
		return func(good *kgo.Record, _ *schemas.Trade) *kgo.Record {
			return &kgo.Record{Key: good.Key, Value: fn(good.Value)}
		}
	}
	return []badRecord{
		{name: "truncated", reason: "undecodable", make: value(func(good []byte) []byte { return good[:len(good)*2/3] })},
		{name: "corrupt", reason: "undecodable", make: value(func(good []byte) []byte {
			return slices.Concat(good[:6], bytes.Repeat([]byte{0xff}, len(good)-6))
		})},
		{name: "empty", reason: "invalid", make: value(func([]byte) []byte { return nil })},
		{name: "just below the limit of the topic", reason: "undecodable", make: value(func([]byte) []byte { return noise(1<<20 - 300) })},
		{name: "8 MiB compressed", reason: "undecodable", detail: "must be at most", cut: true, make: value(func([]byte) []byte {
			return bytes.Repeat([]byte{0x0a}, 8<<20)
		})},
		{name: "unknown type", reason: "undecodable", detail: `record type "Nonsense" is unknown`, make: func(good *kgo.Record, m *schemas.Trade) *kgo.Record {
			return &kgo.Record{Key: good.Key, Value: []byte{0x0a, 0}, Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte("tapewatch.v1.Nonsense")}}}
		}},
		{name: "type of another topic", reason: w.wrongType, detail: "must be one of", make: func(good *kgo.Record, m *schemas.Trade) *kgo.Record {
			quote := &schemas.Quote{Meta: proto.CloneOf(m.Meta), BidPrice: m.Price, AskPrice: m.Price, BidQuantity: m.Quantity, AskQuantity: m.Quantity}
			return &kgo.Record{Key: good.Key, Value: w.encode(schemas.MarketQuotes, quote)}
		}},
		{name: "unknown schema id", reason: "undecodable", detail: "schema id 987654", make: value(func(good []byte) []byte {
			return slices.Concat(binary.BigEndian.AppendUint32([]byte{0}, 987654), good[5:])
		})},
		{name: "unknown message of a known schema", reason: "undecodable", detail: "has no message", make: value(func(good []byte) []byte {
			return slices.Concat(good[:5], binary.AppendVarint([]byte{2}, 999), good[6:])
		})},
	}
}

// noise does not compress: a multiplicative generator of fixed seed. Its first byte begins no message.
func noise(n int) []byte {
	out, x := make([]byte, n), uint32(1)
	for i := range out {
		x = x*1664525 + 1013904223
		out[i] = byte(x >> 24)
	}
	out[0] = 0xff
	return out
}

// badWorld is an installation that gets bad input.
type badWorld struct {
	*system
	enc       schemas.Encoder
	wrongType string // reason for a record of another topic's type
	admin     int
}

func newBadWorld(t *testing.T, brokers, prefix string, env ...string) *badWorld {
	t.Helper()
	w := &badWorld{admin: freePort(t), wrongType: "type"}
	w.system = newSystem(t, brokers, prefix, append(env, fmt.Sprintf("TAPEWATCH_ADMIN__PORT=%d", w.admin))...)
	for _, e := range env {
		if url, ok := strings.CutPrefix(e, "TAPEWATCH_KAFKA__SCHEMA_REGISTRY="); ok {
			r, err := registry.New(t.Context(), sr.URLs(url))
			if err != nil {
				t.Fatal(err)
			}
			w.enc.Frame, w.types = r.Frame, r.SchemaType
		}
	}
	w.run("topics", "apply", "-s", "topics.partitions=2")
	return w
}

func (w *badWorld) encode(topic schemas.Topic, m schemas.Message) []byte {
	w.t.Helper()
	value, err := w.enc.AppendValue(nil, topic, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

// A coordinate is where a record lies.
type coordinate struct {
	Topic     string
	Partition int32
	Offset    int64
}

// write puts records on the topic in order, and returns where they lie.
func (w *badWorld) write(topic schemas.Topic, records []*kgo.Record) []coordinate {
	w.t.Helper()
	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
	usual, large := w.client(manual), w.client(manual, kgo.ProducerBatchMaxBytes(32<<20))
	for _, r := range records {
		r.Topic = w.prefix + topic.Name
	}
	var out []coordinate
	for from := 0; from < len(records); {
		// A large record goes alone; the limit of the topic is of the batch.
		cl, to := large, from+1
		for !isLarge(records[from]) && to < len(records) && !isLarge(records[to]) {
			to++
		}
		if !isLarge(records[from]) {
			cl = usual
		}
		if err := cl.ProduceSync(w.t.Context(), records[from:to]...).FirstErr(); err != nil {
			w.t.Fatalf("writing to %s: %v", topic.Name, err)
		}
		from = to
	}
	for _, r := range records {
		out = append(out, coordinate{r.Topic, r.Partition, r.Offset})
	}
	return out
}

func isLarge(r *kgo.Record) bool { return len(r.Value) > 100<<10 }

// letter is what `dlq list` and `dlq show` print.
type letter struct {
	coordinate
	ID, Reason, Detail, Processor, Value string
	Cut                                  int
}

// lettersOf requires one letter of the processor for each bad record, its own reason and bytes in it, and no other.
func (w *badWorld) lettersOf(processor string, want map[coordinate]sent) {
	w.t.Helper()
	var letters []letter
	w.parse(w.run("dlq", "list", "--processor", processor, "--limit", "0", "--output", "json"), &letters)
	if len(letters) != len(want) {
		w.t.Errorf("%s: %d dead letters, want %d", processor, len(letters), len(want))
	}
	reasons, shown := map[string]int{}, map[string]bool{}
	for _, l := range letters {
		s, ok := want[l.coordinate]
		if !ok {
			w.t.Errorf("%s: dead letter of a good record: %+v", processor, l)
			continue
		}
		reasons[s.kind.name+": "+l.Reason]++
		if l.Reason != s.kind.reason || !strings.Contains(l.Detail, s.kind.detail) || (l.Cut > 0) != s.kind.cut {
			w.t.Errorf("%s: the letter of %s says %s: %q, cut %d; want %s: %q", processor, s.kind.name, l.Reason, l.Detail, l.Cut, s.kind.reason, s.kind.detail)
		}
		if shown[s.kind.name] {
			continue
		}
		shown[s.kind.name] = true
		w.parse(w.run("dlq", "show", l.ID, "--output", "json"), &l)
		value, err := base64.StdEncoding.DecodeString(l.Value)
		if err != nil || !bytes.HasPrefix(s.value, value) || len(value) != len(s.value) && !s.kind.cut {
			w.t.Errorf("%s: the letter of %s holds %d bytes, the record %d: %v", processor, s.kind.name, len(value), len(s.value), err)
		}
	}
	w.t.Logf("%s: %d dead letters: %v", processor, len(letters), reasons)
}

func (w *badWorld) parse(text string, into any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		w.t.Fatalf("reading %.200q: %v", text, err)
	}
}

// sent is one bad record on the topic.
type sent struct {
	kind  badRecord
	value []byte
}

// counters reads the metrics of the process in hand, by name and labels as they stand there.
func (w *badWorld) counters() map[string]string {
	w.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", w.admin))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			out[name] = value
		}
	}
	return out
}

// count requires a counter to stand at n; one that was never touched may be absent.
func (w *badWorld) count(counters map[string]string, n int, name string) {
	w.t.Helper()
	if got := counters[name]; got != strconv.Itoa(n) && (n != 0 || got != "") {
		w.t.Errorf("/metrics says %s %q, want %d", name, got, n)
	}
}

// detect runs price_anomaly over what stands on market.trades, reads its metrics and stops it.
func (w *badWorld) detect() map[string]string {
	w.t.Helper()
	p := w.start("detect", "price_anomaly")
	w.awaitLag("price_anomaly", time.Minute)
	counters := w.counters()
	p.stop()
	return counters
}

// bare reads the events topic without where the input lay and how much of it was late. It leaves out what skip names.
func (w *badWorld) bare(skip map[coordinate]sent) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	dec := schemas.Decoder{SchemaType: w.types}
	w.raw(schemas.Events, func(r *kgo.Record) {
		if _, bad := skip[coordinate{r.Topic, r.Partition, r.Offset}]; bad {
			return
		}
		m, err := dec.Decode("Event", "", r.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		if e, ok := m.(*schemas.Event); ok {
			out[e.Id] = bareGood(w.t, e)
		}
	})
	return out
}

// bareGood is an event without what bad records around the good ones may change: offsets, and the count of late ones.
func bareGood(t *testing.T, e *schemas.Event) string {
	t.Helper()
	e.Position, e.Evidence.LateRecords = nil, 0
	text, err := schemas.MarshalJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestBadInput runs price_anomaly and the sinks on real Kafka with every kind of bad record among the good ones: each ends in
// dlq or a counter, by name, and the events are those of the good records alone.
func TestBadInput(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts three servers, and -short is given")
	}
	brokers := testservices.Kafka(t)
	fake := srfake.New()
	t.Cleanup(fake.Close)
	postgres, redis := testservices.Postgres(t), testservices.Redis(t)
	env := []string{
		"TAPEWATCH_KAFKA__SCHEMA_REGISTRY=" + fake.URL(), "PRICE_ANOMALY_THRESHOLD_PCT=1", "TAPEWATCH_PROCESSORS__PRICE_ANOMALY__STRICT=true",
		"TAPEWATCH_SINKS__POSTGRES__URL=" + postgres, "TAPEWATCH_SINKS__REDIS__URL=" + redis,
	}

	clean := newBadWorld(t, brokers, "clean.", env...)
	clean.run("ingest", "simulator", "--once", "-s", "simulator.start=2024-01-01T00:00:00Z", "-s", "simulator.duration=1h", "-s", "simulator.calm=5m",
		"-s", "simulator.speed=0", "-s", "simulator.instruments=4", "-s", "simulator.rate=8", "-s", "simulator.anomalies_per_day=400", "-s", "simulator.kinds=trades")
	clean.countAll(clean.detect(), map[string]int{})
	clean.lettersOf("price_anomaly", nil)
	want := clean.bare(nil)
	if len(want) < 3 {
		t.Fatalf("nothing was tested: the good records make %d events", len(want))
	}

	dirty := newBadWorld(t, brokers, "dirty.", env...)
	bad, kinds := dirty.spoil(clean)
	dirty.tooLarge()
	events := dirty.spoilEvents(clean)
	dirty.countAll(dirty.detect(), kinds)
	compare(t, "with bad records among the good ones", want, dirty.bare(events))
	dirty.lettersOf("price_anomaly", bad)
	dirty.sinks(postgres, redis, want, events)
	clean.negativeControl(brokers, env, want)
}

// countAll requires the counters of price_anomaly to stand at what was sent, by reason.
func (w *badWorld) countAll(counters map[string]string, want map[string]int) {
	w.t.Helper()
	w.count(counters, want["late"], `tapewatch_late_records_total{processor="price_anomaly"}`)
	w.count(counters, want["duplicate"], `tapewatch_duplicate_records_total{processor="price_anomaly"}`)
	for _, reason := range []string{"undecodable", "invalid", "type", "key", "future", "panic"} {
		w.count(counters, want[reason], fmt.Sprintf(`tapewatch_dead_letters_total{processor="price_anomaly",reason=%q}`, reason))
	}
	w.t.Logf("%s counters are as sent: %v", w.prefix, want)
}

// spoil copies the good records of another installation with every kind of bad record at some places of each partition. It
// returns where the dead letters come from, and how many records each counter must show.
func (w *badWorld) spoil(from *badWorld) (map[coordinate]sent, map[string]int) {
	w.t.Helper()
	good := map[int32][]*kgo.Record{}
	from.raw(schemas.MarketTrades, func(r *kgo.Record) { good[r.Partition] = append(good[r.Partition], r) })
	dec := schemas.Decoder{SchemaType: w.types}
	var records []*kgo.Record
	marks := map[int]badRecord{}
	counts := map[string]int{}
	for _, partition := range slices.Sorted(maps.Keys(good)) {
		all := good[partition]
		next := len(all) / 4 // the bad records stand behind the first trade from here on
		for i, r := range all {
			records = append(records, &kgo.Record{Partition: partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
			m, err := dec.Decode("Trade", "", r.Value)
			if err != nil {
				w.t.Fatal(err)
			}
			trade, ok := m.(*schemas.Trade)
			if i < next || !ok {
				continue
			}
			next += len(all) / 4
			for _, kind := range w.badInput() {
				b := kind.make(r, trade)
				b.Partition = partition
				marks[len(records)] = kind
				records = append(records, b)
				if kind.reason == "" {
					counts[kind.name]++
				} else {
					counts[kind.reason]++
				}
			}
		}
	}
	at := w.write(schemas.MarketTrades, records)
	out := map[coordinate]sent{}
	for i, kind := range marks {
		if kind.reason != "" {
			out[at[i]] = sent{kind, records[i].Value}
		}
	}
	return out, counts
}

// tooLarge shows that a record above the limit of the topic does not get as far.
func (w *badWorld) tooLarge() {
	w.t.Helper()
	cl := w.client(kgo.ProducerBatchMaxBytes(4<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: w.prefix + schemas.MarketTrades.Name, Value: noise(2 << 20)}).FirstErr()
	if err == nil || !strings.Contains(err.Error(), kerr.MessageTooLarge.Message) {
		w.t.Errorf("a record of 2 MiB: the broker says %v, want %v", err, kerr.MessageTooLarge)
	}
}

// spoilEvents writes bad events, and returns those that make dead letters. They stand before the good ones of the detector.
func (w *badWorld) spoilEvents(from *badWorld) map[coordinate]sent {
	w.t.Helper()
	trade := &schemas.Trade{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", EventTime: 1704067200e9},
		Price: schemas.NewDecimal(1, 0), Quantity: schemas.NewDecimal(1, 0),
	}
	var good *kgo.Record
	from.raw(schemas.Events, func(r *kgo.Record) { good = r })
	w.wrongType = "invalid" // a sink's word for it
	kinds := w.badEvents()
	w.wrongType = "type"
	var records []*kgo.Record
	for _, kind := range kinds {
		records = append(records, kind.make(good, trade))
	}
	out := map[coordinate]sent{}
	for i, at := range w.write(schemas.Events, records) {
		out[at] = sent{kinds[i], records[i].Value}
	}
	return out
}

// sinks runs both over the events topic, to which every good event is written once more.
func (w *badWorld) sinks(postgres, redis string, want map[string]string, bad map[coordinate]sent) {
	w.t.Helper()
	var again []*kgo.Record
	w.raw(schemas.Events, func(r *kgo.Record) {
		if _, isBad := bad[coordinate{r.Topic, r.Partition, r.Offset}]; !isBad {
			again = append(again, &kgo.Record{Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
		}
	})
	w.write(schemas.Events, again)
	p := w.start("sink", "postgres", "redis")
	w.awaitLag("sink.postgres", time.Minute)
	w.awaitLag("sink.redis", time.Minute)
	counters := w.counters()
	p.stop()
	far := &pipeline{system: w.system, postgres: postgres, redis: redis}
	ids := slices.Sorted(maps.Keys(want))
	far.same("postgres", ids, far.postgresIDs())
	far.same("redis", ids, far.redisIDs())
	for _, sink := range []string{"postgres", "redis"} {
		w.lettersOf("sink."+sink, bad)
		for outcome, n := range map[string]int{"written": len(want), "duplicate": len(want), "dead_letter": len(bad)} {
			w.count(counters, n, fmt.Sprintf(`sink_records_total{outcome=%q,sink=%q}`, outcome, sink))
		}
	}
}

// negativeControl leaves one good record out, the trade before the last event of its instrument: the judge must see it.
func (w *badWorld) negativeControl(brokers string, env []string, want map[string]string) {
	w.t.Helper()
	var last *schemas.Event
	w.read(schemas.Events, func(r record) {
		if e, ok := r.message.(*schemas.Event); ok {
			last = proto.CloneOf(e)
		}
	})
	var records []*kgo.Record
	out := -1
	w.raw(schemas.MarketTrades, func(r *kgo.Record) {
		if string(r.Key) == last.Key && r.Offset <= last.Position.Offset {
			out = len(records)
		}
		records = append(records, &kgo.Record{Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
	})
	short := newBadWorld(w.t, brokers, "short.", env...)
	short.write(schemas.MarketTrades, slices.Delete(records, out, out+1))
	short.detect()
	if wrong := differences(want, short.bare(nil)); len(wrong) == 0 {
		w.t.Error("negative control: a good record was left out, and the events are the same")
	}
}
