package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(url string) Config {
	c := Defaults()
	c.URL = secret.New(url)
	c.StreamCap = 100_000
	c.Sink.RetryMin, c.Sink.RetryMax = processor.Duration(10*time.Millisecond), processor.Duration(100*time.Millisecond)
	c.Sink.BreakerTimeout = processor.Duration(500 * time.Millisecond)
	c.Sink.WriteTimeout = processor.Duration(3 * time.Second)
	c.Sink.SessionTimeout = processor.Duration(time.Second)
	return c
}

func newSink(t testing.TB, url string, c cluster.Config) *Sink {
	t.Helper()
	s, err := New(config(url), Deps{Cluster: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(t testing.TB, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.DisableIdentity = true
	cl := redis.NewClient(o)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func streamIDs(t testing.TB, cl *redis.Client) []string {
	entries, err := cl.XRange(t.Context(), "{tapewatch}:events", "-", "+").Result()
	if err != nil {
		t.Log(err)
		return nil
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Values["id"].(string))
	}
	return ids
}

// checkAll is oracle O8: the stream has each event once, and each detector and key has the last state of a model.
func checkAll(t *testing.T, cl *redis.Client, n int) {
	t.Helper()
	got := map[string]int{}
	for _, id := range streamIDs(t, cl) {
		got[id]++
	}
	latest := map[string]*schemas.Event{}
	for i := range n {
		e := sinktest.Event(i)
		if got[e.Id] != 1 {
			t.Fatalf("O8: event %d is in the stream %d times, want once", i, got[e.Id])
		}
		latest["{tapewatch}:latest:"+e.Detector+":"+e.Key] = e
	}
	if len(got) != n {
		t.Fatalf("O8: the stream has %d events, want %d", len(got), n)
	}
	for key, e := range latest {
		id, err := cl.HGet(t.Context(), key, "id").Result()
		if err != nil || id != e.Id {
			t.Fatalf("O8: %s is at %s (error %v), want %s", key, id, err, e.Id)
		}
	}
}

func TestRestartInMidStreamAndTheOtherSinkGoesOn(t *testing.T) {
	server := testservices.RedisServer(t)
	other := testservices.RedisServer(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	s := newSink(t, server.URL, c)
	defer sinktest.Run(t, s.Run)()
	second := newSink(t, other.URL, c)
	consumer, err := sinks.New(sinks.Options{Name: "other", Cluster: c, Config: second.writer.config.Sink, Writer: second.writer})
	if err != nil {
		t.Fatal(err)
	}
	second.Consumer = consumer
	defer sinktest.Run(t, second.Run)()
	sinktest.Produce(t, cl, 0, 500)
	r, r2 := client(t, server.URL), client(t, other.URL)
	sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r)) >= 100 }, "nothing is written: %v", s.Component())
	server.Stop()
	sinktest.Produce(t, cl, 500, 1500)
	sinktest.Eventually(t, 10*time.Second, func() bool { return strings.HasPrefix(s.Component().Reason, "breaker open") }, "the breaker did not open")
	sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r2)) == 1500 }, "O10: the other sink did not go on: %v", second.Component())
	if got := second.Component().State; got != "healthy" {
		t.Errorf("the other sink is %s, want healthy", got)
	}
	server.Start()
	sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r)) >= 1500 }, "events are missing: %v", s.Component())
	checkAll(t, r, 1500)
	checkAll(t, r2, 1500)
	if got := s.Component().State; got != "healthy" {
		t.Errorf("state is %s after recovery, want healthy", got)
	}
}

