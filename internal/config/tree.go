// Package config loads the settings of a process: defaults written in Go, then YAML files, then the environment, then flags.
// A setting exists once, as a tagged field of a package's Config struct; the loader, the reference file and the documentation
// all read those tags. Unknown keys are errors that name file, line and the nearest key.
package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/internal/secret"
)

// A Tree is every setting of the program: structs, each mounted at a path.
type Tree struct {
	parts  []part
	fields []*Field
	byPath map[string]*Field
}

type part struct {
	path, doc string
	target    any
	// when says whether the target is validated; nil: always.
	when func() bool
}

// A Field is one setting.
type Field struct {
	// Path is the dotted name, such as "kafka.brokers".
	Path string
	// Doc is one sentence.
	Doc string
	// Secret values are masked wherever they are shown.
	Secret bool
	// Origin says where the value comes from: "default", "file:line", "environment NAME" or "flag --name".
	Origin string

	value    reflect.Value
	fallback any
}

// Add mounts the fields of a struct at a path; several structs may share one. target is a pointer to a struct with koanf and
// doc tags that holds the defaults; Load writes the settings into it. When it has a Validate method, Load calls that.
func (t *Tree) Add(path, doc string, target any) {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("mounting %s: the target is %T, it must be a pointer to a struct", path, target))
	}
	if t.byPath == nil {
		t.byPath = map[string]*Field{}
	}
	t.parts = append(t.parts, part{path: path, doc: doc, target: target})
	t.collect(path, v.Elem())
}

// AddWhen is Add for a part that may be left out: its Validate is called only when that says so after loading.
func (t *Tree) AddWhen(path, doc string, target any, when func() bool) {
	t.Add(path, doc, target)
	t.parts[len(t.parts)-1].when = when
}

func (t *Tree) collect(path string, v reflect.Value) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("koanf"), ",")
		if !sf.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			if opts == "squash" || sf.Anonymous {
				t.collect(path, v.Field(i))
			}
			continue
		}
		full := strings.TrimPrefix(path+"."+name, ".")
		if branch(sf.Type) {
			t.collect(full, v.Field(i))
			continue
		}
		if t.byPath[full] != nil {
			panic(fmt.Sprintf("mounting %s: the setting exists already", full))
		}
		f := &Field{
			Path: full, Doc: sf.Tag.Get("doc"), Origin: "default", value: v.Field(i), fallback: plain(v.Field(i)),
			Secret: sf.Type == reflect.TypeFor[secret.Secret]() || sf.Tag.Get("secret") == "true",
		}
		t.byPath[full] = f
		t.fields = append(t.fields, f)
	}
}

// Fields returns every setting, in the order in which they were mounted.
func (t *Tree) Fields() []*Field { return slices.Clone(t.fields) }

// Field finds a setting by its path, nil when there is none.
func (t *Tree) Field(path string) *Field { return t.byPath[path] }

// Value returns the setting as plain data (text, numbers, lists, maps); a secret that is set comes masked.
func (f *Field) Value() any {
	if f.Secret && f.value.Kind() == reflect.String {
		return secret.New(f.value.String()).String()
	}
	return plain(f.value)
}

// Default returns the value that the field had when it was mounted, masked when it is a secret.
func (f *Field) Default() any {
	if text, ok := f.fallback.(string); ok && f.Secret {
		return secret.New(text).String()
	}
	return f.fallback
}

var (
	textIn  = reflect.TypeFor[encoding.TextUnmarshaler]()
	textOut = reflect.TypeFor[encoding.TextMarshaler]()
)

// branch reports whether a type is a group of settings and not one.
func branch(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textIn)
}

// prefix reports whether path is a group that some field lies in.
func (t *Tree) prefix(path string) bool {
	for _, f := range t.fields {
		if strings.HasPrefix(f.Path, path+".") {
			return true
		}
	}
	return false
}

// owner returns the field that a key path lies at or in: "sources.files.columns.price" lies in "sources.files.columns".
func (t *Tree) owner(path string) *Field {
	for p := path; p != ""; {
		if f := t.byPath[p]; f != nil {
			return f
		}
		i := strings.LastIndexByte(p, '.')
		if i < 0 {
			return nil
		}
		p = p[:i]
	}
	return nil
}

// validate runs the Validate method of every mounted struct that has one and joins what they say.
func (t *Tree) validate() []error {
	var errs []error
	for _, p := range t.parts {
		v, ok := p.target.(interface{ Validate() error })
		if !ok || p.when != nil && !p.when() {
			continue
		}
		if err := v.Validate(); err != nil {
			errs = append(errs, t.located(p.path, err))
		}
	}
	return errs
}

// located adds where the settings that an error names come from.
func (t *Tree) located(path string, err error) error {
	for _, f := range t.fields {
		if f.Origin != "default" && path != "" && strings.HasPrefix(f.Path, path+".") && names(err.Error(), f.Path) {
			return fmt.Errorf("%s: %w", f.Origin, err)
		}
	}
	if path != "" && !strings.Contains(err.Error(), path) {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	return err
}

// names reports whether a message names a setting, by its path or by its last part.
func names(message, path string) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return r == ' ' || r == ':' || r == ',' || r == '"' }) {
		if word == path || word == last || strings.HasSuffix(word, "."+last) {
			return true
		}
	}
	return false
}
