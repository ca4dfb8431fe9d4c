package stream

import (
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/stream/processor"
)

// Config is how processor groups run.
type Config struct {
	Transactions      bool          `koanf:"transactions" doc:"Commit outputs, offsets and snapshots in one Kafka transaction (exactly once); false is at least once."`
	OldTransactions   bool          `koanf:"allow_old_transactions" doc:"Run, with a warning, on brokers whose transaction.version is below 2, where a delayed request can tear a transaction."`
	SessionTimeout    time.Duration `koanf:"session_timeout" doc:"Time without a heartbeat after which the broker takes a member for dead."`
	Heartbeat         time.Duration `koanf:"heartbeat_interval" doc:"Time between heartbeats."`
	Rebalance         time.Duration `koanf:"rebalance_timeout" doc:"Time that members have to give up partitions in a rebalance."`
	Transaction       time.Duration `koanf:"transaction_timeout" doc:"Age at which the broker aborts an open transaction; must be more than session_timeout plus rebalance_timeout, but small, as a hung owner holds back every reader so long."`
	CommitInterval    time.Duration `koanf:"commit_interval" doc:"Age at which a transaction ends although more records are at hand."`
	CommitRecords     int           `koanf:"commit_records" doc:"Records after which a transaction ends although more are at hand."`
	SecondPoll        time.Duration `koanf:"second_poll" doc:"Longest wait for more records before a transaction ends; 0 waits not at all."`
	SnapshotInterval  time.Duration `koanf:"snapshot_interval" doc:"Time between snapshots of a partition that has input."`
	SnapshotRecords   int           `koanf:"snapshot_records" doc:"Input records after which a partition is snapshotted before the interval is over."`
	FetchWait         time.Duration `koanf:"fetch_max_wait" doc:"Longest time that the broker holds an empty fetch."`
	FetchBytes        int           `koanf:"fetch_max_bytes" doc:"Bytes of one fetch, compressed; memory is this times the brokers times the compression ratio."`
	StopDeadline      time.Duration `koanf:"stop_deadline" doc:"Time that a graceful stop has to commit and snapshot."`
	Restarts          int           `koanf:"max_restarts" doc:"New clients in a row, without one commit between them, before the group gives up."`
	PoisonThreshold   int           `koanf:"poison_threshold" doc:"Dead letters in a row on one partition at which the group reports itself unhealthy."`
	Lateness          time.Duration `koanf:"allowed_lateness" doc:"How far behind its source's last tick a record may be without being late."`
	Future            time.Duration `koanf:"max_future" doc:"How far after its source's last tick a record may lie; beyond that it is a dead letter."`
	Silence           time.Duration `koanf:"max_silence" doc:"How far one silent source may hold back the time of a key that has other sources."`
	RestoreStallAfter time.Duration `koanf:"restore_stall" doc:"Time without progress after which a restore fails; must be more than transaction_timeout plus 15 s."`
}

// Defaults are the settings that were measured to be good.
func Defaults() Config {
	p := processor.DefaultTimePolicy()
	return Config{
		Transactions: true, SessionTimeout: 6 * time.Second, Heartbeat: time.Second, Rebalance: 10 * time.Second,
		Transaction: 20 * time.Second, CommitInterval: 100 * time.Millisecond, CommitRecords: 250_000, SecondPoll: time.Millisecond,
		SnapshotInterval: 5 * time.Second, SnapshotRecords: 2_000_000, FetchWait: 100 * time.Millisecond, FetchBytes: 4 << 20,
		StopDeadline: 15 * time.Second, Restarts: 10, PoisonThreshold: 100,
		Lateness: p.Lateness, Future: p.Future, Silence: p.Silence, RestoreStallAfter: stallAfter,
	}
}

// Validate checks the settings against each other.
func (c Config) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"session_timeout", c.SessionTimeout},
		{"heartbeat_interval", c.Heartbeat},
		{"rebalance_timeout", c.Rebalance},
		{"commit_interval", c.CommitInterval},
		{"snapshot_interval", c.SnapshotInterval},
		{"fetch_max_wait", c.FetchWait},
		{"stop_deadline", c.StopDeadline},
		{"max_future", c.Future},
	} {
		if d.value <= 0 {
			return fmt.Errorf("stream.%s is %v: it must be greater than zero", d.name, d.value)
		}
	}
	switch {
	case c.Transaction <= c.SessionTimeout+c.Rebalance:
		return fmt.Errorf("stream.transaction_timeout is %v: it must be more than session_timeout plus rebalance_timeout (%v), else every rebalance fences its members",
			c.Transaction, c.SessionTimeout+c.Rebalance)
	case c.Heartbeat >= c.SessionTimeout:
		return fmt.Errorf("stream.heartbeat_interval is %v: it must be less than session_timeout (%v)", c.Heartbeat, c.SessionTimeout)
	case c.RestoreStallAfter < c.Transaction+15*time.Second:
		return fmt.Errorf("stream.restore_stall is %v: it must be at least transaction_timeout plus 15 s (%v)", c.RestoreStallAfter, c.Transaction+15*time.Second)
	case c.CommitRecords <= 0 || c.SnapshotRecords <= 0 || c.PoisonThreshold <= 0 || c.Restarts < 0:
		return fmt.Errorf("stream.commit_records, snapshot_records, poison_threshold are %d, %d, %d: they must be greater than zero, and max_restarts (%d) not negative",
			c.CommitRecords, c.SnapshotRecords, c.PoisonThreshold, c.Restarts)
	case c.FetchBytes < 64<<10:
		return fmt.Errorf("stream.fetch_max_bytes is %d: it must be at least 65536", c.FetchBytes)
	case c.SecondPoll < 0 || c.Lateness < 0 || c.Silence < 0:
		return fmt.Errorf("stream.second_poll, allowed_lateness, max_silence are %v, %v, %v: they must not be negative", c.SecondPoll, c.Lateness, c.Silence)
	}
	return nil
}

func (c Config) policy() processor.TimePolicy {
	return processor.TimePolicy{Lateness: c.Lateness, Future: c.Future, Silence: c.Silence}
}
