package chaos_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"

	_ "github.com/tapewatch/tapewatch/detectors"
)

// The test binary is also the process that is killed: with these variables it runs groups instead of tests.
const (
	slotVariable    = "TAPEWATCH_CHAOS_SLOT"
	brokerVariable  = "TAPEWATCH_CHAOS_BROKERS"
	namesVariable   = "TAPEWATCH_CHAOS_PROCESSORS"
	onceVariable    = "TAPEWATCH_CHAOS_AT_LEAST_ONCE"
	leavingVariable = "TAPEWATCH_CHAOS_LEAVE"
	shortVariable   = "TAPEWATCH_CHAOS_SHORT_TIMEOUTS"
	poisonVariable  = "TAPEWATCH_CHAOS_POISON"
)

func TestMain(m *testing.M) {
	if os.Getenv(slotVariable) != "" {
		if err := member(); err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// chaosConfig is what the members run with.
func chaosConfig(atLeastOnce bool) stream.Config {
	c := stream.Defaults()
	c.Transactions = !atLeastOnce
	c.SnapshotInterval = 2 * time.Second
	c.Restarts = 1000 // the broker is away for some seconds
	if os.Getenv(shortVariable) != "" {
		c.Rebalance, c.Transaction = 2*time.Second, 9*time.Second
	}
	return c
}

// bound gives price_anomaly knobs at which the load's jumps raise events, and the counter the price that it panics at.
func bound(name string) (*processor.Bound, error) {
	d, err := processor.Lookup(name)
	if err != nil {
		return nil, err
	}
	config := ""
	if name == detector {
		config = `{"window":"1m","cool_down":"1m","quiet_for":"1m"}`
	}
	if poison := os.Getenv(poisonVariable); poison != "" && name == chaos.Name {
		config = `{"every":10,"poison":` + poison + `}`
	}
	return d.BindJSON([]byte(config))
}

// member is one process of the groups.
func member() error {
	slot, err := strconv.Atoi(os.Getenv(slotVariable))
	if err != nil {
		return fmt.Errorf("reading %s: %w", slotVariable, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Fprintln(os.Stderr, listens)
	c := cluster.Defaults()
	c.Brokers = strings.Split(os.Getenv(brokerVariable), ",")
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	names := strings.Split(os.Getenv(namesVariable), ",")
	errs := make(chan error, len(names))
	for _, name := range names {
		b, err := bound(name)
		if err != nil {
			return err
		}
		g, err := stream.NewGroup(stream.GroupOptions{
			Bound: b, Cluster: c, Config: chaosConfig(os.Getenv(onceVariable) != ""), Slot: slot, Leave: os.Getenv(leavingVariable) != "", Log: log,
		})
		if err != nil {
			return err
		}
		go func() { errs <- g.Run(ctx) }()
	}
	for range names {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// listens is what a member says once SIGTERM stops it gracefully: before that it would kill it.
const listens = "member: listens for SIGTERM"

// A crew is the processes of a run.
type crew struct {
	t       *testing.T
	brokers string
	names   []string
	once    bool
	dir     string

	mu       sync.Mutex // guards members, stopping and the two below
	members  []*process
	stopping bool
	wg       sync.WaitGroup
	// deaths are when members died, by a signal from outside or by their failpoint.
	deaths     []time.Time
	failpoints int
}

// process is one member; done is closed when it has ended.
type process struct {
	cmd   *exec.Cmd
	armed bool // with a failpoint
	from  int  // where its part of the log begins
	done  chan struct{}
}

func newCrew(t *testing.T, size int, brokers string, once bool, names ...string) *crew {
	t.Helper()
	c := &crew{t: t, brokers: brokers, names: names, once: once, dir: os.Getenv("TAPEWATCH_CHAOS_LOGS"), members: make([]*process, size)}
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	for slot := range size {
		c.start(slot, "")
	}
	t.Cleanup(func() {
		c.mu.Lock()
		c.stopping = true
		c.mu.Unlock()
		for slot := range c.members {
			_ = c.member(slot).cmd.Process.Kill()
		}
		c.wg.Wait()
	})
	return c
}

// start runs a member; crashAt makes it kill itself inside a transaction.
func (c *crew) start(slot int, crashAt string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(c.dir, fmt.Sprintf("member%d.log", slot)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	from := len(c.wholeLog(slot))
	cmd := exec.Command(os.Args[0])
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), slotVariable+"="+strconv.Itoa(slot), brokerVariable+"="+c.brokers,
		namesVariable+"="+strings.Join(c.names, ","), stream.CrashVariable+"="+crashAt)
	if c.once {
		cmd.Env = append(cmd.Env, onceVariable+"=1")
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p := &process{cmd: cmd, armed: crashAt != "", from: from, done: make(chan struct{})}
	c.members[slot] = p
	c.wg.Go(func() {
		_ = cmd.Wait()
		_ = log.Close()
		close(p.done)
		c.died(slot, p)
	})
}

// died starts a member again that its failpoint has killed.
func (c *crew) died(slot int, p *process) {
	c.mu.Lock()
	byItself := c.members[slot] == p && !c.stopping
	if byItself {
		c.failpoints++
		c.deaths = append(c.deaths, time.Now())
	}
	c.mu.Unlock()
	if byItself {
		c.start(slot, "")
	}
}

func (c *crew) member(slot int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[slot]
}

// replace ends a member as the power does and starts it again.
func (c *crew) replace(slot int, crashAt string) {
	c.t.Helper()
	c.mu.Lock()
	p := c.members[slot]
	c.members[slot] = nil
	c.deaths = append(c.deaths, time.Now())
	c.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.done
	c.start(slot, crashAt)
}

// disarm starts those members anew whose failpoint was not reached yet, else the last transaction of their stop may reach it.
// It is no part of the test, so it counts as no death.
func (c *crew) disarm() {
	c.t.Helper()
	for slot := range c.members {
		c.mu.Lock()
		p := c.members[slot]
		if p.armed {
			c.members[slot] = nil
		}
		c.mu.Unlock()
		if p.armed {
			_ = p.cmd.Process.Kill()
			<-p.done
			c.start(slot, "")
		}
	}
}

// awaitListening waits until a member can be stopped gracefully, or has ended.
func (c *crew) awaitListening(slot int) {
	c.t.Helper()
	p := c.member(slot)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(string(c.wholeLog(slot)[p.from:]), listens) {
			return
		}
	}
	c.t.Errorf("member %d does not listen for SIGTERM", slot)
}

// deathsSince returns the deaths after the first n.
func (c *crew) deathsSince(n int) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deaths[n:len(c.deaths):len(c.deaths)]
}

// stop ends all members gracefully.
func (c *crew) stop() {
	c.t.Helper()
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	for slot := range c.members {
		c.awaitListening(slot)
		_ = c.member(slot).cmd.Process.Signal(syscall.SIGTERM)
	}
	for slot := range c.members {
		p := c.member(slot)
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			c.t.Errorf("member %d does not stop", slot)
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if !p.cmd.ProcessState.Success() {
			c.t.Errorf("member %d ended with %v:\n%s", slot, p.cmd.ProcessState, c.log(slot))
		}
	}
}

// log returns the end of a member's log.
func (c *crew) log(slot int) string {
	b := c.wholeLog(slot)
	return string(b[max(0, len(b)-3000):])
}

func (c *crew) wholeLog(slot int) []byte {
	b, _ := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("member%d.log", slot)))
	return b
}
