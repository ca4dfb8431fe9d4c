package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Options say where settings come from. Later ones win: files in their order, the environment, flags, Set.
type Options struct {
	// Files are YAML files.
	Files []string
	// Environ is os.Environ().
	Environ []string
	// Aliases are the environment names beside the TAPEWATCH_ ones.
	Aliases []Alias
	// Flags are the command's flags, FlagPaths the setting that each stands for; other flags are left alone.
	Flags     *pflag.FlagSet
	FlagPaths map[string]string
	// Set are "key=value" overrides.
	Set []string
}

// A Report says what loading noticed without failing.
type Report struct {
	// Idle are environment names that are set and accepted but have no effect yet, each with the reason.
	Idle []string
	// Doubts are environment names that look like ours and are not.
	Doubts []string
}

// A layer is one origin of settings.
type layer struct {
	values  *koanf.Koanf
	origins map[string]string // by field path
}

// Load reads all layers, writes the values into the mounted structs and validates them. The error joins everything wrong.
func (t *Tree) Load(o Options) (*Report, error) {
	report := &Report{}
	var layers []layer
	var errs []error
	for _, file := range o.Files {
		l, problems := t.file(file)
		layers, errs = append(layers, l), append(errs, problems...)
	}
	l, problems := t.environment(o, report)
	layers, errs = append(layers, l), append(errs, problems...)
	l, problems = t.flags(o)
	layers, errs = append(layers, l), append(errs, problems...)
	all := koanf.New(".")
	for _, l := range layers {
		if err := all.Merge(l.values); err != nil {
			return report, fmt.Errorf("merging settings: %w", err)
		}
		for path, origin := range l.origins {
			t.byPath[path].Origin = origin
		}
	}
	readable := true
	for _, f := range t.fields {
		if f.Origin == "default" || !all.Exists(f.Path) { // a layer that could not be read has origins and no values
			continue
		}
		if err := f.set(all.Get(f.Path)); err != nil {
			errs, readable = append(errs, err), false
		}
	}
	if readable {
		errs = append(errs, t.validate()...)
	}
	return report, errors.Join(errs...)
}

func (f *Field) set(raw any) error {
	if err := decode(raw, f.value); err != nil {
		shown := raw
		if f.Secret {
			shown = "***"
		}
		if text, ok := shown.(string); ok {
			shown = fmt.Sprintf("%q", text)
		}
		return fmt.Errorf("%s: %s is %v: %w", f.Origin, f.Path, shown, err)
	}
	return nil
}

func (t *Tree) file(name string) (layer, []error) {
	l := layer{koanf.New("."), map[string]string{}}
	text, err := os.ReadFile(name)
	if err != nil {
		return l, []error{fmt.Errorf("reading settings: %w", err)}
	}
	errs := t.checkYAML(name, text, l.origins)
	if err := l.values.Load(rawbytes.Provider(text), yaml.Parser()); err != nil && len(errs) == 0 {
		errs = []error{fmt.Errorf("reading settings from %s: %w", name, err)}
	}
	return l, errs
}

func (t *Tree) environment(o Options, report *Report) (layer, []error) {
	l := layer{koanf.New("."), map[string]string{}}
	vars, errs := t.variables(o, report)
	given := map[string]variable{}
	names := make([]string, 0, len(vars))
	for _, v := range vars {
		if other, ok := given[v.path]; ok && other.value != v.value {
			errs = append(errs, fmt.Errorf("environment %s and %s both set %s, to different values: unset one", other.name, v.name, v.path))
			continue
		}
		given[v.path] = v
		names = append(names, v.name)
		l.origins[t.owner(v.path).Path] = "environment " + v.name
	}
	byName := map[string]variable{}
	for _, v := range given {
		byName[v.name] = v
	}
	provider := env.Provider(".", env.Opt{
		EnvironFunc: func() []string {
			out := make([]string, 0, len(names))
			for _, n := range names {
				out = append(out, n+"="+byName[n].value)
			}
			return out
		},
		TransformFunc: func(name, value string) (string, any) { return byName[name].path, value },
	})
	if err := l.values.Load(provider, nil); err != nil {
		errs = append(errs, fmt.Errorf("reading settings from the environment: %w", err))
	}
	return l, errs
}

func (t *Tree) flags(o Options) (layer, []error) {
	l := layer{koanf.New("."), map[string]string{}}
	var errs []error
	if o.Flags != nil {
		provider := posflag.ProviderWithFlag(o.Flags, ".", l.values, func(f *pflag.Flag) (string, any) {
			path := o.FlagPaths[f.Name]
			if path == "" || !f.Changed {
				return "", nil
			}
			l.origins[path] = "flag --" + f.Name
			return path, posflag.FlagVal(o.Flags, f)
		})
		if err := l.values.Load(provider, nil); err != nil {
			errs = append(errs, fmt.Errorf("reading settings from flags: %w", err))
		}
	}
	overrides := map[string]any{}
	for _, s := range o.Set {
		key, value, ok := strings.Cut(s, "=")
		owner := t.owner(key)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("flag --set %s: it must be key=value", s))
			continue
		case owner == nil:
			errs = append(errs, fmt.Errorf("flag --set: key %q is unknown%s", key, t.nearest(key)))
			continue
		}
		overrides[key] = value
		l.origins[owner.Path] = "flag --set"
	}
	if err := l.values.Load(confmap.Provider(overrides, "."), nil); err != nil {
		errs = append(errs, fmt.Errorf("reading settings from --set: %w", err))
	}
	return l, errs
}

// nearest suggests the setting that an unknown key may have meant.
func (t *Tree) nearest(key string) string {
	known := make([]string, 0, len(t.fields))
	for _, f := range t.fields {
		known = append(known, f.Path)
	}
	// Of equally near ones the first in the alphabet, so that messages are stable.
	slices.SortStableFunc(known, cmp.Compare)
	return suggestion(key, known)
}