func TestLostDataIsBuiltAgainAndNotPublishedAgain(t *testing.T) {
	for _, how := range []string{"FLUSHALL", "Rebuild", "Rebuild before a start", "Rebuild twice before a start"} {
		t.Run(how, func(t *testing.T) {
			url := testservices.Redis(t)
			c := sinktest.Broker(t)
			cl := sinktest.Client(t, c)
			s := newSink(t, url, c)
			stop := sinktest.Run(t, s.Run)
			r := client(t, url)
			sub := r.Subscribe(t.Context(), "{tapewatch}:events")
			t.Cleanup(func() { _ = sub.Close() })
			if _, err := sub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			sinktest.Produce(t, cl, 0, 400)
			sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r)) == 400 }, "events are missing")
			var err error
			switch how {
			case "FLUSHALL":
				err = r.FlushAll(t.Context()).Err()
			case "Rebuild":
				err = s.Rebuild(t.Context())
			default:
				stop()
				again := newSink(t, url, c)
				err = again.Rebuild(t.Context())
				if how == "Rebuild twice before a start" {
					err = errors.Join(err, again.Rebuild(t.Context()))
				}
				defer sinktest.Run(t, again.Run)()
			}
			if err != nil {
				t.Fatal(err)
			}
			sinktest.Produce(t, cl, 400, 500)
			sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r)) == 500 }, "not built again: %v", s.Component())
			checkAll(t, r, 500)
			heard := map[string]int{}
			for n := range 500 {
				select {
				case m := <-sub.Channel():
					heard[m.Payload]++
				case <-time.After(5 * time.Second):
					t.Fatalf("heard %d messages, want 500", n)
				}
			}
			select {
			case m := <-sub.Channel():
				t.Fatalf("heard more than 500 messages: %s", m.Payload)
			case <-time.After(200 * time.Millisecond):
			}
			if len(heard) != 500 {
				t.Fatalf("heard %d different messages, want 500", len(heard))
			}
		})
	}
}

func batch(from, to int) sinks.Batch {
	p := sinks.Partition{Topic: "events", Number: 0}
	b := sinks.Batch{From: map[sinks.Partition]int64{p: int64(from)}, Next: map[sinks.Partition]int64{p: int64(to)}}
	for i := from; i < to; i++ {
		b.Entries = append(b.Entries, sinks.Entry{Event: sinktest.Event(i), At: p, Offset: int64(i)})
	}
	return b
}

func TestScriptIsIdempotent(t *testing.T) {
	mini := miniredis.RunT(t)
	w := newSink(t, "redis://"+mini.Addr(), cluster.Defaults()).writer
	r := client(t, "redis://"+mini.Addr())
	p := sinks.Partition{Topic: "events", Number: 0}
	if _, err := w.Positions(t.Context(), map[sinks.Partition]int64{p: 0}); err != nil {
		t.Fatal(err)
	}
	write := func(b sinks.Batch, written, duplicates int) {
		t.Helper()
		got, err := w.Write(t.Context(), b)
		if err != nil || got.Written != written || got.Duplicates != duplicates {
			t.Fatalf("got %+v, error %v; want %d written, %d duplicates", got, err, written, duplicates)
		}
	}
	write(batch(0, 10), 10, 0)
	write(batch(0, 10), 0, 10) // the answer was lost, the write is repeated
	write(batch(5, 15), 5, 5)
	again := batch(15, 16) // the topic itself holds an event twice
	again.Entries[0].Event = sinktest.Event(3)
	write(again, 0, 1)
	old := batch(16, 17) // a late event does not move the state back
	old.Entries[0].Event = sinktest.Event(14)
	old.Entries[0].Event.Id, old.Entries[0].Event.EventTime = "late", 1
	write(old, 1, 0)
	if id := r.HGet(t.Context(), "{tapewatch}:latest:price_anomaly:binance:S14-USDT", "id").Val(); id != sinktest.Event(14).Id {
		t.Errorf("the state moved back to %s", id)
	}
	if _, err := w.Write(t.Context(), batch(50, 60)); !errors.Is(err, sinks.ErrMoved) {
		t.Errorf("a gap gave %v, want ErrMoved", err)
	}
	mini.FlushAll()
	if _, err := w.Write(t.Context(), batch(17, 20)); !errors.Is(err, sinks.ErrMoved) {
		t.Errorf("lost data gave %v, want ErrMoved", err)
	}
	if n := r.XLen(t.Context(), "{tapewatch}:events").Val(); n != 0 {
		t.Errorf("a refused batch left %d events", n)
	}
}

