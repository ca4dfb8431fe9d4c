package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/sources/loopback"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// loopbackFlags are the flags of loopback.
type loopbackFlags struct {
	from, addr string
	faults     []string
	speed      float64
	seed       uint64
	once       bool
}

func newLoopback(a *app) *cobra.Command {
	var f loopbackFlags
	cmd := &cobra.Command{
		Use: "loopback VENUE", Short: "Play a capture as the venue itself, with faults to order", Args: someArgs(1, 1), ValidArgsFunction: completeSpoken,
		Long: "Serves the venue's own protocol on this machine, out of a capture: a connector reads it as it reads the venue. The market opens\n" +
			"at the first subscription and does not wait for anybody. Faults are KIND[:stream=PART,at=N,after=TIME,count=N,for=TIME], of the kinds\n\n" +
			indent(loopback.Describe()) + "\ndocs/loopback.md has the whole.",
		Example: "tapewatch loopback binance_usdm --from capture.jsonl.zst --addr 127.0.0.1:7001\n" +
			"tapewatch loopback kraken --from capture.jsonl.zst --fault drop:stream=book,at=100 --fault disconnect:after=20s",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.loopback(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().StringVar(&f.from, "from", "", "capture file, or folder of one, to play")
	cmd.Flags().StringVar(&f.addr, "addr", "127.0.0.1:0", "address to serve on; port 0 takes a free one")
	cmd.Flags().StringArrayVar(&f.faults, "fault", nil, "what goes wrong, may be repeated")
	cmd.Flags().Float64Var(&f.speed, "speed", 1, "pace: 1 as recorded, 10 ten times that, 0 as fast as it goes")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "places the digit of a corrupt frame")
	cmd.Flags().BoolVar(&f.once, "once", false, "end soon after the last frame, instead of staying silent")
	if err := cmd.MarkFlagRequired("from"); err != nil {
		panic(fmt.Sprintf("making loopback: %v", err))
	}
	return cmd
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// spoken are the sources that can be played, by name in the settings.
func spoken(c *venuesConfig) []string {
	var names []string
	for _, v := range c.connectors() {
		if spec, err := v.playing(); err == nil && slices.Contains(loopback.Spoken(), spec.SourceName()) {
			names = append(names, v.name)
		}
	}
	return names
}

func completeSpoken(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	venues := venuesDefaults()
	return spoken(&venues), cobra.ShellCompDirectiveNoFileComp
}

// playing is the market's spec without symbols and addresses of its own.
func (v connector) playing() (*venue.Spec, error) {
	before := *v.common
	defer func() { *v.common = before }()
	v.common.Symbols, v.common.StreamURL, v.common.RestURL, v.common.Play = nil, "", "", "-"
	return v.section.Spec()
}

func (a *app) loopback(ctx context.Context, name string, f loopbackFlags) error {
	v, ok := a.settings.Venues.connector(name)
	if !ok || !slices.Contains(spoken(&a.settings.Venues), name) {
		return usage("venue %q cannot be played: it must be one of %s", name, strings.Join(spoken(&a.settings.Venues), ", "))
	}
	spec, err := v.playing()
	if err != nil {
		return err
	}
	o := loopback.Options{Spec: spec, Speed: f.speed, Seed: f.seed}
	for _, text := range f.faults {
		fault, err := loopback.ParseFault(text)
		if err != nil {
			return &usageError{err}
		}
		o.Faults = append(o.Faults, fault)
	}
	if o.Frames, err = loopback.Read(f.from); err != nil {
		return err
	}
	server, err := loopback.New(o)
	if err != nil {
		return &usageError{err}
	}
	hint, err := loopbackHint(v, server)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.addr)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", f.addr, err)
	}
	fmt.Fprintf(a.stdout, "%s of %s on %s; read it by\n%s\n", name, f.from, l.Addr(), strings.ReplaceAll(hint, "ADDR", l.Addr().String()))
	return a.serveLoopback(ctx, l, server, f.once)
}

// serveLoopback serves until ctx is done, or the market has been at its end for a while.
func (a *app) serveLoopback(ctx context.Context, l net.Listener, server *loopback.Server, once bool) error {
	const patience = 10 * time.Second
	front := &http.Server{Handler: server, ReadHeaderTimeout: patience}
	ctx, end := context.WithCancel(ctx)
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error {
		if err := front.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return front.Close()
		case <-server.Played():
		}
		const settle = 2 * time.Second // what waits for a client goes out
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
		fmt.Fprintf(a.stdout, "the market is at its end: %d sessions, %d frames not sent as they are\n", server.Sessions(), len(server.Missed()))
		if once {
			end()
		}
		<-ctx.Done()
		return front.Close()
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// loopbackHint is the command that reads the server: the instruments and channels are those of the recording.
func loopbackHint(v connector, server *loopback.Server) (string, error) {
	contents, err := server.Contents()
	if err != nil {
		return "", err
	}
	var symbols, channels []string
	for _, in := range contents {
		spoke := false
		for _, c := range v.common.Channels {
			if in.Records[c] == 0 {
				continue
			}
			spoke = true
			if !slices.Contains(channels, c) {
				channels = append(channels, c)
			}
		}
		if spoke {
			symbols = append(symbols, in.Symbol)
		}
	}
	const most = 12
	set := func(key, value string) string { return " -s " + v.name + "." + key + "=" + value }
	return "  tapewatch ingest " + v.name + set("stream_url", "ws://ADDR") + set("rest_url", "http://ADDR") +
		set("symbols", strings.Join(symbols[:min(len(symbols), most)], ",")) + set("channels", strings.Join(channels, ",")), nil
}
