package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/stream/embedded"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func newUp(a *app) *cobra.Command {
	var leave bool
	cmd := &cobra.Command{
		Use: "up", Short: "Run everything in one process, on the embedded broker", Args: noArgs,
		Long: "Starts the embedded broker (or uses kafka.brokers where that is set), makes the topics, and runs the sources of\n" +
			"sources.use, every stage and watchdog as its own consumer group, and the sinks that are configured. It says what it does\n" +
			"not run, and why. The broker's data stay in broker.dir: the next up goes on where this one stopped.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.up(cmd.Context(), leave)
		},
	}
	cmd.Flags().BoolVar(&leave, "leave", false, "give the partitions up at once at the end; without it they wait for the restart")
	slotFlags(cmd)
	return cmd
}

// roll is the list of what up runs and what it does not.
type roll struct{ running, idle [][2]string }

func (r *roll) runs(name, detail string) { r.running = append(r.running, [2]string{name, detail}) }
func (r *roll) leaves(name, why string)  { r.idle = append(r.idle, [2]string{name, why}) }
func (r *roll) write(a *app) {
	w := tabwriter.NewWriter(a.stderr, 0, 8, 2, ' ', 0)
	for _, l := range r.running {
		fmt.Fprintf(w, "running\t%s\t%s\n", l[0], l[1])
	}
	for _, l := range r.idle {
		fmt.Fprintf(w, "not running\t%s\t%s\n", l[0], l[1])
	}
	_ = w.Flush() // standard error is gone: there is nobody to tell
}

func (a *app) up(ctx context.Context, leave bool) (err error) {
	r := &roll{}
	if a.tree.Field("kafka.brokers").Origin == "default" {
		o := a.settings.Broker
		o.Log = a.onlyWarnings()
		broker, err := embedded.Start(o)
		if err != nil {
			return fmt.Errorf("%w (another address: -s broker.addr=127.0.0.1:0, a broker of your own: --brokers)", err)
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		a.settings.Kafka = a.settings.Kafka.At(broker.Addr())
		r.runs("broker", fmt.Sprintf("embedded, %s, data in %s", broker.Addr(), orMemory(o.Dir)))
	} else {
		r.runs("broker", "kafka.brokers "+strings.Join(a.settings.Kafka.Brokers, ","))
	}
	plan, err := a.planTopics(ctx)
	if err != nil {
		return err
	}
	if err := plan.Apply(ctx); err != nil {
		return err
	}
	return a.runParts(ctx, func(ctx context.Context, p *process, g *errgroup.Group) error {
		if err := a.upProcessors(ctx, p, g, r, leave); err != nil {
			return err
		}
		if err := a.upSources(ctx, p, g, r); err != nil {
			return err
		}
		if err := a.upSinks(ctx, p, g, r); err != nil {
			return err
		}
		if err := a.upAPI(ctx, p, g, r); err != nil {
			return err
		}
		r.write(a)
		return nil
	})
}

func orMemory(dir string) string {
	if dir == "" {
		return "memory"
	}
	return dir
}

// upProcessors starts every processor that is switched on.
func (a *app) upProcessors(ctx context.Context, p *process, g *errgroup.Group, r *roll, leave bool) error {
	for _, d := range processor.All() {
		s := a.settings.processors[d.Name]
		name := string(d.Kind) + " " + d.Name
		switch {
		case !s.Enabled:
			r.leaves(name, "processors."+d.Name+".enabled is false")
		case d.Kind == processor.Watchdog && !a.settings.Watchdogs.Enabled:
			r.leaves(name, "watchdogs.enabled is false")
		default:
			if err := p.group(ctx, g, s.bound, leave); err != nil {
				return err
			}
			r.runs(name, d.Input.Name+" to "+d.Output.Name)
		}
	}
	return nil
}

// upSources starts the sources of sources.use. A source that has come to its end leaves the rest running.
func (a *app) upSources(ctx context.Context, p *process, g *errgroup.Group, r *roll) error {
	for _, name := range sourceNames() {
		if !slices.Contains(a.settings.Sources.Use, name) {
			r.leaves("source "+name, "not in sources.use")
			continue
		}
		if err := p.source(ctx, g, name, nil, func(err error) error { return err }); err != nil {
			return err
		}
		r.runs("source "+name, "")
	}
	return nil
}

func (a *app) upSinks(ctx context.Context, p *process, g *errgroup.Group, r *roll) error {
	for _, name := range sinkNames {
		if why := a.settings.idleSink(name); why != "" {
			r.leaves("sink "+name, why)
			continue
		}
		if err := p.sink(ctx, g, name); err != nil {
			return err
		}
		a.log.Debug("sink is starting", slog.String("sink", name))
		r.runs("sink "+name, "")
	}
	return nil
}
