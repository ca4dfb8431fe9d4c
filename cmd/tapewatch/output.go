package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// listing is a list in its two forms: rows for people, data for programs.
type listing struct {
	head []string
	rows [][]string
	data any
}

func (l *listing) row(cells ...any) {
	r := make([]string, len(cells))
	for i, c := range cells {
		r[i] = fmt.Sprint(c)
	}
	l.rows = append(l.rows, r)
}

// print writes a list in the form that --output asks for.
func (a *app) print(l listing) error {
	switch a.output {
	case "json":
		return a.printJSON(l.data)
	case "yaml":
		text, err := json.Marshal(l.data)
		if err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		out, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		_, err = a.stdout.Write(out)
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, strings.Join(l.head, "\t")); err != nil {
		return err
	}
	for _, r := range l.rows {
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

func registerOutputCompletion(root *cobra.Command) {
	complete := func(values ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for flag, values := range map[string][]string{
		"output": {"table", "json", "yaml"}, "log-level": {"debug", "info", "warn", "error"},
	} {
		if err := root.RegisterFlagCompletionFunc(flag, complete(values...)); err != nil {
			panic(fmt.Sprintf("completing --%s: %v", flag, err))
		}
	}
}
