package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/stream/processor"
)

// runParts runs what start starts, together with the background of every process, until ctx ends or a part fails.
func (a *app) runParts(ctx context.Context, start func(ctx context.Context, p *process, g *errgroup.Group) error) error {
	p := newProcess(a)
	g, ctx := errgroup.WithContext(ctx)
	if err := start(ctx, p, g); err != nil {
		return err
	}
	p.background(ctx, g)
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// newProcessors makes the detect and stage commands: they run processors of a kind, each as its own consumer group.
func newProcessors(a *app, use, short, long string, kind processor.Kind) *cobra.Command {
	var leave bool
	cmd := &cobra.Command{
		Use: use + " NAME...", Short: short, Long: long, Args: someArgs(1, -1), ValidArgsFunction: completeProcessors(kind),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			var bounds []*processor.Bound
			for _, name := range args {
				b, err := a.settings.processor(name)
				if err != nil {
					return err
				}
				if b.Kind != kind {
					return usage("processor %s is a %s: run it by `tapewatch %s %s`", name, b.Kind, commandOf(b.Kind), name)
				}
				if kind == processor.Watchdog && !a.settings.Watchdogs.Enabled {
					return usage("processor %s is not run: watchdogs.enabled is false", name)
				}
				if !a.settings.processors[name].Enabled {
					return usage("processor %s is not run: processors.%s.enabled is false", name, name)
				}
				bounds = append(bounds, b)
			}
			return a.runParts(cmd.Context(), func(ctx context.Context, p *process, g *errgroup.Group) error {
				for _, b := range bounds {
					if err := p.group(ctx, g, b, leave); err != nil {
						return err
					}
					a.log.Info("processor is starting", slog.String("processor", b.Name), slog.Int("slot", a.settings.Process.slot()), slog.String("config_hash", b.ConfigHash))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&leave, "leave", false, "give the partitions up at once at the end; without it they wait for the restart")
	slotFlags(cmd)
	return cmd
}

func slotFlags(cmd *cobra.Command) {
	cmd.Flags().Int("slot", -1, "number of this process among its twins; -1 takes the number at the end of the host's name, else 0")
	cmd.Flags().String("name", "", "name of this process on the health pages (setting process.name)")
}

func commandOf(k processor.Kind) string {
	switch k {
	case processor.Watchdog:
		return "detect"
	case processor.Stage:
		return "stage"
	case processor.Worker:
		return "analyze"
	}
	return fmt.Sprintf("(no command for %s)", k)
}

// completeProcessors offers the processors of a kind, or of every kind for "".
func completeProcessors(kind processor.Kind) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, d := range processor.All() {
			if kind == "" || d.Kind == kind {
				names = append(names, d.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

const (
	detectLong = "Runs each named watchdog as its own consumer group in this process. Several processes with different slots share the\n" +
		"partitions. SIGTERM drains, commits and snapshots; the partitions wait for the restart unless --leave gives them up."
	stageLong = "Runs each named stage (a processor whose output is another processor's input, such as bars) as its own consumer\n" +
		"group in this process, as detect does for watchdogs."
)
