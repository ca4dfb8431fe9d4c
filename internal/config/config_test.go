package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/internal/secret"
)

type rung string

func (r *rung) UnmarshalText(text []byte) error {
	if len(text) != 2 {
		return errors.New("a rung has two letters")
	}
	*r = rung(text)
	return nil
}

type broker struct {
	Hosts  []string      `koanf:"hosts" doc:"Hosts."`
	Port   int           `koanf:"port" doc:"Port."`
	Wait   time.Duration `koanf:"wait" doc:"How long to wait."`
	Ratio  float64       `koanf:"ratio" doc:"A ratio."`
	On     bool          `koanf:"on" doc:"On or off."`
	Key    secret.Secret `koanf:"key" doc:"A key."`
	Rung   rung          `koanf:"rung" doc:"Two letters."`
	Limits struct {
		Bytes uint32 `koanf:"bytes" doc:"Bytes."`
	} `koanf:"limits"`
	Columns map[string]int `koanf:"columns" doc:"Columns by name."`
	Inputs  []input        `koanf:"inputs" doc:"Inputs."`
}

type input struct {
	Name string `koanf:"name"`
	Rows int    `koanf:"rows"`
}

func (b broker) Validate() error {
	if b.Port < 1 {
		return fmt.Errorf("broker.port is %d: it must be at least 1", b.Port)
	}
	return nil
}

