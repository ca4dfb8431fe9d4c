package loopback

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/sources/bybit"
	"github.com/tapewatch/tapewatch/sources/capture"
)

func TestParseFault(t *testing.T) {
	for text, want := range map[string]Fault{
		"silence":                         {Kind: Silence},
		"silence:":                        {Kind: Silence},
		"drop:stream=book XBT/USD,at=100": {Kind: Drop, Stream: "book XBT/USD", At: 100},
		"duplicate:count=3":               {Kind: Duplicate, Count: 3},
		"reorder:after=1m30s":             {Kind: Reorder, After: 90 * time.Second},
		"corrupt:at=7,count=2,stream=a@b": {Kind: Corrupt, Stream: "a@b", At: 7, Count: 2},
		"cut:at=0":                        {Kind: Cut},
		"slow:for=250ms":                  {Kind: Slow, For: 250 * time.Millisecond},
		"half-open:after=5s":              {Kind: HalfOpen, After: 5 * time.Second},
		"disconnect:after=20s,":           {Kind: Disconnect, After: 20 * time.Second},
		"shutdown:for=10s":                {Kind: Shutdown, For: 10 * time.Second},
		"age:for=24h":                     {Kind: Age, For: 24 * time.Hour},
		"429:stream=/depth,count=2":       {Kind: TooMany, Stream: "/depth", Count: 2},
	} {
		got, err := ParseFault(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
	// An error says what was written, and what must be.
	for text, says := range map[string][]string{
		"":               {`fault "" is unknown`, "must be one of silence, drop, duplicate"},
		"flood:at=1":     {`fault "flood" is unknown`, "half-open, disconnect, shutdown, age, 429"},
		"drop:at":        {`fault drop has "at"`, "must be KEY=VALUE"},
		"drop:at=x":      {`fault drop has "at=x"`, "must be a whole number of 0 or more"},
		"drop:at=-1":     {`fault drop has "at=-1"`, "must be a whole number of 0 or more"},
		"drop:count=1.5": {`fault drop has "count=1.5"`, "must be a whole number of 0 or more"},
		"drop:after=20":  {`fault drop has "after=20"`, "must be a duration of 0 or more, such as 2s"},
		"slow:for=-1s":   {`fault slow has "for=-1s"`, "must be a duration of 0 or more, such as 2s"},
		"drop:when=1":    {`fault drop has "when=1"`, "must be one of stream, at, after, count, for"},
		"slow":           {"fault slow: for is missing", "must be a duration such as for=2s"},
		"age:at=3":       {"fault age: for is missing", "must be a duration such as for=2s"},
	} {
		_, err := ParseFault(text)
		for _, part := range says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, want %q in it", text, err, part)
			}
		}
	}
}

// Every kind is described, and parsed by its name.
func TestDescribe(t *testing.T) {
	for _, k := range kinds {
		if _, err := ParseFault(k.name + ":for=1s"); err != nil || !strings.Contains(Describe(), k.name+" ") || k.doc == "" {
			t.Errorf("%s: %v, or not described", k.name, err)
		}
	}
}

// A server refuses what its venue cannot do, and what it cannot play.
func TestNewErrors(t *testing.T) {
	spec, err := bybit.Defaults().Spec()
	if err != nil {
		t.Fatal(err)
	}
	for says, o := range map[string]Options{
		"this venue announces nothing":               {Faults: []Fault{{Kind: Shutdown}}},
		"has at 0, count 0, after -1s, for 0s: none": {Faults: []Fault{{Kind: Drop, After: -time.Second}}},
		"the recording has no frame of bybit.spot":   {Frames: []capture.Frame{{Kind: capture.Receive, Data: []byte(`{"success":true,"op":"subscribe"}`)}}},
	} {
		o.Spec = spec
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	spec.Market = "inverse"
	if _, err := New(Options{Spec: spec}); err == nil || !strings.Contains(err.Error(), "source bybit.inverse is not spoken: it must be one of binance.spot") {
		t.Errorf("%v, want what is spoken", err)
	}
}

// Which of ten messages, one a second, each fault strikes.
func TestRuleHits(t *testing.T) {
	for _, c := range []struct {
		fault string
		want  string
	}{
		{"drop", "x........."},
		{"drop:at=3", "..x......."},
		{"drop:at=3,count=2", "..xx......"},
		{"drop:count=4", "xxxx......"},
		{"drop:after=5s", ".....x...."},
		{"drop:after=5s,count=20", ".....xxxxx"},
		{"silence", "xxxxxxxxxx"},
		{"silence:at=4", "...xxxxxxx"},
		{"silence:at=4,count=2", "...xx....."},
	} {
		f, err := ParseFault(c.fault)
		if err != nil {
			t.Fatal(err)
		}
		r, got := rule{Fault: f}, []byte("..........")
		for n := range got {
			if r.hit(time.Duration(n) * time.Second) {
				got[n] = 'x'
			}
		}
		if string(got) != c.want {
			t.Errorf("%s strikes %s, want %s", c.fault, got, c.want)
		}
	}
	r := rule{Fault: Fault{Stream: "book.BTC"}}
	if !r.about([]string{"trade", "book.BTC-PERPETUAL"}) || r.about([]string{"trade.BTC"}) || !(&rule{}).about(nil) {
		t.Error("a rule is about the streams that have its text in their name, or about all")
	}
}

// One digit of one price or quantity is another; numbers, times and what is no number with a point stay.
func TestFlip(t *testing.T) {
	raw := []byte(`{"u":12,"t":"2024-01-01T00:00:00.5Z","b":[["100.50","3.0"]],"n":1.25}`)
	for seed := range uint64(200) {
		got := flip(raw, place(seed, 1))
		changed := 0
		for i := range raw {
			if got[i] != raw[i] {
				changed++
				if i < bytes.Index(raw, []byte("[[")) || raw[i] < '0' || raw[i] > '9' || got[i] < '0' || got[i] > '9' {
					t.Fatalf("%s: byte %d is changed", got, i)
				}
			}
		}
		if len(got) != len(raw) || changed != 1 {
			t.Fatalf("%s: %d bytes changed, want a digit", got, changed)
		}
	}
	if got := flip([]byte(`{"u":12}`), 5); string(got) != `{"u"` {
		t.Errorf("a frame without such a number is %s, want it cut", got)
	}
}
