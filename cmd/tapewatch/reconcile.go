package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/reconcile"
)

func newReconcile(a *app) *cobra.Command {
	var parallel int
	cmd := &cobra.Command{
		Use: "reconcile NAME...", Short: "Compare the events of watchdogs with a replay of what they read", Args: someArgs(1, -1),
		Long: "Runs each named watchdog again over all that its group has committed, and prints every event in which the topic and the\n" +
			"replay differ: missing, extra, different (with the fields), twice, disordered. The group may be running. Nothing is written\n" +
			"to Kafka. The exit code is 3 when there are differences.",
		Example:           "tapewatch reconcile price_anomaly unusual_volume",
		ValidArgsFunction: completeProcessors(processor.Watchdog),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.reconcile(cmd.Context(), names, parallel)
		},
	}
	cmd.Flags().IntVar(&parallel, "parallel", 0, "partitions at a time; 0 means one per core")
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

func (a *app) reconcile(ctx context.Context, names []string, parallel int) error {
	types, err := a.schemaTypes(ctx)
	if err != nil {
		return err
	}
	data := []shownDifference{}
	l := listing{head: []string{"KIND", "PROCESSOR", "KEY", "TYPE", "STATUS", "EVENT TIME", "INPUT", "ID", "FIELDS"}}
	for _, name := range names {
		bound, err := a.settings.processor(name)
		if err != nil {
			return err
		}
		report, err := reconcile.Run(ctx, reconcile.Options{
			Cluster: a.settings.Kafka, Log: a.log, Bound: bound, Parallel: parallel, Policy: a.settings.timePolicy(), SchemaTypes: types,
			Tell: func(d reconcile.Difference) {
				e := d.Event
				s := shownDifference{
					Kind: d.Kind, Processor: name, ID: e.Id, Key: e.Key, Type: e.Type, Status: e.Status, EventTime: schemas.Time(e.EventTime).String(),
					Partition: e.Position.GetPartition(), Offset: e.Position.GetOffset(), Fields: d.Fields,
				}
				l.row(s.Kind, name, s.Key, s.Type, s.Status, s.EventTime, fmt.Sprintf("%d@%d", s.Partition, s.Offset), s.ID, orDash(strings.Join(s.Fields, "; ")))
				data = append(data, s)
			},
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "reconcile %s: %d records; %d events on the topic, %d replayed, %d differences\n",
			name, report.Input, report.Committed, report.Replayed, report.Differences)
		for _, why := range report.Inexact {
			fmt.Fprintf(a.stderr, "reconcile %s is inexact: %s\n", name, why)
		}
	}
	if len(data) == 0 && a.output == "table" {
		return nil
	}
	l.data = data
	if err := a.print(l); err != nil || len(data) == 0 {
		return err
	}
	return findings("%d differences", len(data))
}
