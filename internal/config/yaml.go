package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checkYAML finds keys of a file that no setting has, and notes the line of those that one has.
func (t *Tree) checkYAML(name string, text []byte, origins map[string]string) []error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty: nothing but comments
		}
		return []error{fmt.Errorf("reading settings from %s: %w", name, err)}
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("%s: a file of settings must hold one YAML document", name)}
	}
	w := walker{tree: t, name: name, origins: origins}
	w.walk("", doc.Content[0])
	return w.errs
}

type walker struct {
	tree    *Tree
	name    string
	origins map[string]string
	errs    []error
}

func (w *walker) fail(n *yaml.Node, format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("%s:%d: %w", w.name, n.Line, fmt.Errorf(format, args...)))
}

// walk goes through a group of settings.
func (w *walker) walk(path string, n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		what := path
		if what == "" {
			what = "the file"
		}
		w.fail(n, "%s is %q: it must be a map of settings", what, n.Value)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		full := strings.TrimPrefix(path+"."+key.Value, ".")
		if line := seen[key.Value]; line > 0 {
			w.fail(key, "key %q stands at line %d already", full, line)
			continue
		}
		seen[key.Value] = key.Line
		switch {
		case w.tree.byPath[full] != nil:
			w.origins[full] = fmt.Sprintf("%s:%d", w.name, key.Line)
		case w.tree.prefix(full):
			w.walk(full, value)
		default:
			w.fail(key, "key %q is unknown%s", full, w.tree.nearestAt(path, key.Value, full))
		}
	}
}

// nearestAt suggests among the siblings of a mistaken key first, then among all settings.
func (t *Tree) nearestAt(path, name, full string) string {
	var siblings []string
	known := map[string]bool{}
	for _, f := range t.fields {
		rest := f.Path
		if path != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(f.Path, path+"."); !ok {
				continue
			}
		}
		s, _, _ := strings.Cut(rest, ".")
		if !known[s] {
			known[s] = true
			siblings = append(siblings, s)
		}
	}
	if s := suggestion(name, siblings); s != "" {
		return s
	}
	return t.nearest(full)
}
