// Package embedded runs the broker that `tapewatch up` brings along: franz-go's kfake with a data directory, on a real
// port, so that kcat and every other client work with it. It has one node and no replication; a kill loses nothing that
// reached the operating system.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options say where the broker listens and where it keeps its data.
type Options struct {
	Dir  string `koanf:"dir" doc:"Folder of the broker's data; empty keeps everything in memory and forgets it at the end."`
	Addr string `koanf:"addr" doc:"host:port to listen on, and the address that clients are told; port 0 takes a free one."`
	Sync bool   `koanf:"sync" doc:"Write every batch through to the disk: survives a loss of power, and is slower."`
	// Log takes the broker's own messages; nil drops them.
	Log *slog.Logger `koanf:"-"`
}

// Defaults listens on this machine only, on Kafka's usual port.
func Defaults() Options { return Options{Dir: "data/broker", Addr: "127.0.0.1:9092"} }

// Validate checks the options.
func (o Options) Validate() error {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return fmt.Errorf("broker.addr is %q: it must be host:port: %w", o.Addr, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("broker.addr is %q: the port must be a number from 0 to 65535", o.Addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("broker.addr is %q: it must name one address, as clients are told to connect there", o.Addr)
	}
	return nil
}

// A Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	lock    *lock
	done    chan struct{}
	wait    sync.WaitGroup
	once    sync.Once
}

// The settings of every embedded broker. Compaction by kfake ignores open transactions and can lose committed state, so
// it never runs beside clients: its own timer is set beyond any run, and Start compacts before anyone can connect.
var settings = map[string]string{
	"log.cleaner.backoff.ms":     "3153600000000", // a hundred years
	"default.replication.factor": "1",
	"transaction.max.timeout.ms": "900000",
	// Committed offsets are never forgotten: a group may be down for months.
	"offsets.retention.minutes": "52560000",
}

// RetentionInterval is how often records older than their topic's retention are dropped.
const RetentionInterval = 10 * time.Minute

// Start opens the data directory and listens. The caller closes the broker.
func Start(o Options) (*Broker, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{done: make(chan struct{})}
	var door *gate
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("tapewatch-embedded"),
		kfake.BrokerConfigs(settings),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			l, err := net.Listen("tcp", o.Addr)
			if err != nil {
				return nil, err
			}
			door = newGate(l)
			return door, nil
		}),
	}
	if o.Log != nil {
		opts = append(opts, kfake.WithLogger(logger{o.Log}))
	}
	if o.Dir != "" {
		l, err := lockDir(o.Dir)
		if err != nil {
			return nil, err
		}
		b.lock = l
		opts = append(opts, kfake.DataDir(filepath.Join(o.Dir, "log")))
	}
	if o.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded broker on %s: %w", o.Addr, err), b.lock.release())
	}
	b.cluster = cluster
	if err := tidy(cluster, door, o.Log); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	door.open()
	b.wait.Go(b.retain)
	return b, nil
}

// Addr returns the address that clients connect to.
func (b *Broker) Addr() string { return b.cluster.ListenAddrs()[0] }

// Cluster returns the broker itself, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close writes what is in memory and stops. Further calls do nothing.
func (b *Broker) Close() error {
	var err error
	b.once.Do(func() {
		close(b.done)
		b.wait.Wait()
		b.cluster.Close()
		err = b.lock.release()
	})
	return err
}

// retain drops old records. Retention is a matter of wall time: how long a disk keeps things.
func (b *Broker) retain() {
	ticker := time.NewTicker(RetentionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-ticker.C:
			b.cluster.ApplyRetention()
		}
	}
}