func TestDocumentedCommandsAnswer(t *testing.T) {
	url := testservices.Redis(t)
	c := sinktest.Broker(t)
	s := newSink(t, url, c)
	defer sinktest.Run(t, s.Run)()
	sinktest.Produce(t, sinktest.Client(t, c), 0, 32)
	r := client(t, url)
	sinktest.Eventually(t, 10*time.Second, func() bool { return len(streamIDs(t, r)) == 32 }, "events are missing")
	for _, line := range testservices.ExampleLines(t, "docs/events.md", "redis") {
		var args []any
		for word := range strings.FieldsSeq(line) {
			args = append(args, word)
		}
		answer, err := r.Do(t.Context(), args...).Result()
		if text := fmt.Sprint(answer); err != nil || !strings.Contains(text, "price_anomaly") {
			t.Errorf("%s: %.80s, error %v; it must give events", line, text, err)
		}
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	url := testservices.Redis(t)
	s := newSink(t, url, cluster.Defaults())
	s.writer.config.StreamCap, s.writer.config.RememberIDs = 100, 150
	p := sinks.Partition{Topic: "events", Number: 0}
	if _, err := s.writer.Positions(t.Context(), map[sinks.Partition]int64{p: 0}); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2000; i += 200 {
		if _, err := s.writer.Write(t.Context(), batch(i, i+200)); err != nil {
			t.Fatal(err)
		}
	}
	r := client(t, url)
	if n := r.XLen(t.Context(), "{tapewatch}:events").Val(); n < 100 || n > 250 {
		t.Errorf("the stream has %d events, want about 100 (Redis trims whole nodes of 100)", n)
	}
	if n := r.ZCard(t.Context(), "{tapewatch}:ids").Val(); n != 150 {
		t.Errorf("%d ids are remembered, want 150", n)
	}
}

func TestConfigNamesFieldValueAndRule(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"redis.url is empty":               func(c *Config) { c.URL = secret.Secret{} },
		"redis.url cannot be read":         func(c *Config) { c.URL = secret.New("http://u:hunter2@h") },
		"redis.stream_cap is 0":            func(c *Config) { c.StreamCap = 0 },
		"redis.remember_ids is 5":          func(c *Config) { c.RememberIDs = 5 },
		"redis.sink.batch_size is 5000: i": func(c *Config) { c.Sink.BatchSize = 5000 },
	} {
		c := config("redis://127.0.0.1:1/0")
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error with %q and without the password", err, want)
		}
	}
}

// BenchmarkWrite measures events/s into a real server, in batches of the default size.
func BenchmarkWrite(b *testing.B) {
	s := newSink(b, testservices.Redis(b), cluster.Defaults())
	s.writer.config.StreamCap = 1000
	p := sinks.Partition{Topic: "events", Number: 0}
	if _, err := s.writer.Positions(b.Context(), map[sinks.Partition]int64{p: 0}); err != nil {
		b.Fatal(err)
	}
	at, events := 0, batch(0, 200)
	begin := time.Now()
	for b.Loop() {
		next := batch(at, at)
		next.Next[p] = int64(at + 200)
		next.Entries = events.Entries
		for i := range next.Entries {
			next.Entries[i].Offset = int64(at + i)
			next.Entries[i].Event.Id = "bench" + time.Duration(at+i).String()
		}
		if _, err := s.writer.Write(b.Context(), next); err != nil {
			b.Fatal(err)
		}
		at += 200
	}
	b.ReportMetric(float64(at)/time.Since(begin).Seconds(), "events/s")
}
