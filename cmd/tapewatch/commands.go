package main

import (
	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/stream/processor"
)

// commands are all subcommands, in the order of the help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newUp(a), newIngest(a),
		newProcessors(a, "detect", "Run watchdogs", detectLong, processor.Watchdog),
		newProcessors(a, "stage", "Run stages", stageLong, processor.Stage),
		newSink(a), newServe(a), newLoopback(a),
		newDoctor(a), newHealthcheck(a), newReplay(a), newReconcile(a), newTail(a), newDump(a), newTopics(a), newFeeds(a), newDLQ(a), newConfig(a), newEvaluate(a), newVersion(a), newMan(),
	}
}
