package tape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

func jsonText(t testing.TB, in []entry) string {
	t.Helper()
	var f buffer
	write(t, NewJSONWriter(&f), in)
	return f.String()
}

// normal gives a record the form that both a value and its JSON have.
func normal(t *testing.T, in []entry) []string {
	t.Helper()
	var dec schemas.Decoder
	out := make([]string, 0, len(in))
	for _, e := range in {
		v, content := e.Value, e.ContentType
		if m, err := dec.Decode(e.Type, e.ContentType, e.Value); err == nil && e.Value != nil {
			if v, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
				t.Fatal(err)
			}
			content = "decoded"
		} else if compact := new(bytes.Buffer); json.Compact(compact, e.Value) == nil {
			v = compact.Bytes() // white space is not kept
		}
		out = append(out, fmt.Sprintf("%s/%d@%d %q(%v) %s %s %q(%v)", e.Topic, e.Partition, e.Offset, e.Key, e.Key == nil, e.Type, content, v, v == nil))
	}
	return out
}

func TestJSONRoundTripKeepsOrderAndBytes(t *testing.T) {
	in := entries(t, 11, 3000)
	got, err := readAll(NewJSONReader(strings.NewReader(jsonText(t, in)), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(normal(t, in), normal(t, got)); d != "" {
		t.Errorf("%.3000s", d)
	}
}

func TestJSONWriterIsPlain(t *testing.T) {
	tick, err := proto.Marshal(&schemas.Tick{Source: "sim", Time: 1_700_000_000e9})
	if err != nil {
		t.Fatal(err)
	}
	got := jsonText(t, []entry{
		{"market.trades", 0, Record{Offset: 0, Type: "Tick", Value: tick}},
		{"market.trades", 0, Record{Offset: 1, Type: "Trade", Key: []byte("sim:S"), Value: []byte{1, 2, 3}}},
		{"market.trades", 2, Record{Offset: 9, Type: "Event", ContentType: schemas.ContentJSON, Value: []byte(`{ "id" : "a" }`)}},
	})
	want := `{"topic":"market.trades","type":"Tick","value":{"source":"sim","time":"1700000000000000000"}}
{"topic":"market.trades","key":"sim:S","type":"Trade","bytes":"AQID"}
{"topic":"market.trades","partition":2,"offset":9,"type":"Event","value":{"id":"a"}}
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestJSONKeepsUnknownFields(t *testing.T) {
	v := append(trade(t, 1), 0xf8, 0x07, 1) // field 127
	got, err := readAll(NewJSONReader(strings.NewReader(jsonText(t, []entry{{"x", 0, Record{Type: "Trade", Value: v}}})), Options{}))
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, v) {
		t.Errorf("got %v, %v", got, err)
	}
}

const goodLine = `{"topic":"market.trades","key":"sim:S","type":"Trade","value":{"takerSide":"SIDE_BUY"}}`

func TestJSONBadLines(t *testing.T) {
	bad := []string{
		`{"topic":`, `nonsense`, `[]`, `{"topic":"t"} trailing`, `{"type":"Trade"}`, `{"topic":"t","partition":-1}`, `{"topic":"t","offset":-7}`,
		`{"topic":"t","typ":"Trade"}`, `{"topic":"t","value":{},"bytes":"AA=="}`, `{"topic":"t","bytes":"?"}`, `{"topic":"t","partition":4294967296}`,
		`{"topic":"t","value":"` + strings.Repeat("x", MaxLineBytes) + `"}`,
	}
	var text strings.Builder
	for _, b := range bad {
		fmt.Fprintf(&text, "%s\n%s\r\n\n", b, goodLine)
	}
	var lines []int
	o := Options{BadLine: func(e *LineError) error {
		lines = append(lines, e.Line)
		if len(e.Text) > 80 {
			t.Errorf("line %d: the text has %d bytes, at most 80 are kept", e.Line, len(e.Text))
		}
		return nil
	}}
	got, err := readAll(NewJSONReader(strings.NewReader(text.String()), o))
	if err != nil || len(got) != len(bad) {
		t.Fatalf("%d of %d good lines, %v", len(got), len(bad), err)
	}
	for i, n := range lines {
		if n != 1+3*i {
			t.Errorf("bad line %d was named %d", 1+3*i, n)
		}
	}
	if len(lines) != len(bad) {
		t.Errorf("%d bad lines were reported, must be %d", len(lines), len(bad))
	}
}

func TestJSONRejectsByDefault(t *testing.T) {
	r := NewJSONReader(strings.NewReader(goodLine+"\nnonsense\n"+goodLine), Options{})
	got, err := readAll(r)
	var le *LineError
	if len(got) != 1 || !errors.As(err, &le) || le.Line != 2 || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%d records, %v: must be 1 and an error of line 2", len(got), err)
	}
	stop := errors.New("enough")
	_, err = readAll(NewJSONReader(strings.NewReader("nonsense\n"+goodLine), Options{BadLine: func(*LineError) error { return stop }}))
	if !errors.Is(err, stop) {
		t.Errorf("error is %v, must be %v", err, stop)
	}
}

func TestJSONEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		r io.Reader
		n int
		e error
	}{
		"empty":               {strings.NewReader(""), 0, nil},
		"only blank lines":    {strings.NewReader("\n \n\r\n"), 0, nil},
		"no newline at end":   {strings.NewReader(goodLine + "\n" + goodLine), 2, nil},
		"byte by byte":        {iotest.OneByteReader(strings.NewReader(goodLine + "\n" + goodLine + "\n")), 2, nil},
		"end with the data":   {iotest.DataErrReader(strings.NewReader(goodLine)), 1, nil},
		"an error in between": {io.MultiReader(strings.NewReader(goodLine+"\n"), iotest.ErrReader(io.ErrNoProgress)), 1, io.ErrNoProgress},
	} {
		got, err := readAll(NewJSONReader(tc.r, Options{}))
		if len(got) != tc.n || !errors.Is(err, tc.e) {
			t.Errorf("%s: %d records, %v: must be %d, %v", name, len(got), err, tc.n, tc.e)
		}
	}
}

func TestJSONOffsetsCountPerPartition(t *testing.T) {
	text := `{"topic":"a"}
{"topic":"b"}
{"topic":"a"}
{"topic":"a","partition":1}
{"topic":"a","offset":40}
{"topic":"a"}
`
	got, err := readAll(NewJSONReader(strings.NewReader(text), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, e := range got {
		at = append(at, fmt.Sprintf("%s%d@%d", e.Topic, e.Partition, e.Offset))
	}
	if want := "[a0@0 b0@0 a0@1 a1@0 a0@40 a0@41]"; fmt.Sprint(at) != want {
		t.Errorf("got %v, must be %s", at, want)
	}
}

func FuzzJSONReader(f *testing.F) {
	f.Add([]byte(goodLine + "\n" + goodLine))
	f.Add([]byte(jsonText(f, entries(f, 12, 30))))
	f.Add([]byte("{\"topic\":\"t\",\"offset\":9223372036854775807}\n{\"topic\":\"t\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		bad := 0
		got, err := readAll(NewJSONReader(bytes.NewReader(data), Options{BadLine: func(*LineError) error { bad++; return nil }}))
		if err != nil {
			t.Fatal(err)
		}
		again, err := readAll(NewJSONReader(strings.NewReader(jsonText(t, got)), Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(normal(t, got), normal(t, again)); d != "" {
			t.Fatal(d)
		}
	})
}
