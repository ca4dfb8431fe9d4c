// Package sheet shows what an evaluation measured: its tables as plain text, or tables and plots as one HTML file that needs
// nothing else, neither scripts nor fonts nor a network.
package sheet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A Sheet is what a result shows, in the order in which it is read.
type Sheet struct {
	// Title is what was judged, Lead a sentence on what on.
	Title, Lead string
	// Facts say how it was run; the HTML alone shows them.
	Facts []Fact
	Parts []Part
}

// A Fact is a line of the header.
type Fact struct{ Name, Value string }

// A Part is tables and plots under one heading. Text leaves the plots out, and the whole part where it is for the page only.
type Part struct {
	Title, Note string
	PageOnly    bool
	Tables      []*Table
	Plots       []Plot
}

// A Plot is a Chart, Curve, Delays or Whiskers.
type Plot interface{ draw() *drawing }

// A Table is rows of cells under a head.
type Table struct {
	Head []string
	// Group is how many leading columns tell of several rows: in rows that follow one with the same first cell, text leaves them out and
	// HTML joins them.
	Group int
	Rows  [][]string
}

// NewTable makes an empty table.
func NewTable(head ...string) *Table { return &Table{Head: head} }

// Row adds a row; every value is printed as by fmt.Sprint.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// follows says that a row belongs to the group of the one before.
func (t *Table) follows(i int) bool {
	return t.Group > 0 && i > 0 && t.Rows[i][0] == t.Rows[i-1][0]
}

// Text prints the lead and the tables.
func (s *Sheet) Text(w io.Writer) error {
	var b strings.Builder
	if s.Lead != "" {
		fmt.Fprintf(&b, "%s; %s\n", s.Title, s.Lead)
	}
	for _, p := range s.Parts {
		if len(p.Tables) == 0 || p.PageOnly {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		if p.Title != "" {
			b.WriteString(p.Title)
			if p.Note != "" {
				b.WriteString(": " + p.Note)
			}
			b.WriteByte('\n')
		}
		for _, t := range p.Tables {
			t.text(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) text(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(t.Head, "\t")))
	for i, row := range t.Rows {
		cells := row
		if t.follows(i) {
			cells = append(make([]string, t.Group), row[t.Group:]...)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // a Builder takes everything
}
