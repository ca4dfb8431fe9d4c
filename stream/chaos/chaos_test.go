package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

const (
	partitions = 8
	detector   = "price_anomaly"
)

// plan is what a run does.
type plan struct {
	load        chaos.Load
	between     time.Duration // kills
	restartsAt  float64       // share of the load at which the broker is killed and restarted; 0 never
	atLeastOnce bool
	names       []string
}

// outcome is what a run gave.
type outcome struct {
	kills, failpoints int
	recoveries        []time.Duration
	verdicts          []chaos.Verdict
	letters           []*deadletter.Letter
	lasted            time.Duration
}

func short() plan {
	return plan{
		load: chaos.Load{Records: 240_000, Keys: 64, Rate: 20_000, PerSecond: 1000}, between: 1500 * time.Millisecond, names: []string{chaos.Name},
	}
}

// poison is a price of the load, at some trades of which the counter panics.
const poison = 1_005_000

// TestExactlyOnceUnderKill takes 20 s, in which the processor panics too; TAPEWATCH_CHAOS=long (make chaos) makes it 3,000,000 records, 70 s of load, price_anomaly
// beside the counter, and a broker that is killed and restarted.
func TestExactlyOnceUnderKill(t *testing.T) {
	p := short()
	long := os.Getenv("TAPEWATCH_CHAOS") == "long"
	if long {
		p = plan{
			load:    chaos.Load{Records: 3_000_000, Keys: 64, Rate: 42_000, PerSecond: 400},
			between: 2 * time.Second, restartsAt: 0.5, names: []string{chaos.Name, detector},
		}
	} else {
		t.Setenv(poisonVariable, strconv.Itoa(poison))
	}
	o := run(t, p)
	report(t, o)
	if !long {
		panicsOnce(t, p.load, o.letters)
	}
	if want := p.load.Records / p.load.Rate / 4; o.kills < want || long && o.kills < 20 {
		t.Errorf("NOT RUN: %d kills, too few", o.kills)
	}
	for _, v := range o.verdicts {
		switch {
		case v.Processor == chaos.Name && v.Aborted == 0:
			t.Error("NOT RUN: no aborted output is visible to read_uncommitted, so no kill hit an open transaction")
		case !v.Clean():
			t.Errorf("not exactly once: %v", v)
		}
	}
}

// panicsOnce requires one dead letter for each trade that the processor panicked at.
func panicsOnce(t *testing.T, l chaos.Load, letters []*deadletter.Letter) {
	t.Helper()
	want := 0
	for n := range l.Records {
		if l.Trade(n).GetPrice().GetMantissa() == poison {
			want++
		}
	}
	at := map[string]bool{}
	for _, letter := range letters {
		if letter.Reason != "panic" || !strings.Contains(letter.Stack, "OnRecord") {
			t.Errorf("the dead letter of %s/%d offset %d says %s, %q", letter.Topic, letter.Partition, letter.Offset, letter.Reason, letter.Stack)
		}
		at[fmt.Sprintf("%d/%d", letter.Partition, letter.Offset)] = true
	}
	t.Logf("%d trades at which the processor panics, %d dead letters of %d records", want, len(letters), len(at))
	if want == 0 || len(letters) != want || len(at) != want {
		t.Errorf("%d dead letters of %d records, want one for each of %d", len(letters), len(at), want)
	}
}

// TestAtLeastOnceFailsTheSameJudge is the negative control: without transactions the same kills must show.
func TestAtLeastOnceFailsTheSameJudge(t *testing.T) {
	p := short()
	p.atLeastOnce = true
	p.load.Records = 160_000
	o := run(t, p)
	report(t, o)
	if o.verdicts[0].Duplicate == 0 {
		t.Error("without transactions the judge finds no duplicate: it proves nothing")
	}
	if o.verdicts[0].Missing > 0 {
		t.Error("at least once lost outputs")
	}
}

func report(t *testing.T, o outcome) {
	t.Helper()
	for _, v := range o.verdicts {
		t.Log(v)
	}
	slices.Sort(o.recoveries)
	if n := len(o.recoveries); n > 0 {
		t.Logf("%d kills, %d of them by failpoints inside a transaction, in %v; recovery (kill until every partition commits again): median %v, longest %v; all: %v",
			o.kills, o.failpoints, o.lasted.Round(time.Second), o.recoveries[n/2], o.recoveries[n-1], o.recoveries)
	}
}

