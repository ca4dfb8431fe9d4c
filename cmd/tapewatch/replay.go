package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/replay"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	rangeFlags
	historyFlags

	processor, in, topic, out, letters string
	parallel                           int
	skipBad                            bool
}

func newReplay(a *app) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use: "replay", Short: "Run a processor over a stretch of its topic or a file; the same outputs as live", Args: noArgs,
		Long: "Runs a processor over its input topic, or over a file that dump wrote, and writes one output in protojson a line. Over a topic\n" +
			"the outputs are byte for byte those that the live group wrote, wherever the stretch begins: the replay starts with the state\n" +
			"of the group's newest checkpoint before it and follows the configurations that the group ran under. With --own-config, and\n" +
			"where the group has recorded nothing, it runs today's configuration from no state, and says when that is inexact. Nothing is\n" +
			"written to Kafka.",
		Example: "tapewatch replay --processor price_anomaly --out events.jsonl\ntapewatch replay --processor bars --in trades.tape.zst --parallel 4 --out bars.jsonl\ntapewatch replay --processor unusual_volume --in trades.tape.zst --topic market.trades --out events.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.replay(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.processor, "processor", "", "processor to run")
	cmd.Flags().StringVar(&f.in, "in", "", "file to read (.jsonl or .tape.zst, - for .jsonl on standard input) in place of the topic")
	cmd.Flags().StringVar(&f.topic, "topic", "", "topic to read, the processor's input; with --in another topic of the file, from which the stages in between are run too")
	f.rangeFlags.register(cmd, stretchHelp)
	f.historyFlags.register(cmd)
	cmd.Flags().StringVar(&f.out, "out", "-", "file of outputs, - for standard output")
	cmd.Flags().StringVar(&f.letters, "letters", "", "file of the records that the processor refuses")
	cmd.Flags().IntVar(&f.parallel, "parallel", 0, "partitions at a time; 0 means one per core")
	cmd.Flags().BoolVar(&f.skipBad, "skip-bad-lines", false, "leave out lines of a .jsonl file that cannot be read, instead of ending at the first; 3 when there are any")
	if err := errors.Join(cmd.MarkFlagRequired("processor"), cmd.RegisterFlagCompletionFunc("processor", completeProcessors(""))); err != nil {
		panic(fmt.Sprintf("making replay: %v", err))
	}
	return cmd
}

func (a *app) replay(ctx context.Context, f replayFlags) (err error) {
	bound, err := a.settings.processor(f.processor)
	if err != nil {
		return err
	}
	types, err := a.schemaTypes(ctx)
	if err != nil {
		return err
	}
	run, err := a.planReplay(f, bound, types)
	if err != nil {
		return err
	}
	if err := f.checkFiles(); err != nil {
		return err
	}
	// Only now, as creating a file empties it.
	out, closeOut, err := a.create(f.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOut()) }()
	var letters io.Writer
	if f.letters != "" {
		w, closeLetters, lerr := a.create(f.letters)
		if lerr != nil {
			return lerr
		}
		defer func() { err = errors.Join(err, closeLetters()) }()
		letters = w
	}
	writer := replay.NewWriter(out, letters)
	seen := startProgress(a, "replay "+bound.Name+", outputs", -1)
	began := time.Now()
	refusal := "" // of the first record, as most often all others are refused for the same reason
	summaries, err := run(ctx, func(o replay.Output) error {
		seen.count(1, outputTime(o))
		if o.Poison != nil && refusal == "" {
			refusal = fmt.Sprintf("the first refused record is %s %d/%d, %s: %s; --letters FILE keeps all", o.Topic.Name, o.Partition, o.Poison.Offset, o.Poison.Reason, o.Poison.Detail)
		}
		return writer.Write(o)
	})
	seen.end()
	if err := errors.Join(err, writer.Flush()); err != nil {
		return err
	}
	took := time.Since(began)
	for i := range summaries {
		err = errors.Join(err, a.replaySummary(&summaries[i], took))
	}
	if refusal != "" {
		fmt.Fprintln(a.stderr, refusal)
	}
	if len(summaries) > 0 && summaries[0].Total.Records == 0 {
		a.nothing(f, bound)
	}
	return err
}

