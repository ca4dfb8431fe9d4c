package embedded

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string) *Broker {
	t.Helper()
	b, err := Start(Options{Dir: dir, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func connect(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, client *kgo.Client, name, policy string) {
	t.Helper()
	r, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy}, name)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
}

// values reads a topic from the start to its stable end.
func values(t *testing.T, b *Broker, topic string) []string {
	t.Helper()
	client := connect(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	end := b.Cluster().PartitionInfo(topic, 0).LastStableOffset
	var out []string
	for at := b.Cluster().PartitionInfo(topic, 0).LogStartOffset; at < end; {
		fs := client.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				out = append(out, string(r.Key)+"="+string(r.Value))
			}
		})
	}
	return out
}

func TestDataSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	client := connect(t, b, kgo.TransactionalID("t"))
	createTopic(t, client, "events", "delete")
	for _, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.KeySliceRecord([]byte("k"), fmt.Append(nil, bool(try)))).FirstErr(); err == nil {
			t.Fatal("a record without a topic was taken")
		}
		r := &kgo.Record{Topic: "events", Key: []byte("k"), Value: fmt.Append(nil, bool(try))}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), try); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(Options{Dir: dir, Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "another broker") {
		t.Fatalf("a second broker on the folder: error is %v", err)
	}
	client.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	again := start(t, dir)
	if got := fmt.Sprint(values(t, again, "events")); got != "[k=true]" {
		t.Errorf("after the restart the topic holds %s, must hold the committed record only", got)
	}
}

func TestStartCompactsOnlyWithoutOpenTransactions(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	client := connect(t, b, kgo.TransactionalID("t"), kgo.TransactionTimeout(10*time.Minute))
	createTopic(t, client, "state", "compact")
	createTopic(t, client, "other", "compact")
	begin := func() {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	put := func(topic, v string) {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"1", "2"} {
		begin()
		put("state", v)
		put("other", v)
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	put("state", "3") // superseded in a transaction that stays open over the restart
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(t, dir)
	if got := fmt.Sprint(values(t, b, "state")); got != "[k=1 k=2]" {
		t.Fatalf("with an open transaction the committed records are %s, must be [k=1 k=2]", got)
	}
	abort(t, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(t, dir)
	for _, topic := range []string{"state", "other"} {
		if got := fmt.Sprint(values(t, b, topic)); got != "[k=2]" {
			t.Errorf("after compaction %s holds %s, must hold the last committed record", topic, got)
		}
	}
}

// abort ends the open transaction as a restarted producer does.
func abort(t *testing.T, b *Broker) {
	t.Helper()
	client := connect(t, b)
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = new("t")
	req.TransactionTimeoutMillis = 60_000
	resp, err := req.RequestWith(t.Context(), client)
	if err != nil || kerr.ErrorForCode(resp.ErrorCode) != nil {
		t.Fatal(err, kerr.ErrorForCode(resp.ErrorCode))
	}
}

func TestSettings(t *testing.T) {
	b := start(t, "")
	admin := kadm.NewClient(connect(t, b))
	rs, err := admin.DescribeBrokerConfigs(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, c := range rs[0].Configs {
		have[c.Key] = c.MaybeValue()
	}
	for k, v := range settings {
		if have[k] != v {
			t.Errorf("%s is %q, must be %q", k, have[k], v)
		}
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, "test", "1"
	resp, err := req.RequestWith(t.Context(), connect(t, b))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel == 2 {
			return
		}
	}
	t.Error("the broker must speak transaction.version 2")
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, addr := range []string{"", "9092", ":9092", "0.0.0.0:9092", "[::]:9092", "localhost:kafka", "localhost:70000"} {
		if err := (Options{Addr: addr}).Validate(); err == nil {
			t.Errorf("%q was accepted", addr)
		}
	}
	b := start(t, "")
	if _, err := Start(Options{Dir: t.TempDir(), Addr: b.Addr()}); err == nil {
		t.Error("a port that is taken was accepted")
	}
}

func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("SKIPPED, nothing was tested: kcat is not installed")
	}
	b := start(t, t.TempDir())
	createTopic(t, connect(t, b), "events", "delete")
	run := func(stdin string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), kcat, append([]string{"-b", b.Addr()}, args...)...)
		cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat %v: %v", args, err)
		}
		return string(out)
	}
	run("a:1\nb:2\n", "-P", "-t", "events", "-K:")
	if got := run("", "-C", "-t", "events", "-o", "beginning", "-e", "-q", "-f", "%k=%s@%o\n"); got != "a=1@0\nb=2@1\n" {
		t.Errorf("kcat read %q", got)
	}
	if got := run("", "-L"); !strings.Contains(got, `topic "events" with 1 partitions`) {
		t.Errorf("kcat lists:\n%s", got)
	}
	if got := run("", "-G", "g", "-o", "beginning", "-X", "auto.offset.reset=earliest", "-c", "2", "-q", "-f", "%s", "events"); got != "12" {
		t.Errorf("kcat read %q as a group", got)
	}
}
