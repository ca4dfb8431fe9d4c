package testservices

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// KafkaControl is a cluster of its own for one test, whose nodes the test may kill and start again.
type KafkaControl struct {
	// Bootstrap is the comma-separated list of the nodes' addresses.
	Bootstrap string

	t   testing.TB
	dir string
}

// sharedKafka is the one-node cluster of the process. The mutex of OnceValues is the only guard that it needs.
var sharedKafka = sync.OnceValues(func() (string, error) {
	_, bootstrap, err := startKafka(1)
	return bootstrap, err
})

// Kafka returns the bootstrap address of a one-node cluster that all tests of the process share, so topics, groups and
// transactional ids need names of their own. Topics are not created by themselves.
func Kafka(t testing.TB) string {
	t.Helper()
	bootstrap, err := sharedKafka()
	if err != nil {
		unavailable(t, "KAFKA", err)
	}
	return bootstrap
}

// KafkaCluster starts a cluster of the given number of nodes, numbered from 1, and stops it when the test ends. With
// three nodes topics have three replicas, two of which must be in sync.
func KafkaCluster(t testing.TB, nodes int) *KafkaControl {
	t.Helper()
	dir, bootstrap, err := startKafka(nodes)
	if err != nil {
		unavailable(t, "KAFKA", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(func() {
		if _, err := script("kafka.sh", "stop", dir); err != nil {
			t.Errorf("stopping Kafka: %v", err)
		}
	})
	return &KafkaControl{Bootstrap: bootstrap, t: t, dir: dir}
}

// Kill sends the signal to a node and returns at once. SIGKILL is a crash, SIGTERM a clean stop, SIGSTOP a hang that
// SIGCONT ends.
func (k *KafkaControl) Kill(node int, signal syscall.Signal) {
	k.t.Helper()
	if _, err := script("kafka.sh", "kill", k.dir, strconv.Itoa(node), strconv.Itoa(int(signal))); err != nil {
		k.t.Fatalf("signalling Kafka node %d: %v", node, err)
	}
}

// Restart starts a node that has ended again on its data, and returns when it is a live broker of the cluster. A node
// that was killed an instant ago is waited for.
func (k *KafkaControl) Restart(node int) {
	k.t.Helper()
	if _, err := script("kafka.sh", "restart", k.dir, strconv.Itoa(node)); err != nil {
		log := filepath.Join(k.dir, "b"+strconv.Itoa(node)+".log")
		k.t.Fatalf("restarting Kafka node %d: %v\n%s", node, err, tail(log))
	}
}

func startKafka(nodes int) (dir, bootstrap string, err error) {
	offsets := make([]int, 0, 2*nodes)
	for i := range nodes {
		offsets = append(offsets, i, 100+i)
	}
	return startOnFreePorts("kafka", offsets, func(dir string, port int) (string, error) {
		return script("kafka.sh", "start", dir, strconv.Itoa(nodes), strconv.Itoa(port))
	})
}
