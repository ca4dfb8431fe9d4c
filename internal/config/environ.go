package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Prefix begins the environment name of every setting: TAPEWATCH_<SECTION>__<KEY>, two underscores for each dot.
const Prefix = "TAPEWATCH_"

// An Alias is an environment name that operators know from elsewhere.
type Alias struct {
	Name string
	// Path is the setting that it sets; empty when its part does not exist yet.
	Path string
	// Note says what it means here, or why it has no effect yet.
	Note string
}

// EnvName returns the environment name of a setting.
func EnvName(path string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// reserved names begin like settings and are not: the file of settings, and what the tests read.
func reserved(name string) bool {
	return name == Prefix+"CONFIG" || name == Prefix+"DATA" || strings.HasPrefix(name, Prefix+"REQUIRE_") || strings.HasPrefix(name, Prefix+"TEST_")
}

// A variable is an environment entry that sets something.
type variable struct{ name, path, value string }

// variables finds the environment entries that are ours, in the order of their names. An empty entry counts as not set, as
// `${X:-}` in a compose file means it.
func (t *Tree) variables(o Options, report *Report) ([]variable, []error) {
	environ := slices.DeleteFunc(slices.Clone(o.Environ), func(e string) bool { return strings.HasSuffix(e, "=") && strings.Count(e, "=") == 1 })
	slices.Sort(environ)
	set := map[string]bool{}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	var out []variable
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		plainName, isFile := strings.CutSuffix(name, "_FILE")
		v, known, err := t.variable(o, name, value, report)
		if !known && isFile {
			if v, known, err = t.variable(o, plainName, value, report); known && err == nil {
				v.value, err = t.secretFile(name, v.path, value, set[plainName])
				v.name = name
			}
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case known && v.path != "":
			out = append(out, v)
		case !known && looksOurs(name):
			report.Doubts = append(report.Doubts, fmt.Sprintf("environment %s is not a name that tapewatch reads%s", name, suggestion(name, aliasNames(o.Aliases))))
		}
	}
	return out, errs
}

// variable resolves one name. known is false for names that are not ours.
func (t *Tree) variable(o Options, name, value string, report *Report) (v variable, known bool, err error) {
	for _, a := range o.Aliases {
		if a.Name != name {
			continue
		}
		if a.Path == "" {
			report.Idle = append(report.Idle, fmt.Sprintf("environment %s=%s has no effect yet: %s", name, value, a.Note))
			return variable{}, true, nil
		}
		return variable{name, a.Path, value}, true, nil
	}
	rest, ours := strings.CutPrefix(name, Prefix)
	if !ours || reserved(name) {
		return variable{}, ours, nil
	}
	path := strings.ToLower(strings.ReplaceAll(rest, "__", "."))
	if t.owner(path) == nil {
		if strings.HasSuffix(name, "_FILE") {
			return variable{}, false, nil
		}
		return variable{}, true, fmt.Errorf("environment %s: key %q is unknown%s", name, path, t.nearest(path))
	}
	return variable{name, path, value}, true, nil
}

// secretFile reads the value of a secret from the file that NAME_FILE names.
func (t *Tree) secretFile(name, path, file string, both bool) (string, error) {
	if both {
		return "", fmt.Errorf("environment %s and %s are both set: unset one", name, strings.TrimSuffix(name, "_FILE"))
	}
	if f := t.byPath[path]; f == nil || !f.Secret {
		return "", fmt.Errorf("environment %s: %s is not a secret, and only secrets are read from files", name, path)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the secret of %s: %w", name, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func aliasNames(aliases []Alias) []string {
	out := make([]string, 0, len(aliases))
	for _, a := range aliases {
		out = append(out, a.Name)
	}
	return out
}

// looksOurs reports whether a name has the form of an alias, so that a misspelt one is not passed over in silence.
func looksOurs(name string) bool {
	switch {
	case strings.HasPrefix(name, "WATCHDOG_"), strings.HasPrefix(name, Prefix) && !reserved(name):
		return true
	case strings.HasPrefix(name, "ENABLE_"):
		return strings.HasSuffix(name, "_WATCHDOG") || strings.HasSuffix(name, "_WORKER")
	}
	return strings.HasPrefix(name, "WORKER_")
}
