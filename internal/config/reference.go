package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// section is a group of settings as the reference prints it.
type section struct {
	path, doc string
	fields    []*Field
}

// sections groups the fields by the path that they were mounted at; parts mounted at one path become one.
func (t *Tree) sections() []section {
	var out []section
	for _, p := range t.parts {
		if p.path == "" {
			continue
		}
		i := slices.IndexFunc(out, func(s section) bool { return s.path == p.path })
		if i < 0 {
			out = append(out, section{path: p.path, doc: p.doc})
		} else if out[i].doc == "" {
			out[i].doc = p.doc
		}
	}
	for _, f := range t.fields {
		// The longest mounted path that the field lies under.
		best := -1
		for i, s := range out {
			if strings.HasPrefix(f.Path, s.path+".") && (best < 0 || len(s.path) > len(out[best].path)) {
				best = i
			}
		}
		if best >= 0 {
			out[best].fields = append(out[best].fields, f)
		}
	}
	return slices.DeleteFunc(out, func(s section) bool { return len(s.fields) == 0 })
}

// WriteReference writes every setting with its default and meaning as a YAML file that loads.
func (t *Tree) WriteReference(w io.Writer, heading string) error {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(heading), "\n") {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	var open []string
	for _, s := range t.sections() {
		for _, f := range s.fields {
			parts := strings.Split(f.Path, ".")
			groups := parts[:len(parts)-1]
			common := 0
			for common < len(open) && common < len(groups) && open[common] == groups[common] {
				common++
			}
			for d := common; d < len(groups); d++ {
				indent := strings.Repeat("  ", d)
				if d == 0 {
					b.WriteByte('\n')
				}
				if strings.Join(groups[:d+1], ".") == s.path && s.doc != "" {
					fmt.Fprintf(&b, "%s# %s\n", indent, s.doc)
				}
				fmt.Fprintf(&b, "%s%s:\n", indent, groups[d])
			}
			open = groups
			indent := strings.Repeat("  ", len(groups))
			if f.Doc != "" {
				fmt.Fprintf(&b, "%s# %s\n", indent, f.Doc)
			}
			text, err := flow(f.Default())
			if err != nil {
				return fmt.Errorf("writing the default of %s: %w", f.Path, err)
			}
			fmt.Fprintf(&b, "%s%s: %s\n", indent, parts[len(parts)-1], text)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the same as documentation, with the environment names.
func (t *Tree) WriteMarkdown(w io.Writer, heading string, aliases []Alias) error {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(heading) + "\n")
	byPath := map[string][]string{}
	for _, a := range aliases {
		if a.Path != "" {
			byPath[a.Path] = append(byPath[a.Path], "`"+a.Name+"`")
		}
	}
	for _, s := range t.sections() {
		fmt.Fprintf(&b, "\n## %s\n\n", s.path)
		if s.doc != "" {
			b.WriteString(s.doc + "\n\n")
		}
		b.WriteString("| setting | default | meaning | environment |\n|---|---|---|---|\n")
		for _, f := range s.fields {
			text, err := flow(f.Default())
			if err != nil {
				return fmt.Errorf("writing the default of %s: %w", f.Path, err)
			}
			names := append([]string{"`" + EnvName(f.Path) + "`"}, byPath[f.Path]...)
			doc := f.Doc
			if f.Secret {
				doc += " Secret: also read from the file that the environment name with `_FILE` gives."
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", f.Path, cell(text), cell(doc), strings.Join(names, ", "))
		}
	}
	b.WriteString("\n## Environment names known from elsewhere\n\n| name | sets | remark |\n|---|---|---|\n")
	for _, a := range aliases {
		target := "nothing yet"
		if a.Path != "" {
			target = "`" + a.Path + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.Name, target, cell(a.Note))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// flow prints plain data as one line of YAML.
func flow(v any) (string, error) {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return "", err
	}
	for stack := []*yaml.Node{&n}; len(stack) > 0; {
		top := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], top.Content...)
		if top.Kind != yaml.ScalarNode {
			top.Style = yaml.FlowStyle
		}
	}
	text, err := yaml.Marshal(&n)
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " "), err
}
