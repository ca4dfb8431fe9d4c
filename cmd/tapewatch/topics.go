package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// allTopics are the catalogue's topics and the state topic of every registered processor.
func allTopics() []schemas.Topic {
	all := schemas.Catalogue()
	for _, d := range processor.All() {
		all = append(all, schemas.StateTopic(d.Name))
	}
	return all
}

func newTopics(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "topics", Short: "List, plan and make the topics", Args: noArgs, RunE: help}
	cmd.AddCommand(newTopicsList(a))
	return cmd
}

// shownTopic is one topic as `topics list` prints it.
type shownTopic struct {
	Name       string   `json:"name"`
	Key        string   `json:"key"`
	Types      []string `json:"types"`
	Partitions int32    `json:"partitions"`
	Kept       string   `json:"kept"`
	Summary    string   `json:"summary"`
}

func newTopicsList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the catalogue of topics; asks no broker", Args: noArgs,
		Example: "tapewatch topics list --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			var data []shownTopic
			l := listing{head: []string{"TOPIC", "KEY", "RECORDS", "PARTITIONS", "KEPT"}}
			for _, t := range allTopics() {
				name := a.settings.Kafka.Topic(t.Name)
				l.row(name, t.Key, strings.Join(t.Types, ","), t.Partitions, kept(t))
				data = append(data, shownTopic{name, string(t.Key), t.Types, t.Partitions, kept(t), t.Summary})
			}
			l.data = data
			return a.print(l)
		},
	}
}

// completeTopics offers topic names.
func completeTopics(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, t := range allTopics() {
		names = append(names, t.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
