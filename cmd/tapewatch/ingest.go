package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// ingestFlags are the flags of ingest.
type ingestFlags struct {
	once    bool
	from    []string
	speed   float64
	capture string
}

func newIngest(a *app) *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use: "ingest [SOURCE...]", Short: "Read market data into the topics", ValidArgs: sourceNames(), Args: someArgs(0, -1),
		Long:    "Runs the named sources, or those of sources.use. Each has a producer of its own: idempotent, bounded in memory.\nWithout --once the process goes on when its sources have ended; with it, sources that are polled ask for what is due, once.\nThen a source that fails leaves the others to their end; the exit code is 4, and the last lines say which failed and why. --from reads files instead: `ingest --from FILE` tapes and CSV,\n`ingest VENUE --from FILE` captures, one after the other.",
		Example: "tapewatch ingest simulator --once -s simulator.duration=10s -s simulator.speed=0\ntapewatch ingest --from trades.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			names := args
			if len(names) == 0 && len(f.from) == 0 {
				names = a.settings.Sources.Use
			}
			if len(names) == 0 && len(f.from) == 0 {
				return usage("no source: name one of %s, or set sources.use", strings.Join(sourceNames(), ", "))
			}
			if err := a.applyIngest(cmd, &names, &f); err != nil {
				return err
			}
			return a.ingest(cmd.Context(), names, f)
		},
	}
	cmd.Flags().BoolVar(&f.once, "once", false, "end when every source has come to its end; --from implies it")
	cmd.Flags().StringArrayVar(&f.from, "from", nil, "file to read, may be repeated: a tape, .jsonl or CSV (settings file.*), or a capture for the named venue to play")
	cmd.Flags().Float64Var(&f.speed, "speed", 0, "pace of --from and of the simulator: 1 as recorded, 10 ten times that, 0 as fast as it goes")
	cmd.Flags().StringVar(&f.capture, "capture", "", "folder to record the raw frames of venues and the answers of services in")
	slotFlags(cmd)
	return cmd
}

func (a *app) ingest(ctx context.Context, names []string, f ingestFlags) (err error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	seen := startProgress(a, "ingest", -1)
	defer func() {
		if _, mistaken := errors.AsType[*usageError](err); mistaken {
			seen.end() // nothing was begun
			return
		}
		seen.done()
	}()
	var mu sync.Mutex // guards what follows
	running, failed := len(names), []string{}
	err = a.runParts(ctx, func(ctx context.Context, p *process, g *errgroup.Group) error {
		left := func(err error) error {
			mu.Lock()
			defer mu.Unlock()
			switch running--; {
			case !f.once:
				return err
			case err != nil:
				failed = append(failed, err.Error())
			}
			if running == 0 {
				p.finished.Store(true)
				end()
			}
			return nil
		}
		for _, name := range names {
			if err := p.source(ctx, g, name, seen, left); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(failed) > 0 {
		slices.Sort(failed)
		return &incompleteError{failed}
	}
	return err
}

// applyIngest writes the flags over the settings.
func (a *app) applyIngest(cmd *cobra.Command, names *[]string, f *ingestFlags) error {
	s := a.settings
	if cmd.Flags().Changed("speed") {
		s.Simulator.Speed = f.speed
	}
	for _, v := range s.Venues.connectors() {
		c := v.common
		if f.capture != "" {
			c.Capture = f.capture
		}
		if cmd.Flags().Changed("speed") || len(f.from) > 0 {
			c.Speed = f.speed
		}
		if len(f.from) > 0 && a.tree.Field(v.name+".symbols").Origin == "default" {
			c.Symbols = nil // all that the recording has
		}
	}
	if f.capture != "" {
		s.Poll.Capture = f.capture
	}
	s.pollOnce = f.once
	if len(f.from) == 0 {
		return nil
	}
	f.once = true
	if len(*names) == 0 {
		*names = []string{"file"}
	}
	_, venue := s.Venues.connector((*names)[0])
	if len(*names) != 1 || (*names)[0] != "file" && !venue && !polls((*names)[0]) {
		return usage("flag --from: the files must be of one source: file, a venue, or one that is polled, as in `tapewatch ingest binance_usdm --from FILE`")
	}
	s.playlist = f.from
	return nil
}
