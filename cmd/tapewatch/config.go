package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tapewatch/tapewatch/internal/config"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check, show and document the settings", Args: noArgs, RunE: help}
	cmd.AddCommand(newConfigLint(a), newConfigShow(a), newConfigDocs(a))
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func newConfigLint(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "lint [FILE...]", Short: "Check settings: files, environment and flags; 3 when something is wrong",
		Long: "Reads the settings as every command does, with the named files in place of --config, and says everything that is\n" +
			"wrong: unknown keys with file, line and the nearest known one, wrong values with the rule that they break.",
		RunE: func(cmd *cobra.Command, args []string) error {
			files := args
			if len(files) == 0 {
				files = a.files()
			}
			s, tree := newSettings()
			report, err := tree.Load(config.Options{
				Files: files, Environ: a.environ, Aliases: aliases(tree), Flags: cmd.Flags(), FlagPaths: flagPaths, Set: a.overrides,
			})
			if err == nil {
				err = s.bind()
			}
			for _, line := range slices.Concat(report.Idle, report.Doubts) {
				fmt.Fprintln(a.stderr, line)
			}
			if err != nil {
				return findings("%v", err)
			}
			if len(report.Doubts) > 0 {
				return findings("%d environment names are not known", len(report.Doubts))
			}
			_, err = fmt.Fprintf(a.stdout, "%d settings are well, %d of them not the default\n", len(tree.Fields()), changed(tree))
			return err
		},
	}
}

func changed(tree *config.Tree) int {
	n := 0
	for _, f := range tree.Fields() {
		if f.Origin != "default" {
			n++
		}
	}
	return n
}

// shownSetting is one setting as `config show` prints it.
type shownSetting struct {
	Setting string `json:"setting"`
	Value   any    `json:"value"`
	Origin  string `json:"origin"`
}

// showSettings lists the settings; secrets are masked.
func showSettings(tree *config.Tree, onlyChanged bool) []shownSetting {
	out := []shownSetting{}
	for _, f := range tree.Fields() {
		if !onlyChanged || f.Origin != "default" {
			out = append(out, shownSetting{f.Path, f.Value(), f.Origin})
		}
	}
	return out
}

// shownSettings are the effective settings of this process.
func (a *app) shownSettings() []shownSetting { return showSettings(a.tree, false) }

func newConfigShow(a *app) *cobra.Command {
	var onlyChanged bool
	cmd := &cobra.Command{
		Use: "show", Short: "Print the effective settings and where each comes from; secrets are masked", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, tree := newSettings()
			report, err := tree.Load(config.Options{
				Files: a.files(), Environ: a.environ, Aliases: aliases(tree), Flags: cmd.Flags(), FlagPaths: flagPaths, Set: a.overrides,
			})
			if err == nil {
				err = s.bind()
			}
			if err != nil {
				return &usageError{err}
			}
			data := showSettings(tree, onlyChanged)
			l := listing{head: []string{"SETTING", "VALUE", "ORIGIN"}, data: data}
			for _, f := range data {
				l.row(f.Setting, f.Value, f.Origin)
			}
			if err := a.print(l); err != nil {
				return err
			}
			for _, line := range slices.Concat(report.Idle, report.Doubts) {
				fmt.Fprintln(a.stderr, line)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&onlyChanged, "changed", false, "only settings that are not the default")
	return cmd
}

// generated is one file that `config docs` writes.
type generated struct {
	path  string
	write func(*bytes.Buffer) error
}

func newConfigDocs(a *app) *cobra.Command {
	var dir string
	var check bool
	cmd := &cobra.Command{
		Use: "docs", Short: "Write the generated reference: configs/reference.yaml, docs/*.md, configs/grafana", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			stale := 0
			for _, g := range generatedFiles() {
				var want bytes.Buffer
				if err := g.write(&want); err != nil {
					return fmt.Errorf("generating %s: %w", g.path, err)
				}
				path := filepath.Join(dir, g.path)
				have, err := os.ReadFile(path)
				if err == nil && bytes.Equal(have, want.Bytes()) {
					continue
				}
				stale++
				if check {
					fmt.Fprintf(a.stderr, "%s is not what `tapewatch config docs` makes\n", path)
					continue
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return fmt.Errorf("making a folder: %w", err)
				}
				if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
					return fmt.Errorf("writing generated documentation: %w", err)
				}
				fmt.Fprintf(a.stderr, "wrote %s\n", path)
			}
			if check && stale > 0 {
				return findings("%d generated files are stale: run `make generate`", stale)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the repository's root")
	cmd.Flags().BoolVar(&check, "check", false, "only compare; 3 when a file is stale")
	return cmd
}
