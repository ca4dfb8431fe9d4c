package deadletter

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

func sample() (*kgo.Record, processor.Poison) {
	origin := &kgo.Record{
		Topic: "x.market.trades", Partition: 3, Offset: 1042, Key: []byte("binance:BTC-USDT"), Value: []byte{0, 255, 7},
		Headers: []kgo.RecordHeader{header("ce_type", "tapewatch.v1.Trade"), header("traceparent", "00-1"), header("ce_type", "twice")},
	}
	return origin, processor.Poison{
		Input:  processor.Input{Key: origin.Key, Value: origin.Value, Offset: origin.Offset},
		Reason: "panic", Detail: "price_anomaly panicked: boom", Instance: "binance:BTC-USDT", Stack: []byte("goroutine 9 [running]:\na.B(0xc000, 0x1)\n\t/src/a.go:7 +0x2f"),
	}
}

func TestEncodeKeepsTheOriginalAndSaysWhy(t *testing.T) {
	origin, poison := sample()
	r := Encode("x.dlq", origin, "price_anomaly", poison)
	if r.Topic != "x.dlq" || !r.Timestamp.IsZero() {
		t.Fatalf("the record is for topic %q at %v: it must be for x.dlq, with no time of its own", r.Topic, r.Timestamp)
	}
	r.Partition, r.Offset = 1, 5
	got, err := Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	want := &Letter{
		ID: ID{1, 5}, Reason: "panic", Detail: "price_anomaly panicked: boom", Topic: "x.market.trades", Partition: 3, Offset: 1042,
		Processor: "price_anomaly", Instance: "binance:BTC-USDT", Stack: "a.B(...)\n\ta.go:7",
		Key: origin.Key, Value: origin.Value, Headers: origin.Headers,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEncodeKeepsNilAndEmptyApart(t *testing.T) {
	for _, c := range []struct{ key, value []byte }{{nil, nil}, {[]byte{}, []byte{}}, {nil, []byte("v")}} {
		r := Encode("dlq", &kgo.Record{Topic: "market.trades"}, "p", processor.Poison{Input: processor.Input{Key: c.key, Value: c.value}, Reason: "invalid"})
		if (r.Key == nil) != (c.key == nil) || (r.Value == nil) != (c.value == nil) {
			t.Errorf("key %v value %v became %v %v", c.key, c.value, r.Key, r.Value)
		}
	}
}

func TestEncodeCountsRedrivesAndDropsForgedHeaders(t *testing.T) {
	origin, poison := sample()
	origin.Headers = append(origin.Headers, header(headerRedrives, "2"), header(headerTopic, "elsewhere"))
	l, err := Decode(Encode("dlq", origin, "p", poison))
	if err != nil {
		t.Fatal(err)
	}
	if l.Redrives != 2 || l.Topic != origin.Topic || len(l.Headers) != 3 {
		t.Errorf("redrives %d, topic %q, %d headers: must be 2, the true topic, and the 3 original ones", l.Redrives, l.Topic, len(l.Headers))
	}
}

func TestEncodeBoundsWhatItAdds(t *testing.T) {
	origin, poison := sample()
	poison.Detail, poison.Stack = strings.Repeat("é", 1<<20), []byte(strings.Repeat("f\n", 1<<20))
	l, err := Decode(Encode("dlq", origin, "p", poison))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Detail) > MaxDetailBytes || len(l.Stack) > MaxStackBytes || !strings.HasSuffix(l.Detail, "é ...") {
		t.Errorf("detail of %d and stack of %d bytes: at most %d and %d are allowed", len(l.Detail), len(l.Stack), MaxDetailBytes, MaxStackBytes)
	}
}

// What is larger than a letter is cut, headers first where the key and they are what is large.
func TestEncodeCutsWhatIsTooLarge(t *testing.T) {
	big := strings.Repeat("x", 2*BatchBytes)
	for name, change := range map[string]func(*kgo.Record, *processor.Poison){
		"value":  func(_ *kgo.Record, p *processor.Poison) { p.Value = []byte(big) },
		"key":    func(_ *kgo.Record, p *processor.Poison) { p.Key = []byte(big) },
		"header": func(r *kgo.Record, _ *processor.Poison) { r.Headers = append(r.Headers, header("x", big)) },
	} {
		origin, poison := sample()
		change(origin, &poison)
		r := Encode("dlq", origin, "p", poison)
		size := len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += headerBytes(h)
		}
		l, err := Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if size > BatchBytes || l.Cut < len(big) || l.Reason != "panic" || !strings.Contains(refusal(cluster.Config{Prefix: "x."}, l, 3), "market.trades/3 offset 1042") {
			t.Errorf("%s: a letter of %d bytes, cut %d, reason %q, refusal %q", name, size, l.Cut, l.Reason, refusal(cluster.Config{Prefix: "x."}, l, 3))
		}
		if !bytes.HasPrefix(poison.Value, l.Value) || !bytes.HasPrefix(poison.Key, l.Key) {
			t.Errorf("%s: what is kept is not the beginning", name)
		}
	}
	origin, poison := sample()
	if l, err := Decode(Encode("dlq", origin, "p", poison)); err != nil || l.Cut != 0 {
		t.Errorf("a small record: cut %d, %v", l.Cut, err)
	}
}