// nothing says why there was nothing to replay.
func (a *app) nothing(f replayFlags, b *processor.Bound) {
	topic := b.Input.Name
	switch {
	case f.in != "":
		fmt.Fprintf(a.stderr, "%s has no record of %s\n", f.in, cmp.Or(f.topic, topic))
	case f.from != "beginning" || f.to != "end":
		fmt.Fprintf(a.stderr, "%s has no record from %s to %s: times are those of publication, which for what was ingested later are not those of the events\n", topic, f.from, f.to)
	default:
		fmt.Fprintf(a.stderr, "%s is empty", topic)
		if i := slices.IndexFunc(processor.All(), func(d *processor.Definition) bool { return d.Output.Name == topic }); i >= 0 {
			fmt.Fprintf(a.stderr, ": `tapewatch stage %s` writes it", processor.All()[i].Name)
		}
		fmt.Fprintln(a.stderr)
	}
}

// checkFiles refuses outputs that would empty another file of the flags, and an input that cannot be opened.
func (f *replayFlags) checkFiles() error {
	if info := statFile(f.in, os.Stdin); f.in != "" && f.in != "-" && (info == nil || info.Mode().IsRegular()) {
		in, err := tape.Open(f.in, tape.Options{})
		if err != nil {
			return fmt.Errorf("flag --in: %w", err)
		}
		_ = in.Close() // nothing was written
	}
	for _, pair := range []struct {
		flag, name, otherFlag, other string
		std                          *os.File
	}{
		{"--out", f.out, "--in", f.in, os.Stdin},
		{"--letters", f.letters, "--in", f.in, os.Stdin},
		{"--letters", f.letters, "--out", f.out, os.Stdout},
	} {
		if pair.name != "-" && sameFile(pair.name, pair.other, pair.std) {
			return usage("flag %s is %q, the same file as %q of %s, which it would overwrite: it must be another file", pair.flag, pair.name, pair.other, pair.otherFlag)
		}
	}
	return nil
}

// sameFile reports whether name and other, by whatever spelling or link, are one regular file, or will be when they are made.
func sameFile(name, other string, std *os.File) bool {
	if name == "" || other == "" {
		return false
	}
	a, b := statFile(name, std), statFile(other, std)
	if a == nil && b == nil {
		return absolute(name) == absolute(other)
	}
	return a != nil && b != nil && a.Mode().IsRegular() && os.SameFile(a, b)
}

// statFile returns nil where there is no such file; - is std.
func statFile(name string, std *os.File) os.FileInfo {
	stat := func() (os.FileInfo, error) { return os.Stat(name) }
	if name == "-" {
		stat = std.Stat
	}
	info, err := stat()
	if err != nil {
		return nil
	}
	return info
}

// absolute is a name, which may not exist yet, with the links of its folder followed.
func absolute(name string) string {
	path, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// planReplay checks the flags and returns what runs the processor, alone or behind the stages that lead from the file's topic to
// its input.
func (a *app) planReplay(f replayFlags, b *processor.Bound, types func(uint32, []int) (string, error)) (func(context.Context, func(replay.Output) error) ([]replay.Summary, error), error) {
	policy := a.settings.timePolicy()
	if f.in == "" || f.topic == "" || f.topic == b.Input.Name {
		from, err := a.replaySource(f, b)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, out func(replay.Output) error) ([]replay.Summary, error) {
			s, err := replay.Run(ctx, replay.Options{Bound: b, From: from, Parallel: f.parallel, Policy: policy, SchemaTypes: types, Out: out})
			return []replay.Summary{s}, err
		}, nil
	}
	stages, err := replay.Stages(b.Definition, f.topic)
	if err != nil {
		return nil, &usageError{err}
	}
	bounds := []*processor.Bound{b}
	for _, s := range stages {
		bounds = append(bounds, a.settings.processors[s.Name].bound)
	}
	file, err := a.replayFile(f)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, out func(replay.Output) error) ([]replay.Summary, error) {
		return replay.Chain(ctx, replay.ChainOptions{Bounds: bounds, From: file, Policy: policy, SchemaTypes: types, Out: out})
	}, nil
}

