package chaos_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// hung is how long the process hangs: longer than its session (6 s), than its transaction may be open (9 s), and than the
// broker's next look for such transactions (10 s more).
const hung = 21 * time.Second

// TestAHungProcessIsFencedWhenItWakes stops a process in the middle of a transaction, outputs flushed and offsets not yet
// committed, until the group has given its partitions away and the broker has ended its transaction; then it goes on.
func TestAHungProcessIsFencedWhenItWakes(t *testing.T) {
	v, said := wake(t, false)
	switch {
	case v.Aborted == 0:
		t.Error("NOT RUN: no aborted output is visible to read_uncommitted, so the process was not in a transaction")
	case !v.Clean():
		t.Errorf("not exactly once: %v", v)
	}
	if !strings.Contains(said, "fenced: the transaction was open for ") {
		t.Errorf("the process that woke does not say that it was fenced:\n%s", said)
	}
}

// TestAHungProcessDoublesWithoutTransactions is the negative control: without fencing the same hang must show.
func TestAHungProcessDoublesWithoutTransactions(t *testing.T) {
	if v, _ := wake(t, true); v.Duplicate == 0 {
		t.Errorf("without transactions the judge finds no duplicate: it proves nothing: %v", v)
	}
}

// wake runs two processes, one of which hangs and wakes, and returns the verdict and what that one said after it woke.
func wake(t *testing.T, atLeastOnce bool) (chaos.Verdict, string) {
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
	createTopics(t, c, chaos.Name)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	t.Setenv(shortVariable, "1")
	crew := newCrew(t, 2, kafka.Bootstrap, atLeastOnce, chaos.Name)
	loaded := make(chan error, 1)
	go func() {
		loaded <- chaos.Load{Records: 130_000, Keys: 64, Rate: 5000, PerSecond: 1000}.Run(ctx, c, partitions)
	}()
	w := &watch{t: t, adm: adm, group: c.Group(chaos.Name), topic: c.Topic(schemas.MarketTrades.Name)}
	w.everyPartition(ctx, nil)

	began := time.Now()
	crew.replace(0, "after_outputs:40:stop")
	pid := crew.member(0).cmd.Process.Pid
	for !stopped(pid) {
		if ctx.Err() != nil {
			t.Fatal("NOT RUN: the process does not stop in its transaction")
		}
		time.Sleep(10 * time.Millisecond)
	}
	hangs := time.Now()
	t.Logf("the process stopped %v after it began", time.Since(began).Round(10*time.Millisecond))
	slept := len(crew.wholeLog(0))
	// The other one takes all partitions: each commits past what stood there when the process stopped.
	w.everyPartition(ctx, w.committed(ctx))
	t.Logf("%v after the process stopped, every partition commits again", time.Since(hangs).Round(10*time.Millisecond))
	time.Sleep(time.Until(hangs.Add(hung)))
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// A stop ahead of the end of its last work would cut that short: exit code 1. At least once it need not say anything of its hang:
	// where the heartbeat is heard first, its partitions are lost and there is nothing left to commit.
	w.holdsAgain(ctx, chaos.Name+"-0")
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	w.caughtUp(ctx, c, []string{chaos.Name})
	crew.stop()
	v := judge(ctx, t, c, chaos.Name)
	t.Log(v)
	return v, string(crew.wholeLog(0)[slept:])
}

// stopped reports whether a process is stopped by a signal.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "T")
}

// holdsAgain waits until an instance is back in the group and holds partitions.
func (w *watch) holdsAgain(ctx context.Context, instance string) {
	w.t.Helper()
	for {
		groups, err := w.adm.DescribeGroups(ctx, w.group)
		if err == nil {
			err = groups.Error()
		}
		members := groups[w.group].Members
		for _, m := range members {
			assigned, ok := m.Assigned.AsConsumer()
			if m.InstanceID != nil && *m.InstanceID == instance && ok && len(assigned.Topics) > 0 {
				return
			}
		}
		if ctx.Err() != nil {
			w.t.Fatalf("%s holds no partition after it woke: %d members, %v", instance, len(members), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// everyPartition waits until each has committed past where it stood.
func (w *watch) everyPartition(ctx context.Context, stood map[int32]int64) {
	w.t.Helper()
	for {
		ahead, now := 0, w.committed(ctx)
		for p, at := range now {
			if at > stood[p] {
				ahead++
			}
		}
		if ahead == partitions {
			return
		}
		if ctx.Err() != nil {
			w.t.Fatalf("%d of %d partitions commit past %v: %v", ahead, partitions, stood, now)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
