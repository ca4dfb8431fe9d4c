package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tapewatch/tapewatch/stream/topics"
)

// checkup is one line of the doctor.
type checkup struct {
	Check string `json:"check"`
	// Status is ok, warn, fail or skip.
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// examination collects checkups.
type examination struct {
	app    *app
	checks []checkup
}

func (e *examination) say(check, status, format string, args ...any) {
	e.checks = append(e.checks, checkup{check, status, fmt.Sprintf(format, args...)})
}

func newDoctor(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check broker, topics, registry, Postgres and Redis; 3 when something fails", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			e := &examination{app: a}
			e.kafka(ctx)
			e.registry(ctx)
			e.postgres(ctx)
			e.redis(ctx)
			l := listing{head: []string{"CHECK", "STATUS", "DETAIL"}, data: e.checks}
			failed := 0
			for _, c := range e.checks {
				l.row(c.Check, c.Status, c.Detail)
				if c.Status == "fail" {
					failed++
				}
			}
			if err := a.print(l); err != nil {
				return err
			}
			if failed > 0 {
				return findings("%d of %d checks failed", failed, len(e.checks))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 20*time.Second, "how long all checks may take")
	return cmd
}

func (e *examination) kafka(ctx context.Context) {
	c := e.app.settings.Kafka
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.RetryTimeout(5*time.Second), kgo.DialTimeout(3*time.Second))...)
	if err != nil {
		e.say("kafka", "fail", "%v", err)
		return
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	within, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	brokers, err := adm.ListBrokers(within)
	if err != nil {
		e.say("kafka", "fail", "%v: %v", c.Brokers, err)
		return
	}
	e.say("kafka", "ok", "%d brokers behind %v", len(brokers), c.Brokers)
	e.transactions(ctx, cl)
	if len(brokers) > 0 {
		e.backoff(ctx, adm, brokers[0].NodeID)
	}
	e.topics(ctx)
}

// transactions asks for the feature that keeps a delayed request from ending a later transaction.
func (e *examination) transactions(ctx context.Context, cl *kgo.Client) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "tapewatch", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		e.say("transaction.version", "fail", "%v", err)
		return
	}
	version := int16(0)
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			version = f.MaxVersionLevel
		}
	}
	switch {
	case version >= 2:
		e.say("transaction.version", "ok", "%d", version)
	case e.app.settings.Stream.OldTransactions:
		e.say("transaction.version", "warn", "%d: below 2 a delayed request can tear a transaction; stream.allow_old_transactions runs anyway", version)
	default:
		e.say("transaction.version", "fail", "%d: it must be 2 (Kafka 4.0 or later, upgraded by kafka-features); stream.allow_old_transactions runs anyway", version)
	}
}

// backoff finds the broker setting that every commit waits for.
func (e *examination) backoff(ctx context.Context, adm *kadm.Client, node int32) {
	const name = "add.partitions.to.txn.retry.backoff.ms"
	configs, err := adm.DescribeBrokerConfigs(ctx, node)
	if err != nil || len(configs) == 0 || configs[0].Err != nil {
		e.say(name, "skip", "the broker does not tell its settings")
		return
	}
	for _, c := range configs[0].Configs {
		if c.Key != name || c.Value == nil {
			continue
		}
		ms, err := strconv.Atoi(*c.Value)
		if err == nil && ms > 5 {
			e.say(name, "warn", "%d: every commit may wait so long for the markers of the one before; 1 to 5 is better", ms)
			return
		}
		e.say(name, "ok", "%s", *c.Value)
		return
	}
	e.say(name, "skip", "the broker has no such setting")
}

func (e *examination) registry(ctx context.Context) {
	c := e.app.settings.Kafka
	if c.Registry == "" {
		e.say("schema registry", "skip", "kafka.schema_registry is empty")
		return
	}
	cl, err := sr.NewClient(c.RegistryOptions()...)
	if err == nil {
		_, err = cl.Subjects(ctx)
	}
	if err != nil {
		e.say("schema registry", "fail", "%s: %v", c.Registry, err)
		return
	}
	e.say("schema registry", "ok", "%s", c.Registry)
}

func (e *examination) postgres(ctx context.Context) {
	url := e.app.settings.Postgres.URL
	if url.IsZero() {
		e.say("postgres", "skip", "sinks.postgres.url is empty")
		return
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(within, url.Reveal())
	if err != nil {
		// The driver's message would show user, host and database; the log of the sink tells more.
		e.say("postgres", "fail", "cannot connect: %v", unwrapAll(err))
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version string
	var now time.Time
	began := time.Now()
	if err := conn.QueryRow(within, "select current_setting('server_version'), clock_timestamp()").Scan(&version, &now); err != nil {
		e.say("postgres", "fail", "%v", err)
		return
	}
	e.say("postgres", "ok", "version %s", version)
	e.clock("postgres", now, began)
}

func (e *examination) redis(ctx context.Context) {
	url := e.app.settings.Redis.URL
	if url.IsZero() {
		e.say("redis", "skip", "sinks.redis.url is empty")
		return
	}
	o, err := redis.ParseURL(url.Reveal())
	if err != nil {
		e.say("redis", "fail", "sinks.redis.url cannot be read: it must be like redis://host:6379/0")
		return
	}
	cl := redis.NewClient(o)
	defer func() { _ = cl.Close() }() // after reading: nothing is lost
	began := time.Now()
	now, err := cl.Time(ctx).Result()
	if err != nil {
		e.say("redis", "fail", "%v", err)
		return
	}
	e.say("redis", "ok", "answers in %v", time.Since(began).Round(time.Microsecond))
	e.clock("redis", now, began)
}

// clock compares this machine's clock with another's, read at some time between began and now.
func (e *examination) clock(of string, there, began time.Time) {
	trip := time.Since(began)
	skew := there.Sub(began.Add(trip / 2))
	if skew.Abs() > time.Second+trip/2 {
		e.say("clock", "warn", "%s is %v ahead of this machine", of, skew.Round(time.Millisecond))
		return
	}
	e.say("clock", "ok", "within %v of %s", (skew.Abs() + trip/2).Round(time.Millisecond), of)
}

// unwrapAll returns the innermost error.
func unwrapAll(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok || inner.Unwrap() == nil {
			return err
		}
		err = inner.Unwrap()
	}
}

// topics compares the topics with the catalogue.
func (e *examination) topics(ctx context.Context) {
	p, err := e.app.planTopics(ctx)
	switch {
	case err != nil:
		e.say("topics", "fail", "%v", err)
	case len(p.Refused()) > 0:
		refused := p.Refused()
		e.say("topics", "fail", "%d of %d cannot be mended; %s: %s", len(refused), len(p.Steps), refused[0].Topic, refused[0].Reason)
	case p.Changes():
		n := 0
		for _, s := range p.Steps {
			if s.Action == topics.Create || s.Action == topics.Alter {
				n++
			}
		}
		e.say("topics", "fail", "%d of %d are missing or differ: `tapewatch topics plan` says how, `tapewatch topics apply` mends it", n, len(p.Steps))
	default:
		e.say("topics", "ok", "%d, partitions and settings as they must be", len(p.Steps))
	}
}