// replayFile is the file of --in.
func (a *app) replayFile(f replayFlags) (replay.File, error) {
	if f.from != "beginning" || f.to != "end" || f.partition >= 0 {
		return replay.File{}, usage("flag --in: it must stand without --from, --to and --partition")
	}
	file := replay.File{Path: f.in}
	if f.skipBad {
		file.BadLine = func(e *tape.LineError) error {
			fmt.Fprintf(a.stderr, "%s: %v\n", f.in, e)
			return nil
		}
	}
	return file, nil
}

func outputTime(o replay.Output) schemas.Time {
	if o.Message == nil {
		return 0
	}
	return schemas.TimeOf(o.Message)
}

// replaySummary says what was done, and what a reader must know of the outputs.
func (a *app) replaySummary(s *replay.Summary, took time.Duration) error {
	t := s.Total
	fmt.Fprintf(a.stderr, "replay %s: %d records (%d ticks, %d late, %d refused) of %d partitions in %v, %.0f a second; %d outputs\n",
		s.Processor, t.Records, t.Ticks, t.Late, t.Rejected, len(s.Partitions), took.Round(time.Millisecond), float64(t.Records)/took.Seconds(), t.Emitted)
	for _, note := range s.Notes {
		fmt.Fprintf(a.stderr, "replay %s: %s\n", s.Processor, note)
	}
	for _, why := range s.Inexact {
		fmt.Fprintf(a.stderr, "replay %s is inexact: %s\n", s.Processor, why)
	}
	if s.BadLines > 0 {
		return findings("%d lines of the file were left out", s.BadLines)
	}
	return nil
}

// replaySource is the file, or the stretch of the input topic.
func (a *app) replaySource(f replayFlags, b *processor.Bound) (replay.Source, error) {
	if f.in != "" {
		return a.replayFile(f)
	}
	if f.topic != "" && f.topic != b.Input.Name && f.topic != a.settings.Kafka.Topic(b.Input.Name) {
		return nil, usage("flag --topic is %s: it must be %s, the input of %s; the stages in between are run from a file only (`tapewatch dump %s`, then --in)", f.topic, b.Input.Name, b.Name, f.topic)
	}
	r, err := f.topicRange()
	if err != nil {
		return nil, err
	}
	r.Cluster, r.Log, r.Recorded = a.settings.Kafka, a.log, f.recorded(a, b.Name)
	return r, nil
}

// topicRange is the stretch that the flags name.
func (f *rangeFlags) topicRange() (r replay.TopicRange, err error) {
	if f.partition >= 0 {
		r.Partitions = []int32{f.partition}
	}
	now := time.Now()
	from, err := parsePosition(f.from, now)
	if err != nil {
		return r, err
	}
	to, err := parsePosition(f.to, now)
	if err != nil {
		return r, err
	}
	if from.back > 0 || to.back > 0 || from.at == "end" || to.at == "beginning" {
		return r, usage("flags --from and --to are %s and %s: they must be %s", f.from, f.to, stretchHelp)
	}
	r.FromOffset, r.ToOffset, r.FromTime, r.ToTime = from.offset, to.offset, recordTime(from.when), recordTime(to.when)
	return r, nil
}

// historyFlags say whether a replay follows what the group recorded.
type historyFlags struct{ own bool }

func (h *historyFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&h.own, "own-config", false, "run the configuration of this process from no state, not what the group recorded; -s processors.NAME… does so too")
}

// recorded reports whether to follow the group's checkpoints. Who sets something of the processor on the command line wants to see what that does.
func (h *historyFlags) recorded(a *app, processor string) bool {
	return !h.own && !slices.ContainsFunc(a.overrides, func(s string) bool { return strings.HasPrefix(s, "processors."+processor+".") })
}

// recordTime is t on the records' scale; 0 for no time.
func recordTime(t time.Time) schemas.Time {
	if t.IsZero() {
		return 0
	}
	return schemas.Time(t.UnixNano())
}

// create opens a file for writing; - is standard output, which is left open.
func (a *app) create(name string) (io.Writer, func() error, error) {
	if name == "-" {
		return a.stdout, func() error { return nil }, nil
	}
	if strings.TrimSpace(name) == "" {
		return nil, nil, usage("the name of an output file is empty")
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, nil, fmt.Errorf("creating an output file: %w", err)
	}
	return f, f.Close, nil
}