//go:noinline
func thrower(v *int, text string) int { return *v + len(text) }

// trace panics at some depth on another goroutine and returns its stack.
func trace(depth int, text string) (stack []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover(); stack = debug.Stack() }()
		var deeper func(int)
		deeper = func(n int) {
			if n > 0 {
				deeper(n - 1)
				return
			}
			thrower(nil, text)
		}
		deeper(depth)
	}()
	<-done
	return stack
}

func TestStableStackIsTheSameInEveryRun(t *testing.T) {
	a, b := stableStack(trace(2, "one")), stableStack(trace(2, "another text"))
	if a != b {
		t.Errorf("two runs gave\n%s\nand\n%s", a, b)
	}
	if !strings.Contains(a, "deadletter.thrower") || strings.Contains(a, "0x") || strings.Contains(a, "goroutine ") {
		t.Errorf("the trace must name the function and no address:\n%s", a)
	}
	if a == stableStack(trace(3, "one")) {
		t.Error("another path to the panic must give another trace")
	}
}

func TestDecodeRefuses(t *testing.T) {
	full := func(name, value string) []kgo.RecordHeader {
		hs := []kgo.RecordHeader{header(headerReason, "invalid"), header(headerTopic, "t"), header(headerPartition, "0"), header(headerOffset, "0")}
		for i, h := range hs {
			if h.Key == name {
				hs[i] = header(name, value)
				return hs
			}
		}
		return append(hs, header(name, value))
	}
	if _, err := Decode(&kgo.Record{Headers: full(headerProcessor, "p")}); err != nil {
		t.Fatalf("the smallest letter: %v", err)
	}
	for name, hs := range map[string][]kgo.RecordHeader{
		"no headers": nil, "no reason": full(headerReason, ""), "negative offset": full(headerOffset, "-1"),
		"huge partition": full(headerPartition, "4294967296"), "broken count": full(headerRedrives, "many"),
	} {
		if _, err := Decode(&kgo.Record{Headers: hs}); !errors.Is(err, ErrNotALetter) {
			t.Errorf("%s: error is %v, must be %v", name, err, ErrNotALetter)
		}
	}
}

func TestParseID(t *testing.T) {
	if id, err := ParseID("3/1042"); err != nil || id != (ID{3, 1042}) || id.String() != "3/1042" {
		t.Errorf("got %v, %v", id, err)
	}
	for _, text := range []string{"", "3", "/", "3/", "-1/2", "3/-2", "a/b", "3/4/5", "2147483648/1"} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%q was read as %v", text, id)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(headerReason, "panic", headerTopic, "market.trades", headerPartition, "3", headerOffset, "7")
	f.Add(headerReason, "x", headerTopic, "y", headerOffset, "9223372036854775807", headerRedrives, "2147483647")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, k3, v3, k4, v4 string) {
		r := &kgo.Record{
			Key: []byte(v1), Value: []byte(v2),
			Headers: []kgo.RecordHeader{header(k1, v1), header(k2, v2), header(k3, v3), header(k4, v4)},
		}
		l, err := Decode(r)
		if err != nil {
			if !errors.Is(err, ErrNotALetter) {
				t.Fatalf("error %v does not wrap %v", err, ErrNotALetter)
			}
			return
		}
		again, err := Decode(&kgo.Record{Key: l.Key, Value: l.Value, Headers: append(l.Headers, l.ownHeaders()...)})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(l, again); d != "" {
			t.Fatal(d)
		}
	})
}
