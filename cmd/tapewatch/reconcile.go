package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/reconcile"
)

// reconcileFlags are the flags of reconcile.
type reconcileFlags struct {
	rangeFlags
	historyFlags

	parallel int
}

func newReconcile(a *app) *cobra.Command {
	var f reconcileFlags
	cmd := &cobra.Command{
		Use: "reconcile [NAME...]", Short: "Compare the events of watchdogs with a replay of what they read", Args: someArgs(0, -1),
		Long: "Runs each named watchdog, without a name every one whose group has committed something, again over what its group has\n" +
			"committed, and prints every event in which the topic and the replay differ: missing, extra, different (with the fields), twice,\n" +
			"disordered. As replay does, it starts with the group's newest checkpoint before the stretch and follows the configurations that\n" +
			"the group ran under. The group may be running. Nothing is written to Kafka. The exit code is 3 when there are differences.",
		Example:           "tapewatch reconcile\ntapewatch reconcile price_anomaly unusual_volume --from 2026-01-05T00:00:00Z --to 2026-01-06T00:00:00Z",
		ValidArgsFunction: completeProcessors(processor.Watchdog),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.reconcile(cmd.Context(), names, f)
		},
	}
	f.rangeFlags.register(cmd, stretchHelp)
	f.historyFlags.register(cmd)
	cmd.Flags().IntVar(&f.parallel, "parallel", 0, "partitions at a time; 0 means one per core")
	return cmd
}

// shownDifference is a difference as the command prints it.
type shownDifference struct {
	Kind      string   `json:"kind"`
	Processor string   `json:"processor"`
	ID        string   `json:"id"`
	Key       string   `json:"key"`
	Type      string   `json:"type"`
	Status    string   `json:"status"`
	EventTime string   `json:"event_time"`
	Partition int32    `json:"input_partition"`
	Offset    int64    `json:"input_offset"`
	Fields    []string `json:"fields,omitempty"`
}

func showDifference(name string, d reconcile.Difference) shownDifference {
	e := d.Event
	return shownDifference{
		Kind: d.Kind, Processor: name, ID: e.Id, Key: e.Key, Type: e.Type, Status: e.Status, EventTime: schemas.Time(e.EventTime).String(),
		Partition: e.Position.GetPartition(), Offset: e.Position.GetOffset(), Fields: d.Fields,
	}
}

func (a *app) reconcile(ctx context.Context, names []string, f reconcileFlags) error {
	o := reconcile.Options{Cluster: a.settings.Kafka, Log: a.log, Parallel: f.parallel, Policy: a.settings.timePolicy()}
	var err error
	if o.SchemaTypes, err = a.schemaTypes(ctx); err != nil {
		return err
	}
	if o.Range, err = f.topicRange(); err != nil {
		return err
	}
	all := len(names) == 0
	if all {
		names = watchdogs()
	}
	data := []shownDifference{}
	compared := 0
	for _, name := range names {
		o.Tell = func(d reconcile.Difference) { data = append(data, showDifference(name, d)) }
		o.Range.Recorded = f.recorded(a, name)
		if err := a.reconcileOne(ctx, name, o); err != nil {
			if all && errors.Is(err, reconcile.ErrIdle) {
				continue
			}
			return err
		}
		compared++
	}
	if compared == 0 {
		return fmt.Errorf("%w: the group of no watchdog has committed anything: start one with `tapewatch detect NAME`", reconcile.ErrIdle)
	}
	if len(data) == 0 && a.output == "table" {
		return nil
	}
	l := listing{head: []string{"KIND", "PROCESSOR", "KEY", "TYPE", "STATUS", "EVENT TIME", "INPUT", "ID", "FIELDS"}, data: data}
	for _, s := range data {
		l.row(s.Kind, s.Processor, s.Key, s.Type, s.Status, s.EventTime, fmt.Sprintf("%d@%d", s.Partition, s.Offset), s.ID, orDash(strings.Join(s.Fields, "; ")))
	}
	if err := a.print(l); err != nil || len(data) == 0 {
		return err
	}
	return findings("%d differences", len(data))
}

// reconcileOne compares one watchdog and says what was compared.
func (a *app) reconcileOne(ctx context.Context, name string, o reconcile.Options) (err error) {
	if o.Bound, err = a.settings.processor(name); err != nil {
		return err
	}
	report, err := reconcile.Run(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "reconcile %s: %d records; %d events on the topic, %d replayed, %d differences\n",
		name, report.Input, report.Committed, report.Replayed, report.Differences)
	for _, note := range report.Notes {
		fmt.Fprintf(a.stderr, "reconcile %s: %s\n", name, note)
	}
	for _, why := range report.Inexact {
		fmt.Fprintf(a.stderr, "reconcile %s is inexact: %s\n", name, why)
	}
	return nil
}

// watchdogs are the names of all watchdogs.
func watchdogs() (names []string) {
	for _, d := range processor.All() {
		if d.Kind == processor.Watchdog {
			names = append(names, d.Name)
		}
	}
	return names
}
