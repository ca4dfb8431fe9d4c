package sheet

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
)

//go:embed sheet.html.tmpl
var pageText string

// page is the template of the file; what it is given is escaped where it stands.
var page = template.Must(template.New("sheet").Funcs(template.FuncMap{
	"draw":  func(p Plot) *drawing { return p.draw() },
	"cells": (*Table).cells,
	"heads": (*Table).heads,
}).Parse(pageText))

// numeric tells figures, and the dash of a missing one, from text: they stand at the right of their column.
var numeric = regexp.MustCompile(`^-$|^[-+]?[0-9][0-9.,]*( %| s|[a-zA-Z0-9.]{0,12}|-[0-9.]+)$`)

// HTML writes the sheet as one file.
func (s *Sheet) HTML(w io.Writer) error {
	if err := page.Execute(w, s); err != nil {
		return fmt.Errorf("writing %s as HTML: %w", s.Title, err)
	}
	return nil
}

// A cell is one of a row in HTML; Span is over how many rows it reaches.
type cell struct {
	Text string
	Head bool
	Span int
}

// Number says that a cell stands at the right of its column.
func (c cell) Number() bool { return numeric.MatchString(c.Text) }

// Long says that a cell may be broken into lines.
func (c cell) Long() bool { return len(c.Text) > 28 }

// A heading is the head of a column, aligned as the column's first cell.
type heading struct {
	Text   string
	Number bool
}

func (t *Table) heads() []heading {
	out := make([]heading, len(t.Head))
	for i, text := range t.Head {
		out[i] = heading{text, i > 0 && len(t.Rows) > 0 && numeric.MatchString(t.Rows[0][i])}
	}
	return out
}

// cells are those of a row: the first one heads it, and those of a group stand in its first row alone.
func (t *Table) cells(i int) []cell {
	var out []cell
	for k, text := range t.Rows[i] {
		c := cell{Text: text, Head: k == 0, Span: 1}
		if k < t.Group {
			if t.follows(i) {
				continue
			}
			for i+c.Span < len(t.Rows) && t.follows(i+c.Span) {
				c.Span++
			}
		}
		out = append(out, c)
	}
	return out
}
