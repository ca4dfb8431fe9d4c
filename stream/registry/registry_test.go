package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tapewatch/tapewatch/schemas"
)

func open(t *testing.T, fake *srfake.Registry) *Registry {
	t.Helper()
	r, err := Open(t.Context(), fake.URL(), schemas.Catalogue())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t *testing.T) *srfake.Registry {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	return fake
}

func trade() *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "sim", Venue: "sim", Symbol: "S-USD", EventTime: 1_700_000_000e9},
		Price: &schemas.Decimal{Mantissa: 7}, Quantity: &schemas.Decimal{Mantissa: 1},
	}
}

func TestFramedValuesComeBackWhateverTheHeaderSays(t *testing.T) {
	r := open(t, serve(t))
	enc, dec := schemas.Encoder{Frame: r.Frame}, schemas.Decoder{SchemaType: r.SchemaType}
	for _, topic := range schemas.Catalogue() {
		for _, name := range topic.Types {
			m, err := schemas.NewMessage(name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "Trade" {
				m = trade()
			}
			value, err := enc.AppendValue(nil, topic, m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := dec.Decode("Nonsense", "", value)
			if err != nil {
				t.Fatalf("%s on %s: %v", name, topic.Name, err)
			}
			if d := cmp.Diff(m, got, protocmp.Transform()); d != "" || schemas.TypeOf(got) != name {
				t.Errorf("%s on %s came back as %s: %s", name, topic.Name, schemas.TypeOf(got), d)
			}
		}
	}
}

func TestTheFramingIsConfluents(t *testing.T) {
	fake := serve(t)
	r := open(t, fake)
	frame, err := r.Frame("Bar")
	if err != nil {
		t.Fatal(err)
	}
	var h sr.ConfluentHeader
	id, rest, err := h.DecodeID(frame)
	if err != nil {
		t.Fatal(err)
	}
	index, rest, err := h.DecodeIndex(rest, 1)
	if err != nil || len(rest) != 0 {
		t.Fatal(err, rest)
	}
	s, ok := fake.GetSchema("tapewatch.v1.Bar", 1)
	m, _ := schemas.NewMessage("Bar")
	if !ok || s.ID != id || index[0] != m.ProtoReflect().Descriptor().Index() {
		t.Errorf("id %d and index %v: the registry has %d, the descriptor %d", id, index, s.ID, m.ProtoReflect().Descriptor().Index())
	}
	want := []sr.SchemaReference{{Name: "tapewatch/v1/common.proto", Subject: "tapewatch/v1/common.proto", Version: 1}}
	if d := cmp.Diff(want, s.References); d != "" {
		t.Error(d)
	}
	if _, err := r.Frame("Marker"); err == nil {
		t.Error("a type of no topic was framed")
	}
}

func TestOpenAgainChangesNothing(t *testing.T) {
	fake := serve(t)
	a, b := open(t, fake), open(t, fake)
	if d := cmp.Diff(a.frames, b.frames); d != "" {
		t.Error(d)
	}
	if _, two := fake.GetSchema("tapewatch.v1.Trade", 2); two {
		t.Error("a second version was registered")
	}
	fake.Close()
	if _, err := Open(t.Context(), fake.URL(), schemas.Catalogue()); err == nil || !strings.Contains(err.Error(), fake.URL()) {
		t.Errorf("a registry that is down: %v", err)
	}
}

func TestOtherVersionsAreLookedUp(t *testing.T) {
	fake := serve(t)
	r := open(t, fake)
	seed := func(id int, text string, typ sr.SchemaType) {
		fake.SeedSchema(fmt.Sprint("s", id), 1, id, sr.Schema{Schema: text, Type: typ})
	}
	seed(900, `syntax = "proto3"; // message Fake {
package tapewatch.v1;
/* message Other { */ option x = "message { \" {";
enum E { A = 0; }
message Later { message Nested { int32 a = 1; } Nested n = 1; }
message Trade { int32 a = 1; }`, sr.TypeProtobuf)
	seed(901, `syntax = "proto3"; package elsewhere; message Trade {}`, sr.TypeProtobuf)
	seed(902, `{"type":"string"}`, sr.TypeJSON)
	for _, tc := range []struct {
		id    uint32
		index []int
		want  string
	}{
		{900, []int{1}, "Trade"},
		{900, []int{0}, "Later"},
		{900, []int{2}, ""},
		{900, []int{0, 0}, ""},
		{901, []int{0}, ""},
		{902, []int{0}, ""},
		{4_000_000_000, []int{0}, ""},
	} {
		got, err := r.SchemaType(tc.id, tc.index)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("id %d index %v: %q, %v: must be %q", tc.id, tc.index, got, err, tc.want)
		}
	}
	value := append([]byte{0, 0, 0, 3, 133, 0}, 1) // id 901
	dec := schemas.Decoder{SchemaType: r.SchemaType}
	if _, err := dec.Decode("Trade", "", value); !errors.Is(err, schemas.ErrUndecodable) {
		t.Errorf("a foreign schema: %v", err)
	}
}

func TestAShortOutageIsWaitedFor(t *testing.T) {
	fake := serve(t)
	r := open(t, fake)
	var asked atomic.Int32
	fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	fake.SeedSchema("s", 1, 900, sr.Schema{Schema: "package tapewatch.v1; message Trade {}", Type: sr.TypeProtobuf})
	if got, err := r.SchemaType(900, []int{0}); got != "Trade" || asked.Load() < 3 {
		t.Errorf("%q, %v after %d questions", got, err, asked.Load())
	}
	asked.Store(100)
	for range 10 {
		_, _ = r.SchemaType(900, []int{0})
		_, _ = r.SchemaType(901, []int{0})
	}
	if n := asked.Load() - 100; n != 1 {
		t.Errorf("%d questions for a known id and an unknown one: must be 1", n)
	}
}

func TestParseKnowsOurOwnFiles(t *testing.T) {
	m, err := schemas.NewMessage("Event")
	if err != nil {
		t.Fatal(err)
	}
	f := m.ProtoReflect().Descriptor().ParentFile()
	text, err := schemas.ProtoSource(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(sr.Schema{Schema: text, Type: sr.TypeProtobuf})
	if d := cmp.Diff(messagesOf(f), got); d != "" || err != nil {
		t.Error(d, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("package tapewatch.v1; message A {}")
	f.Add("/* \" ' // é")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parse(sr.Schema{Schema: text, Type: sr.TypeProtobuf})
		if (err == nil) != (len(got) > 0) {
			t.Errorf("%q, %v", got, err)
		}
	})
}