func mounted() (*Tree, *broker) {
	b := &broker{Hosts: []string{"a", "b"}, Port: 1, Wait: time.Minute, Ratio: 0.5, Key: secret.New("default-key"), Rung: "aa", Columns: map[string]int{"t": 0}}
	b.Limits.Bytes = 7
	t := &Tree{}
	t.Add("broker", "The broker.", b)
	return t, b
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLaterLayersWin(t *testing.T) {
	tree, b := mounted()
	first := write(t, "one.yaml", "broker:\n  port: 2\n  wait: 5s\n  ratio: 1\n  hosts: [x]\n  limits: {bytes: 9}\n")
	second := write(t, "two.yaml", "broker:\n  wait: 6\n  ratio: 2\n  inputs:\n    - {name: 2024-01-01T00:00:00Z, rows: 3}\n")
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	fs.StringSlice("hosts", nil, "")
	fs.Bool("other", false, "")
	if err := fs.Parse([]string{"--hosts", "f1,f2", "--other"}); err != nil {
		t.Fatal(err)
	}
	report, err := tree.Load(Options{
		Files:   []string{first, second},
		Environ: []string{"HOME=/", "TAPEWATCH_BROKER__RATIO=3", "OLD_ON=true", "LATER=7", "TAPEWATCH_BROKER__LIMITS__BYTES=11", "TAPEWATCH_BROKER__WAIT=", "WATCHDOG_TYPO=1"},
		Aliases: []Alias{{Name: "OLD_ON", Path: "broker.on"}, {Name: "LATER", Note: "comes with the next part"}, {Name: "WATCHDOG_TYPE", Note: "x"}},
		Flags:   fs, FlagPaths: map[string]string{"hosts": "broker.hosts"},
		Set: []string{"broker.rung=zz", "broker.columns.price=4"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := broker{
		Hosts: []string{"f1", "f2"}, Port: 2, Wait: 6 * time.Second, Ratio: 3, On: true, Key: secret.New("default-key"), Rung: "zz",
		Columns: map[string]int{"price": 4}, Inputs: []input{{"2024-01-01T00:00:00Z", 3}},
	}
	want.Limits.Bytes = 11
	if diff := cmp.Diff(want, *b); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	for path, origin := range map[string]string{
		"broker.port": first + ":2", "broker.wait": second + ":2", "broker.ratio": "environment TAPEWATCH_BROKER__RATIO",
		"broker.on": "environment OLD_ON", "broker.hosts": "flag --hosts", "broker.rung": "flag --set", "broker.key": "default",
		"broker.limits.bytes": "environment TAPEWATCH_BROKER__LIMITS__BYTES",
	} {
		if got := tree.Field(path).Origin; got != origin {
			t.Errorf("origin of %s = %q, want %q", path, got, origin)
		}
	}
	if len(report.Idle) != 1 || !strings.Contains(report.Idle[0], "comes with the next part") {
		t.Errorf("idle = %q", report.Idle)
	}
	if len(report.Doubts) != 1 || !strings.Contains(report.Doubts[0], `did you mean "WATCHDOG_TYPE"`) {
		t.Errorf("doubts = %q", report.Doubts)
	}
}

func TestMistakesNamePlaceValueAndRule(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		env  []string
		set  []string
		want []string
	}{
		"unknown key":     {yaml: "broker:\n  port: 2\n  prot: 3\n", want: []string{"f.yaml:3: ", `key "broker.prot" is unknown; did you mean "port"?`}},
		"unknown section": {yaml: "\nbrokr:\n  port: 2\n", want: []string{"f.yaml:2: ", `did you mean "broker"?`}},
		"two at once":     {yaml: "a: 1\nb: 2\n", want: []string{"f.yaml:1: ", "f.yaml:2: "}},
		"key and value":   {yaml: "broker:\n  prot: 3\n  port: many\n", want: []string{"f.yaml:2: ", `f.yaml:3: broker.port is "many"`}},
		"key and rule":    {yaml: "broker:\n  prot: 3\n  port: 0\n", want: []string{"f.yaml:2: ", "f.yaml:3: broker.port is 0"}},
		"twice":           {yaml: "broker:\n  port: 2\n  port: 3\n", want: []string{`f.yaml:3: key "broker.port" stands at line 2 already`}},
		"not a map":       {yaml: "broker: 5\n", want: []string{`f.yaml:1: broker is "5": it must be a map of settings`}},
		"number":          {yaml: "broker:\n  port: many\n", want: []string{`f.yaml:2: broker.port is "many": it must be a whole number`}},
		"fraction":        {yaml: "broker:\n  port: 1.5\n", want: []string{`broker.port is 1.5: it must be a whole number`}},
		"duration":        {yaml: "broker:\n  wait: soon\n", want: []string{"it must be a duration such as 30s"}},
		"no duration":     {yaml: "broker:\n  wait: nan\n", want: []string{`broker.wait is "nan": it must be a duration such as 30s`}},
		"endless":         {yaml: "broker:\n  wait: -.inf\n", want: []string{"it must be a duration such as 30s"}},
		"long duration":   {yaml: "broker:\n  wait: 1e300\n", want: []string{"it must be a duration such as 30s or 15m, or a number of seconds, of less than 292 years"}},
		"just too long":   {yaml: "broker:\n  wait: 9223372037\n", want: []string{"of less than 292 years"}},
		"bool":            {yaml: "broker:\n  on: perhaps\n", want: []string{"it must be true or false"}},
		"list":            {yaml: "broker:\n  hosts: {a: 1}\n", want: []string{"it must be a list, not a map"}},
		"text":            {yaml: "broker:\n  key: [1]\n", want: []string{`broker.key is "***"`}},
		"own type":        {yaml: "broker:\n  rung: abc\n", want: []string{"a rung has two letters"}},
		"in a list":       {yaml: "broker:\n  inputs:\n  - {nam: 1}\n", want: []string{`key "nam" is unknown: it must be one of name, rows; did you mean "name"?`}},
		"rule":            {yaml: "broker:\n  port: 0\n", want: []string{"f.yaml:2: broker.port is 0: it must be at least 1"}},
		"environment":     {env: []string{"TAPEWATCH_BROKER__PROT=1"}, want: []string{`environment TAPEWATCH_BROKER__PROT: key "broker.prot" is unknown; did you mean "broker.port"?`}},
		"clash":           {env: []string{"TAPEWATCH_BROKER__PORT=1", "OLD_PORT=2"}, want: []string{"OLD_PORT and TAPEWATCH_BROKER__PORT both set broker.port"}},
		"file of no secret": {
			env: []string{"TAPEWATCH_BROKER__PORT_FILE=/nowhere"}, want: []string{"broker.port is not a secret"},
		},
		"set":         {set: []string{"broker.por=1"}, want: []string{`flag --set: key "broker.por" is unknown; did you mean "broker.port"?`}},
		"set of what": {set: []string{"broker.port"}, want: []string{"it must be key=value"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree, _ := mounted()
			file := write(t, "f.yaml", c.yaml)
			_, err := tree.Load(Options{Files: []string{file}, Environ: c.env, Set: c.set, Aliases: []Alias{{Name: "OLD_PORT", Path: "broker.port"}}})
			if err == nil {
				t.Fatalf("loading succeeded, want an error with %q", c.want)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q must contain %q", err, want)
				}
			}
		})
	}
}

func TestSecretsComeFromFilesAndAreMasked(t *testing.T) {
	for _, name := range []string{"TAPEWATCH_BROKER__KEY_FILE", "OLD_KEY_FILE"} {
		tree, b := mounted()
		o := Options{Environ: []string{name + "=" + write(t, "key", "s3cret\n")}, Aliases: []Alias{{Name: "OLD_KEY", Path: "broker.key"}}}
		if _, err := tree.Load(o); err != nil {
			t.Fatal(err)
		}
		if b.Key.Reveal() != "s3cret" {
			t.Errorf("key = %q, want what the file holds", b.Key.Reveal())
		}
		f := tree.Field("broker.key")
		if f.Value() != secret.Masked || f.Default() != secret.Masked {
			t.Errorf("value %v and default %v must be masked", f.Value(), f.Default())
		}
	}
	tree, _ := mounted()
	_, err := tree.Load(Options{Environ: []string{"TAPEWATCH_BROKER__KEY_FILE=/nowhere", "TAPEWATCH_BROKER__KEY=x"}})
	if err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("a secret given twice: %v", err)
	}
}

func TestReferenceLoadsToTheDefaults(t *testing.T) {
	_, b := mounted()
	b.Key = secret.Secret{}
	tree := &Tree{}
	tree.Add("broker", "The broker.", b)
	want := *b
	var text bytes.Buffer
	if err := tree.WriteReference(&text, "All settings."); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Load(Options{Files: []string{write(t, "ref.yaml", text.String())}}); err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	want.Inputs = []input{}
	if diff := cmp.Diff(want, *b); diff != "" {
		t.Errorf("loading the reference changed the defaults (-want +got):\n%s", diff)
	}
	for _, f := range tree.Fields() {
		if f.Origin == "default" {
			t.Errorf("%s is not in the reference:\n%s", f.Path, text.String())
		}
	}
}

func TestEditDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{{"port", "port"}: 0, {"prot", "port"}: 1, {"", "abc"}: 3, {"brokers", "broker"}: 1, {"kitten", "sitting"}: 3} {
		if got := editDistance(pair[0], pair[1]); got != want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", pair[0], pair[1], got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringN(0, 8, 8).Draw(t, "a"), rapid.StringN(0, 8, 8).Draw(t, "b")
		d := editDistance(a, b)
		if d != editDistance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("editDistance(%q, %q) = %d", a, b, d)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("broker:\n  port: 2\n  inputs: [{name: a}]\n")
	f.Add("broker: &a\n  port: 2\n<<: *a\n")
	f.Add("- 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		tree, _ := mounted()
		file := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = tree.Load(Options{Files: []string{file}}) // must not panic
	})
}