// run drives one plan on a Kafka of its own.
func run(t *testing.T, p plan) outcome {
	t.Helper()
	kafka := testservices.KafkaCluster(t, 1)
	c := cluster.Defaults()
	c.Brokers = strings.Split(kafka.Bootstrap, ",")
	cl, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	createTopics(t, c, p.names...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(p.load.Records/p.load.Rate)*time.Second+3*time.Minute)
	defer cancel()
	crew := newCrew(t, 3, kafka.Bootstrap, p.atLeastOnce, p.names...)
	began := time.Now()
	loaded := make(chan error, 1)
	go func() { loaded <- p.load.Run(ctx, c, partitions) }()

	w := &watch{t: t, adm: adm, group: c.Group(p.names[0]), topic: c.Topic(schemas.MarketTrades.Name)}
	measured := make(chan []time.Duration, 1)
	ended := make(chan struct{})
	go func() { measured <- w.recoveries(ctx, crew, ended) }()
	points := []string{"after_flush:15", "before_commit:20", "after_process:25", "after_end:10"}
	restarted := p.restartsAt == 0
	for round := 0; ; round++ {
		select {
		case err := <-loaded:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Until(began.Add(2*time.Second + time.Duration(round)*p.between))):
			if due := p.restartsAt * float64(p.load.Records) / float64(p.load.Rate); !restarted && time.Since(began).Seconds() > due {
				restarted = true
				kafka.Kill(1, syscall.SIGKILL)
				kafka.Restart(1)
				t.Logf("the broker was killed and restarted %v after the start", time.Since(began).Round(time.Second))
			}
			// Every second restart carries a failpoint: that process dies inside a transaction some moments later.
			point := ""
			if round%2 == 1 {
				point = points[(round/2)%len(points)]
			}
			crew.replace(round%len(crew.members), point)
			continue
		}
		break
	}
	o := outcome{lasted: time.Since(began)}
	crew.disarm()
	w.caughtUp(ctx, c, p.names)
	close(ended)
	o.recoveries = <-measured
	crew.stop()
	o.kills, o.failpoints = len(crew.deaths), crew.failpoints
	for _, name := range p.names {
		o.verdicts = append(o.verdicts, judge(ctx, t, c, name))
	}
	found, err := deadletter.List(ctx, c, nil, deadletter.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	o.letters = found.Letters
	return o
}

// watch follows the committed offsets.
type watch struct {
	t            *testing.T
	adm          *kadm.Client
	group, topic string
}

func (w *watch) committed(ctx context.Context) map[int32]int64 {
	w.t.Helper()
	out := map[int32]int64{}
	offsets, err := w.adm.FetchOffsets(ctx, w.group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return out
	}
	for p, o := range offsets[w.topic] {
		out[p] = o.At
	}
	return out
}

// recoveries measures the time from each death until every partition has committed past where it stood then.
func (w *watch) recoveries(ctx context.Context, crew *crew, ended <-chan struct{}) []time.Duration {
	type open struct {
		died   time.Time
		before map[int32]int64
	}
	var pending []open
	var out []time.Duration
	for seen := 0; ; {
		select {
		case <-ended:
			return out
		case <-ctx.Done():
			return out
		case <-time.After(25 * time.Millisecond):
		}
		deaths := crew.deathsSince(seen)
		seen += len(deaths)
		now := w.committed(ctx)
		for _, d := range deaths {
			pending = append(pending, open{d, now})
		}
		pending = slices.DeleteFunc(pending, func(o open) bool {
			ahead := 0
			for p, at := range now {
				if at > o.before[p] {
					ahead++
				}
			}
			if ahead == partitions {
				out = append(out, time.Since(o.died).Round(10*time.Millisecond))
			}
			return ahead == partitions
		})
	}
}

// caughtUp waits until all groups have committed all input.
func (w *watch) caughtUp(ctx context.Context, c cluster.Config, names []string) {
	w.t.Helper()
	ends, err := w.adm.ListEndOffsets(ctx, w.topic)
	if err != nil {
		w.t.Fatal(err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	for _, name := range names {
		g := &watch{t: w.t, adm: w.adm, group: c.Group(name), topic: w.topic}
		for {
			sum := int64(0)
			for _, at := range g.committed(ctx) {
				sum += max(at, 0)
			}
			if sum == total {
				break
			}
			if ctx.Err() != nil {
				w.t.Fatalf("%s has committed %d of %d records and goes no further", name, sum, total)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func judge(ctx context.Context, t *testing.T, c cluster.Config, name string) chaos.Verdict {
	t.Helper()
	b, err := bound(name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chaos.Judge(ctx, c, b, processor.DefaultTimePolicy())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// createTopics does what `tapewatch topics apply` does.
func createTopics(t *testing.T, c cluster.Config, names ...string) {
	t.Helper()
	all := []schemas.Topic{schemas.MarketTrades, schemas.Events, schemas.DeadLetters}
	for _, name := range names {
		all = append(all, schemas.StateTopic(name), schemas.CheckpointTopic(name, schemas.MarketTrades))
	}
	if err := topics.Make(t.Context(), c, partitions, all...); err != nil {
		t.Fatal(err)
	}
}
