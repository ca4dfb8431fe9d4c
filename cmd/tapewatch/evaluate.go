package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tapewatch/tapewatch/evaluate"
	"github.com/tapewatch/tapewatch/evaluate/nab"
	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const evaluateLong = `Measures a detector on recorded minute candles, or on those made from the trades of a tape: alarms per key and day on the untouched stream, and how many of the injected
anomalies (--inject) or labelled ones (--labels) it finds and how late, with 95 % intervals. The detector runs in the same
engine as live, with its settings. At a rate such as 1/day its budget (for the naive rules: the threshold) is fitted on the
--fit range, so that rules can be compared at equal background; "shipped" leaves the settings alone and only warms up there.
A second table says what is left of the same run if only events of a severity and above count, or those that state a return
period of so many days: what you get if you are paged on high alone.

Detectors are the registered ones that read trades or baskets, and two naive rules for comparison: naive_price (5 % in 15
minutes) and naive_volume (3 times the mean of the last 20 bars of --bar), each with 30 minutes of cool-down.

Detectors of other input have a study of their own, which reads other files and prints other tables: earnings_anomaly takes
announcements, histories and, as labels, the market's reactions; funding_rate takes histories of payments;
correlation_breakdown minute candles of several instruments; exchange_outage those of one venue, and outages as labels;
liquidity_drop a capture of Binance's USD-margined futures;
whale_movement takes token transfers of real blocks, which shape a made-up background, and address labels.

With --all all eight detectors are judged as shipped on the recorded data of a folder, beside their naive rules, in one table.

With --html the tables, and plots of what they say, are written into one file that needs no other.

With --nab the volume engine is scored on the series of the Numenta Anomaly Benchmark in that folder instead.`

// evaluateFlags are the flags as they were given.
type evaluateFlags struct {
	data             []string
	fit, test, rates string
	nab, all, html   string
}

func newEvaluate(a *app) *cobra.Command {
	var f evaluateFlags
	var o evaluate.Options
	cmd := &cobra.Command{
		Use: "evaluate", Short: "Measure a detector on recorded candles", Long: evaluateLong, Args: noArgs,
		Example: "tapewatch evaluate --detector price_anomaly --inject --rate shipped,1/day \\\n" +
			"  --data BTCUSD_2018.csv.gz,BTCUSD_2019H1.csv.gz --fit 2018-01-01..2019-01-01 --test 2019-01-01..2019-07-01",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.checkHTML(); err != nil {
				return err
			}
			result, err := a.evaluate(cmd, f, o)
			if err != nil {
				return err
			}
			if f.html != "" {
				if err := f.writeHTML(cmd, result, o); err != nil {
					return err
				}
			}
			if a.output == "table" {
				return result.Sheet().Text(a.stdout)
			}
			return a.print(listing{data: result})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Detector, "detector", "", "registered detector, naive_price or naive_volume")
	flags.StringSliceVar(&f.data, "data", nil, "CSV files of minute candles, gzipped or not, or tapes (.tape.zst, .jsonl) with trades: PATH, or SYMBOL=PATH where the name does not begin with the symbol")
	flags.StringVar(&o.Columns, "columns", evaluate.DefaultColumns, "columns in their order: open, high, low, close, volume, - to skip, and the unit of the time (minute, second, milli, micro, nano)")
	flags.StringVar(&o.Venue, "venue", "bitfinex", "venue of the records")
	flags.StringVar(&f.fit, "fit", "", "range to fit and warm up on, FROM..TO in days or RFC 3339 times")
	flags.StringVar(&f.test, "test", "..", "range to measure on")
	flags.StringVar(&f.rates, "rate", "shipped", "wanted alarms per key and time: shipped, 1/day, 1/week, ...")
	flags.StringVar(&o.MinSeverity, "min-severity", "", "least severity that counts as an alarm (default low; medium at 1/week and rarer)")
	flags.StringSliceVar(&o.Ignore, "ignore", nil, "legs that alone make no alarm, such as early_warning")
	flags.BoolVar(&o.Inject, "inject", false, "inject anomalies at seeded positions a day apart or more")
	flags.Float64SliceVar(&o.Jumps, "jumps", []float64{2, 3, 5}, "sizes of jumps, percent")
	flags.Float64SliceVar(&o.Ramps, "ramps", []float64{2, 3, 5}, "sizes of ramps over 10 minutes, percent")
	flags.Float64SliceVar(&o.Bursts, "bursts", []float64{3, 5, 10}, "sizes of bursts, multiples of the mean volume of the last 24 hours")
	flags.DurationVar(&o.Burst, "burst", 15*time.Minute, "length of a burst")
	flags.DurationVar(&o.Align, "align", 0, "bursts begin at multiples of this; 0 takes the length of a burst, the best case for rules on fixed bars")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the positions")
	flags.DurationVar(&o.Bar, "bar", 15*time.Minute, "bars of naive_volume")
	flags.StringVar(&o.Labels, "labels", "", "known anomalies: a CSV with columns symbol and onset_utc (or start, onset, time), or the simulator's labels as .jsonl")
	flags.DurationVar(&o.Before, "before", 15*time.Minute, "how long before its onset an alarm finds a label")
	flags.DurationVar(&o.After, "after", 15*time.Minute, "how long after its onset an alarm finds a label")
	flags.StringVar(&o.Budget, "budget", "", "set the alarms of each key against its budget, by half or quarter of a year")
	flags.StringVar(&f.nab, "nab", "", "folder with NAB's data and labels: score the volume engine on it")
	flags.StringVar(&f.all, "all", "", "folder with the recorded data: judge all eight detectors and set them side by side")
	flags.BoolVar(&o.Naive, "naive", false, "measure the naive rule beside it, fitted to the alarms that the detector has on the fit range, and in hindsight to those of the test range")
	flags.StringVar(&f.html, "html", "", "write the tables, with plots, to this file, which needs no other")
	return cmd
}

