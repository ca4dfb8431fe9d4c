package proofs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// full reports whether the form of docs/proofs.md is asked for.
func full() bool { return os.Getenv("PROOFS") == "full" }

// asked skips a proof that nobody asked for: each takes minutes, and cmd/tapewatch runs the same path in its tests.
func asked(t *testing.T) {
	t.Helper()
	if os.Getenv("PROOFS") == "" {
		t.Skip("SKIPPED, nothing was tested: proofs take minutes; PROOFS=short or full runs them")
	}
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tapewatch-proof")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tapewatch")
	out, err := exec.Command("go", "build", "-o", bin, "../cmd/tapewatch").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the binary: %w: %s", err, out)
	}
	return bin, nil
})

// system is one tapewatch installation under test.
type system struct {
	t       *testing.T
	bin     string
	brokers string
	prefix  string
	env     []string
	types   func(id uint32, index []int) (string, error) // of the schema registry, where there is one
}

func newSystem(t *testing.T, brokers, prefix string, env ...string) *system {
	t.Helper()
	bin, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, bin: bin, brokers: brokers, prefix: prefix}
	s.env = append(append(os.Environ(), "TAPEWATCH_KAFKA__BROKERS="+brokers, "TAPEWATCH_KAFKA__PREFIX="+prefix, "LOG_LEVEL=info"), env...)
	return s
}

func (s *system) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = s.env
	cmd.Dir = s.t.TempDir()
	return cmd
}

// run runs a command to its end and returns what it printed on standard output.
func (s *system) run(args ...string) string {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("tapewatch %s: %v\n%s\n%s", strings.Join(args, " "), err, lastLines(stdout.String(), 20), lastLines(stderr.String(), 20))
	}
	return stdout.String()
}

// service is a command in the background.
type service struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	done chan error
}

// start starts a command that stop, or the end of the test, ends.
func (s *system) start(args ...string) *service {
	s.t.Helper()
	cmd := s.command(args...)
	log, err := os.CreateTemp(cmd.Dir, "log")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	p := &service{t: s.t, name: strings.Join(args, " "), cmd: cmd, log: log.Name(), done: done}
	go func() {
		done <- cmd.Wait() // not p.done, which end clears
		log.Close()
	}()
	s.t.Cleanup(func() { _ = p.end() })
	return p
}

// stop ends the service by SIGTERM and requires exit code 0.
func (p *service) stop() {
	p.t.Helper()
	if err := p.end(); err != nil {
		p.t.Fatalf("tapewatch %s ended with %v\n%s", p.name, err, p.tail())
	}
}

func (p *service) end() error {
	if p.done == nil {
		return nil
	}
	done := p.done
	p.done = nil
	select {
	case err := <-done:
		return fmt.Errorf("it ended by itself: %w", errors.Join(err, errors.New("before it was told to")))
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(45 * time.Second):
		_ = p.cmd.Process.Kill()
		return errors.Join(<-done, errors.New("SIGTERM did not end it within 45 s"))
	}
}

func (p *service) tail() string {
	text, _ := os.ReadFile(p.log)
	return lastLines(string(text), 30)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// client is a Kafka client of the test's own.
func (s *system) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted())}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

// record is a record of a topic with its decoded message.
type record struct {
	partition int32
	offset    int64
	message   schemas.Message
}

// read hands every committed record that stands on a topic now to fn, in the order of each partition.
func (s *system) read(topic schemas.Topic, fn func(record)) {
	s.t.Helper()
	dec := schemas.Decoder{SchemaType: s.types}
	s.raw(topic, func(r *kgo.Record) {
		typ, content := topic.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
		m, err := dec.Decode(typ, content, r.Value)
		if err != nil {
			s.t.Fatalf("%s/%d@%d: %v", r.Topic, r.Partition, r.Offset, err)
		}
		fn(record{r.Partition, r.Offset, m})
	})
}

// events reads the events topic: JSON by id. A doubled id fails.
func (s *system) events(bare bool) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	s.read(schemas.Events, func(r record) {
		e, ok := r.message.(*schemas.Event)
		if !ok {
			return
		}
		if err := schemas.Validate(e); err != nil {
			s.t.Errorf("event at %d/%d: %v", r.partition, r.offset, err)
		}
		if bare {
			e.Position = nil
		}
		text, err := schemas.MarshalJSON(e)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, twice := out[e.Id]; twice {
			s.t.Errorf("event %s stands twice on the topic", e.Id)
		}
		out[e.Id] = string(text)
	})
	return out
}

// raw is read before the records are decoded.
func (s *system) raw(topic schemas.Topic, fn func(*kgo.Record)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	name := s.prefix + topic.Name
	cl := s.client()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	if len(left) == 0 {
		return
	}
	reader := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: from}), kgo.KeepControlRecords())
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading %s: %v", name, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, open := left[r.Partition]
			if !open || r.Offset >= end {
				return
			}
			if r.Offset == end-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				fn(r)
			}
		})
	}
}

// await polls until ok, or fails.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, limit)
}

// awaitLag waits until a consumer group has committed all that its topic holds, the markers of transactions included.
func (s *system) awaitLag(group string, limit time.Duration) {
	s.t.Helper()
	adm := kadm.NewClient(s.client())
	await(s.t, limit, "group "+group+" catches up", func() bool {
		lags, err := adm.Lag(s.t.Context(), s.prefix+"tapewatch."+group)
		if err != nil {
			return false
		}
		l, ok := lags[s.prefix+"tapewatch."+group]
		if !ok || l.Error() != nil {
			return false
		}
		for _, parts := range l.Lag {
			for _, p := range parts {
				if p.Lag > 0 || p.Commit.At < 0 && p.End.Offset > 0 {
					return false
				}
			}
		}
		return len(l.Lag) > 0
	})
}

// freePort returns a free port on loopback.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
