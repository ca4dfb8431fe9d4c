package processor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Kind sorts processors for the command line and the health pages.
type Kind string

// The kinds of processor.
const (
	Watchdog Kind = "watchdog"
	Worker   Kind = "worker"
	Stage    Kind = "stage"
)

// A Config is the settings of a processor: a struct of values with koanf, json and doc tags. Field `koanf:"threshold_pct"
// json:"threshold_pct" doc:"…"`; durations are of type Duration.
type Config interface{ Validate() error }

// Spec declares a processor. One file registers one Spec from init.
type Spec[C Config] struct {
	// Name is snake_case and names the consumer group, the state topic and the metrics.
	Name    string
	Kind    Kind
	Summary string
	// Version counts changes of what the processor emits or stores; it is part of every event id.
	Version uint32
	// Input is the one topic it reads. The instances are one per record key of that topic.
	Input schemas.Topic
	// Output is where it writes. A stage's output is another processor's input: input Ticks are forwarded to it.
	Output schemas.Topic
	// Step is the cadence of OnTime in event time.
	Step time.Duration
	// Defaults is the configuration that a user who says nothing gets.
	Defaults C
	// New makes an empty instance. It must not keep or change c's pointers.
	New func(c C, key Key) Processor
}

// A Definition is a registered Spec with its configuration type erased.
type Definition struct {
	Name    string
	Kind    Kind
	Summary string
	Version uint32
	Input   schemas.Topic
	Output  schemas.Topic
	Step    time.Duration

	newConfig func() Config
	build     func(c Config) func(Key) Processor
}

// A Bound is a Definition with a validated configuration.
type Bound struct {
	*Definition
	// Config is a pointer to the configuration struct.
	Config Config
	// ConfigJSON is its canonical form: what the marker stores.
	ConfigJSON []byte
	// ConfigHash is the first 16 hex digits of the SHA-256 of ConfigJSON.
	ConfigHash string

	make func(Key) Processor
}

var registry = map[string]*Definition{}

// pointerConfig lets the registry hold *C as a Config, whichever receiver Validate has.
type pointerConfig[C Config] struct{ C *C }

func (p pointerConfig[C]) Validate() error { return (*p.C).Validate() }

// Register adds a processor. It panics on a wrong or doubled Spec: that is a programming error seen by every test.
func Register[C Config](s Spec[C]) {
	switch {
	case s.Name == "" || s.Name != strings.ToLower(s.Name):
		panic(fmt.Sprintf("registering processor %q: the name must be snake_case", s.Name))
	case registry[s.Name] != nil:
		panic(fmt.Sprintf("registering processor %q: the name is taken", s.Name))
	case s.Version == 0 || s.Step <= 0 || s.New == nil || s.Summary == "":
		panic(fmt.Sprintf("registering processor %q: version, step, summary and New are required", s.Name))
	case s.Kind != Watchdog && s.Kind != Worker && s.Kind != Stage:
		panic(fmt.Sprintf("registering processor %q: kind %q is unknown", s.Name, s.Kind))
	}
	defaults, err := json.Marshal(s.Defaults)
	if err != nil {
		panic(fmt.Sprintf("registering processor %q: writing its defaults: %v", s.Name, err))
	}
	registry[s.Name] = &Definition{
		Name: s.Name, Kind: s.Kind, Summary: s.Summary, Version: s.Version, Input: s.Input, Output: s.Output, Step: s.Step,
		newConfig: func() Config {
			// A copy in depth: a loader that writes into a slice must not reach the defaults.
			c := new(C)
			if err := json.Unmarshal(defaults, c); err != nil {
				panic(fmt.Sprintf("reading the defaults of %q: %v", s.Name, err))
			}
			return pointerConfig[C]{c}
		},
		build: func(c Config) func(Key) Processor {
			conf := *c.(pointerConfig[C]).C
			return func(k Key) Processor { return s.New(conf, k) }
		},
	}
}

// All returns the registered processors, sorted by name.
func All() []*Definition {
	out := make([]*Definition, 0, len(registry))
	for _, d := range registry {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *Definition) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Lookup finds a processor by name.
func Lookup(name string) (*Definition, error) {
	if d := registry[name]; d != nil {
		return d, nil
	}
	names := make([]string, 0, len(registry))
	for _, d := range All() {
		names = append(names, d.Name)
	}
	return nil, fmt.Errorf("processor %q is unknown: it must be one of %s", name, strings.Join(names, ", "))
}

// MarshalJSON writes the configuration struct itself.
func (p pointerConfig[C]) MarshalJSON() ([]byte, error) { return json.Marshal(p.C) }

// Target returns a pointer to the configuration struct, filled with the defaults, for a loader to write into; bind it with
// Bind(target) afterwards.
func (d *Definition) Target() (config Config, structPointer any) {
	c := d.newConfig()
	return c, c.(interface{ pointer() any }).pointer()
}

func (p pointerConfig[C]) pointer() any { return p.C }

// Bind validates a configuration made by Target. A nil config stands for the defaults.
func (d *Definition) Bind(c Config) (*Bound, error) {
	if c == nil {
		c = d.newConfig()
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", d.Name, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", d.Name, err)
	}
	sum := sha256.Sum256(text)
	return &Bound{Definition: d, Config: c, ConfigJSON: text, ConfigHash: hex.EncodeToString(sum[:8]), make: d.build(c)}, nil
}

// BindJSON binds a configuration in its canonical form over the defaults; unknown fields are errors.
func (d *Definition) BindJSON(text []byte) (*Bound, error) {
	c, target := d.Target()
	if len(text) > 0 {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(target); err != nil {
			return nil, fmt.Errorf("reading the configuration of %s: %w", d.Name, err)
		}
	}
	return d.Bind(c)
}

// New makes an empty instance for a key, outside any Task: for benchmarks and measurements.
func (b *Bound) New(key Key) Processor { return b.make(key) }
