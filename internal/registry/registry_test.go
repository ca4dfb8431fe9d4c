package registry

import (
	"encoding/binary"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/schemas/proto"
)

func trade() *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "A-B", EventTime: 1_700_000_000_000_000_000},
		Price: &schemas.Decimal{Mantissa: 12, Exponent: -1}, Quantity: &schemas.Decimal{Mantissa: 3},
	}
}

func TestFramedRecordsGoRound(t *testing.T) {
	fake := srfake.New()
	t.Cleanup(fake.Close)
	writer, err := New(t.Context(), sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	// A second process finds what is registered: the same ids.
	reader, err := New(t.Context(), sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	enc := schemas.Encoder{Frame: writer.Frame}
	dec := schemas.Decoder{SchemaType: reader.SchemaType}
	for _, m := range []schemas.Message{trade(), &schemas.Tick{Source: "s", Time: 5}, &schemas.Event{Id: "x"}, &schemas.Article{Title: "t"}} {
		value, err := enc.AppendValue(nil, schemas.MarketTrades, m)
		if err != nil {
			t.Fatal(err)
		}
		if value[0] != 0 || binary.BigEndian.Uint32(value[1:5]) == 0 {
			t.Fatalf("%s is not framed: %x", schemas.TypeOf(m), value[:6])
		}
		got, err := dec.Decode("no type is needed", "", value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", schemas.TypeOf(m), diff)
		}
	}
}

func TestIdsOfOtherWriters(t *testing.T) {
	fake := srfake.New()
	t.Cleanup(fake.Close)
	r, err := New(t.Context(), sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	// A later version of the contract, with a message before Trade and braces where they mean nothing.
	text := "syntax = \"proto3\";\npackage tapewatch.v1;\n/* message No { */\noption (x) = \"message No {\";\nmessage Other { message Inner {} oneof a { int32 b = 1; } }\nenum E { Z = 0; }\nmessage Trade\n{ }\n"
	later, err := r.client.CreateSchema(t.Context(), "other", sr.Schema{Schema: text, Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.SchemaType(uint32(later.ID), []int{1}); err != nil || got != "Trade" {
		t.Errorf("message 1 of the later schema = %q, %v; want Trade", got, err)
	}
	foreign, err := r.client.CreateSchema(t.Context(), "foreign", sr.Schema{Schema: `syntax = "proto3"; package p; message M {}`, Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id    int
		index []int
		want  string
	}{
		{foreign.ID, []int{0}, "it must be of package tapewatch.v1"},
		{9999, []int{0}, "asking the registry for schema 9999"},
		{later.ID, []int{7}, "has no message [7]"},
		{later.ID, []int{0, 0}, "has no message [0 0]"},
	} {
		if _, err := r.SchemaType(uint32(c.id), c.index); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("SchemaType(%d, %v) = %v, want an error with %q", c.id, c.index, err, c.want)
		}
	}
	if _, err := r.Frame("Nonsense"); err == nil {
		t.Error("a type that is not ours must not be framed")
	}
}

func TestParseAgreesWithTheGeneratedCode(t *testing.T) {
	for _, f := range files() {
		text, err := proto.Files.ReadFile(f.Path())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range f.Messages().Len() {
			want = append(want, string(f.Messages().Get(i).Name()))
		}
		got, err := parse(sr.Schema{Schema: string(text), Type: sr.TypeProtobuf})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", f.Path(), err, diff)
		}
	}
}

func TestAShortOutageIsWaitedForAndAnswersAreRemembered(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	r, err := New(t.Context(), sr.URLs(fake.URL()))
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	fake.SeedSchema("s", 1, 900, sr.Schema{Schema: "syntax = \"proto3\";\npackage tapewatch.v1;\nmessage Trade {}", Type: sr.TypeProtobuf})
	if got, err := r.SchemaType(900, []int{0}); got != "Trade" || asked.Load() != 3 {
		t.Errorf("%q, %v after %d questions: must be Trade after 3", got, err, asked.Load())
	}
	for range 10 {
		_, _ = r.SchemaType(900, []int{0})
		_, _ = r.SchemaType(901, []int{0})
	}
	if n := asked.Load() - 3; n != 1 {
		t.Errorf("%d questions for a known id and an unknown one: must be 1", n)
	}
}
