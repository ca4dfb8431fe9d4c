package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/internal/config"
	"github.com/tapewatch/tapewatch/internal/logging"
	"github.com/tapewatch/tapewatch/internal/registry"
)

// app is what the commands share: where they read and write, and the settings.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	configFiles []string
	overrides   []string
	output      string
	quiet       bool
	noColor     bool

	// role is what this process does, part of its name in heartbeats.
	role     string
	settings *settings
	tree     *config.Tree
	report   *config.Report
	log      *slog.Logger
	registry *registry.Registry
}

// run is the whole program: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	a := &app{stdin: stdin, stdout: &calmWriter{w: stdout}, stderr: stderr, environ: environ}
	root := newRoot(a)
	root.SetArgs(args)
	ctx, stop := withSignals(context.Background(), a)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "required flag(s)") { // cobra has no type for it
		err = usage("%w", err)
	}
	if errors.Is(err, errPipe) {
		return exitOK // the reader has seen enough
	}
	if err != nil && (!errors.Is(err, context.Canceled) || ctx.Err() == nil) {
		fmt.Fprintf(stderr, "tapewatch: %v\n", err)
		if advice := a.advice(err); advice != "" {
			fmt.Fprintf(stderr, "tapewatch: %s\n", advice)
		}
	}
	return exitCode(err)
}

// getenv reads the process's environment as it was handed to run.
func (a *app) getenv(name string) string {
	for _, e := range a.environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tapewatch",
		Short: "Watch the tape: market data in, anomaly events out, exactly once, on Kafka",
		Long: "tapewatch reads market data into Kafka topics, runs stream processors on them and feeds the events that they\n" +
			"raise to Postgres, Redis and WebSocket clients. The same processors replay any stretch of a topic.\n\n" +
			"Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failure, 2 usage or settings,\n" +
			"3 findings, 4 incomplete (a source of `ingest --once` failed; what the others gave is published), 130 interrupted.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Args:              noArgs,
		RunE:              help,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch a.output {
			case "table", "json", "yaml":
				return nil
			}
			return usage("flag --output is %q: it must be table, json or yaml", a.output)
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w: see `%s --help`", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringArrayVarP(&a.configFiles, "config", "c", nil, "YAML file of settings, may be repeated; default $TAPEWATCH_CONFIG, else tapewatch.yaml when there is one")
	flags.StringArrayVarP(&a.overrides, "set", "s", nil, "set one setting, key=value, may be repeated")
	flags.StringVarP(&a.output, "output", "", "table", "form of lists: table, json or yaml")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no log lines below warnings")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours on terminals, as NO_COLOR does")
	flags.StringSlice("brokers", nil, "bootstrap brokers, host:port (setting kafka.brokers)")
	flags.String("log-level", "", "debug, info, warn or error (setting log.level)")
	registerOutputCompletion(root)
	root.AddCommand(commands(a)...)
	return root
}

// flagPaths are the flags that stand for a setting.
var flagPaths = map[string]string{
	"brokers": "kafka.brokers", "log-level": "log.level", "slot": "process.slot", "name": "process.name",
}

// load reads the settings and makes the logger; commands that need either call it first.
func (a *app) load(cmd *cobra.Command) error {
	a.role = strings.Join(append([]string{cmd.Name()}, cmd.Flags().Args()...), ".")
	s, tree := newSettings()
	a.settings, a.tree = s, tree
	report, err := tree.Load(config.Options{
		Files: a.files(), Environ: a.environ, Aliases: aliases(tree), Flags: cmd.Flags(), FlagPaths: flagPaths, Set: a.overrides,
	})
	a.report = report
	if err != nil {
		return &usageError{err}
	}
	if err := s.bind(); err != nil {
		return &usageError{err}
	}
	logConfig := s.Log
	if a.quiet && (strings.EqualFold(logConfig.Level, "info") || strings.EqualFold(logConfig.Level, "debug")) {
		logConfig.Level = "warn"
	}
	a.log, err = logging.New(logConfig, a.stderr, func(name string) string {
		if name == "NO_COLOR" && a.noColor {
			return "1"
		}
		return a.getenv(name)
	})
	if err != nil {
		return &usageError{err}
	}
	for _, line := range report.Idle {
		a.log.Warn("a setting has no effect", slog.String("setting", line))
	}
	for _, line := range report.Doubts {
		a.log.Warn("an environment name is not known", slog.String("name", line))
	}
	return nil
}

// files are the files of settings, in order.
func (a *app) files() []string {
	if len(a.configFiles) > 0 {
		return a.configFiles
	}
	if f := a.getenv("TAPEWATCH_CONFIG"); f != "" {
		return []string{f}
	}
	if _, err := os.Stat("tapewatch.yaml"); err == nil {
		return []string{"tapewatch.yaml"}
	}
	return nil
}

// noArgs refuses arguments, as a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usage("argument %q is not known; did you mean %q?", args[0], near[0])
		}
		return usage("argument %q is not known: see `%s --help`", args[0], cmd.CommandPath())
	}
	return nil
}

// someArgs wants at least least and at most most arguments; most < 0 sets no bound.
func someArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usage("%d arguments: it must be `%s`", len(args), cmd.UseLine())
		}
		return nil
	}
}

// errPipe says that the reader of standard output went away.
var errPipe = errors.New("standard output is closed")

// calmWriter turns a broken pipe into errPipe, so that `tapewatch tail … | head` ends quietly.
type calmWriter struct{ w io.Writer }

func (c *calmWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil && (errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)) {
		return n, errPipe
	}
	return n, err
}

// onlyWarnings is the log without its info lines, for parts that tell too much; with debug lines on it is the whole log.
func (a *app) onlyWarnings() *slog.Logger {
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		return a.log
	}
	return slog.New(warnings{a.log.Handler()})
}

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}
