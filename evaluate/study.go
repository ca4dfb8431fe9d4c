package evaluate

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A Result shows itself as a sheet of tables and plots; as JSON it holds the same figures.
type Result interface{ Sheet() *sheet.Sheet }

// A study judges one detector whose input is not candles, on the files that it knows how to read.
type study func(ctx context.Context, o StudyOptions) (Result, error)

// studies by detector. What a study reads and measures is said at its function.
var studies = map[string]study{
	"correlation_breakdown": correlationStudy,
	"earnings_anomaly":      earningsStudy,
	"exchange_outage":       outageStudy,
	"funding_rate":          fundingStudy,
	"liquidity_drop":        liquidityStudy,
	"whale_movement":        whaleStudy,
}

// StudyOptions say what a study works on.
type StudyOptions struct {
	Detector string
	// Config is the detector's configuration as JSON over its defaults.
	Config []byte
	// Data are the files; Labels what really happened, empty for none.
	Data   []string
	Labels string
	Seed   uint64
	// Charts asks for series with their alerts.
	Charts bool
	// Days is how long a study's made-up background is; 0 takes the study's own.
	Days int
}

// HasStudy reports whether a detector is judged by a study of its own.
func HasStudy(detector string) bool { return studies[detector] != nil }

// RunStudy judges a detector by its study.
func RunStudy(ctx context.Context, o StudyOptions) (Result, error) {
	s := studies[o.Detector]
	if s == nil {
		return nil, fmt.Errorf("detector %s has no study of its own: it must be evaluated on candles", o.Detector)
	}
	return s(ctx, o)
}

// A player runs messages through a detector in the engine that the runtime uses, on encoded records, and keeps the events.
type player struct {
	machine *taskMachine
	events  []*schemas.Event
}

func newPlayer(detector string, config []byte) (*player, error) {
	def, err := processor.Lookup(detector)
	if err != nil {
		return nil, err
	}
	bound, err := def.BindJSON(config)
	if err != nil {
		return nil, err
	}
	p := &player{machine: newTaskMachine(bound, Options{}, nil)}
	p.machine.out.keep = func(e *schemas.Event) { p.events = append(p.events, e) }
	return p, nil
}

// play takes a record; its source is the evaluation.
func (p *player) play(m schemas.Message) error {
	schemas.MetaOf(m).Source = source
	p.machine.put(schemas.TypeOf(m), m)
	p.machine.take()
	return p.machine.out.err
}

// tick moves time.
func (p *player) tick(at schemas.Time) error {
	p.machine.putTick(at)
	p.machine.take()
	return p.machine.out.err
}

// A headed file is a CSV with a header, gzipped or not.
type headed struct {
	path string
	head []string
	rows [][]string
}

// openData opens a file, packed by gzip or plain; in reads what is in it, and file is to be closed.
func openData(path string) (file *os.File, in io.Reader, err error) {
	if file, err = os.Open(path); err != nil {
		return nil, nil, fmt.Errorf("opening data: %w", err)
	}
	in = bufio.NewReader(file)
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(in); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("unpacking %s: %w", path, err), file.Close())
		}
	}
	return file, in, nil
}

func readHeaded(path string) (*headed, error) {
	file, in, err := openData(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%s has %d lines: it must have a header and rows", path, len(rows))
	}
	return &headed{path: path, head: rows[0], rows: rows[1:]}, nil
}

// has reports whether the header has all of the columns.
func (f *headed) has(columns ...string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(f.head, c) })
}

// at returns the fields of a column by row, for a file that has it.
func (f *headed) at(column string) func(row []string) string {
	i := slices.Index(f.head, column)
	return func(row []string) string { return row[i] }
}

// alertsOf are the episodes that events of a detector tell of: when each began, and the highest severity that it reached.
func alertsOf(events []*schemas.Event) []sheet.Alert {
	var out []sheet.Alert
	at := map[string]int{}
	for _, e := range events {
		i, known := at[e.DedupKey]
		if !known || e.Status == schemas.Open {
			i, at[e.DedupKey] = len(out), len(out)
			out = append(out, sheet.Alert{At: schemas.Time(e.EventTime), Severity: e.Severity})
		}
		if schemas.SeverityRank(e.Severity) > schemas.SeverityRank(out[i].Severity) {
			out[i].Severity = e.Severity
		}
	}
	return out
}

// day reads a date in a layout as event time.
func day(layout, text string) (schemas.Time, error) {
	t, err := time.Parse(layout, text)
	if err != nil {
		return 0, fmt.Errorf("date %q: it must be like %s", text, layout)
	}
	return schemas.Time(t.UnixNano()), nil
}