// parse turns flags and settings into options.
func (f *evaluateFlags) parse(a *app, o *evaluate.Options) error {
	if o.Detector == "" {
		return usage("flag --detector is empty: it must name a detector, naive_price or naive_volume")
	}
	var err error
	if o.Series, err = evaluate.ParseSeries(f.data); err != nil {
		return &usageError{err}
	}
	if o.Rates, err = evaluate.ParseRates(f.rates); err != nil {
		return &usageError{err}
	}
	if o.Test, err = evaluate.ParseRange(f.test); err != nil {
		return &usageError{err}
	}
	if f.fit != "" {
		if o.Fit, err = evaluate.ParseRange(f.fit); err != nil {
			return &usageError{err}
		}
	}
	if o.Detector != evaluate.NaivePrice && o.Detector != evaluate.NaiveVolume {
		var b *processor.Bound
		if b, err = a.settings.processor(o.Detector); err != nil {
			return err
		}
		o.Config = b.ConfigJSON
	}
	o.Charts = f.html != ""
	o.Progress = a.progressOf()
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

// evaluate runs what the flags ask for.
func (a *app) evaluate(cmd *cobra.Command, f evaluateFlags, o evaluate.Options) (evaluate.Result, error) {
	if f.nab != "" {
		return nab.Run(f.nab)
	}
	if err := a.load(cmd); err != nil {
		return nil, err
	}
	if f.all != "" {
		return a.evaluateAll(cmd.Context(), f, o.Seed)
	}
	if o.Budget == "" && evaluate.HasStudy(o.Detector) {
		return a.study(cmd.Context(), f, o)
	}
	if err := f.parse(a, &o); err != nil {
		return nil, err
	}
	if o.Budget != "" {
		return evaluate.RunBudget(cmd.Context(), o)
	}
	return evaluate.Run(cmd.Context(), o)
}

// evaluateAll judges all detectors on the data of a folder.
func (a *app) evaluateAll(ctx context.Context, f evaluateFlags, seed uint64) (evaluate.Result, error) {
	config := func(detector string) ([]byte, error) {
		b, err := a.settings.processor(detector)
		if err != nil {
			return nil, err
		}
		return b.ConfigJSON, nil
	}
	return evaluate.RunAll(ctx, f.all, seed, f.html != "", config, a.progressOf())
}

// progressOf tells what is done, nil where nobody wants to know.
func (a *app) progressOf() func(text string) {
	if a.quiet {
		return nil
	}
	return func(text string) { fmt.Fprintln(a.stderr, text) }
}

// study judges a detector whose input is not candles.
func (a *app) study(ctx context.Context, f evaluateFlags, o evaluate.Options) (evaluate.Result, error) {
	if len(f.data) == 0 {
		return nil, usage("flag --data is empty: it must name at least one file")
	}
	b, err := a.settings.processor(o.Detector)
	if err != nil {
		return nil, err
	}
	return evaluate.RunStudy(ctx, evaluate.StudyOptions{Detector: o.Detector, Config: b.ConfigJSON, Data: f.data, Labels: o.Labels, Seed: o.Seed, Charts: f.html != ""})
}

// checkHTML refuses a file that could not be written, before an hour of work for it.
func (f *evaluateFlags) checkHTML() error {
	if f.html == "" {
		return nil
	}
	dir := filepath.Dir(f.html)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return usage("flag --html is %q: %s must be a folder", f.html, dir)
	}
	return nil
}

// writeHTML writes the result as a page, with what was run at its head.
func (f *evaluateFlags) writeHTML(cmd *cobra.Command, result evaluate.Result, o evaluate.Options) error {
	page := result.Sheet()
	b := thisBuild()
	page.Facts = []sheet.Fact{{Name: "command", Value: commandLine(cmd)}}
	for _, fact := range []sheet.Fact{
		{Name: "data", Value: strings.Join(f.data, ", ") + f.nab + f.all},
		{Name: "labels", Value: o.Labels},
		{Name: "fit range", Value: f.fit},
		{Name: "test range", Value: f.test},
		{Name: "seed", Value: strconv.FormatUint(o.Seed, 10)},
		{Name: "version", Value: strings.TrimSpace(b.Version + " " + b.Revision)},
	} {
		if fact.Value != "" && fact.Value != ".." {
			page.Facts = append(page.Facts, fact)
		}
	}
	var text bytes.Buffer
	if err := page.HTML(&text); err != nil {
		return err
	}
	if err := os.WriteFile(f.html, text.Bytes(), 0o644); err != nil { //nolint:gosec // a report is for everyone
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[-A-Za-z0-9_=.,:/+@%]+$`)

// quote writes a word as a shell reads it.
func quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// commandLine is the command with the flags that were given, and of the settings those of processors: others may hold secrets.
func commandLine(cmd *cobra.Command) string {
	words := []string{cmd.CommandPath()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = []string{strings.Join(list.GetSlice(), ",")}
			if f.Name == "set" {
				values = slices.DeleteFunc(list.GetSlice(), func(s string) bool { return !strings.HasPrefix(s, "processors.") })
			}
		}
		if cmd.InheritedFlags().Lookup(f.Name) != nil && f.Name != "set" {
			return
		}
		for _, v := range values {
			words = append(words, quote("--"+f.Name+"="+v))
		}
	})
	return strings.Join(words, " ")
}
