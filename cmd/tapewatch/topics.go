package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/stream/topics"
)

func newTopics(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "topics", Short: "List, plan and make the topics", Args: noArgs, RunE: help}
	cmd.AddCommand(newTopicsList(a), newTopicsPlan(a), newTopicsApply(a))
	return cmd
}

// shownTopic is one topic as `topics list` prints it.
type shownTopic struct {
	Name       string   `json:"name"`
	Key        string   `json:"key"`
	Types      []string `json:"types"`
	Partitions int      `json:"partitions"`
	Kept       string   `json:"kept"`
	Exists     bool     `json:"exists"`
	Offsets    int64    `json:"offsets"`
	Summary    string   `json:"summary"`
}

func newTopicsList(a *app) *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the topics, with what the cluster has of each", Args: noArgs,
		Example: "tapewatch topics list --offline --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			rows, err := a.topicRows(cmd.Context(), offline)
			if err != nil {
				return err
			}
			data := make([]shownTopic, 0, len(rows))
			l := listing{head: []string{"TOPIC", "KEY", "RECORDS", "PARTITIONS", "KEPT", "OFFSETS"}}
			for _, r := range rows {
				count, offsets := int(r.Topic.Partitions), "-"
				if r.Exists {
					count, offsets = r.Partitions, strconv.FormatInt(r.Offsets, 10)
				} else if !offline {
					offsets = "missing"
				}
				l.row(r.OnCluster, r.Key, strings.Join(r.Types, ","), count, kept(r.Topic), offsets)
				data = append(data, shownTopic{r.OnCluster, string(r.Key), r.Types, count, kept(r.Topic), r.Exists, r.Offsets, r.Summary})
			}
			l.data = data
			return a.print(l)
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "only the catalogue; ask no broker")
	return cmd
}

func (a *app) topicRows(ctx context.Context, offline bool) ([]topics.Row, error) {
	if !offline {
		return topics.List(ctx, a.settings.Kafka, a.log, topics.All())
	}
	var rows []topics.Row
	for _, t := range topics.All() {
		rows = append(rows, topics.Row{Topic: t, OnCluster: a.settings.Kafka.Topic(t.Name)})
	}
	return rows, nil
}

func (a *app) planTopics(ctx context.Context) (*topics.Plan, error) {
	return topics.MakePlan(ctx, a.settings.Kafka, a.settings.Topics, a.log, topics.All())
}

// printPlan prints a plan as a difference, or as data.
func (a *app) printPlan(p *topics.Plan) error {
	if a.output != "table" {
		return a.print(listing{data: p.Steps})
	}
	_, err := fmt.Fprint(a.stdout, p)
	return err
}

func newTopicsPlan(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "plan", Short: "Say what apply would do; 3 when there is something to do or to refuse", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			p, err := a.planTopics(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printPlan(p); err != nil {
				return err
			}
			if n := len(p.Refused()); n > 0 {
				return findings("%d topics are refused", n)
			}
			if p.Changes() {
				return findings("the topics are not what they must be: `tapewatch topics apply`")
			}
			return nil
		},
	}
}

func newTopicsApply(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "apply", Short: "Make the topics and set their settings; never deletes one, never changes a partition count", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			p, err := a.planTopics(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printPlan(p); err != nil || dry {
				return err
			}
			return p.Apply(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only print the plan")
	return cmd
}

// completeTopics offers topic names.
func completeTopics(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, t := range topics.All() {
		names = append(names, t.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
