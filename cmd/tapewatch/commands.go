package main

import "github.com/spf13/cobra"

// commands are all subcommands, in the order of the help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newTopics(a), newDLQ(a), newConfig(a), newVersion(a), newMan(),
	}
}
