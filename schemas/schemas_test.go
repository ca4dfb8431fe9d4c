package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// Every record type of the contract is carried by a topic, and every type that a topic names exists.
func TestCatalogueCoversTheContract(t *testing.T) {
	named := map[string]bool{"KeyState": true, "Marker": true}
	for _, topic := range Catalogue() {
		for _, n := range topic.Types {
			named[n] = true
			if _, err := NewMessage(n); err != nil {
				t.Errorf("%s: %v", topic.Name, err)
			}
		}
	}
	parts := map[string]bool{
		"Decimal": true, "Meta": true, "Level": true, "DepthBand": true, "Measure": true, "Position": true, "Evidence": true, "Component": true, "SourceTime": true, "Ordinal": true,
	}
	for _, f := range []protoreflect.FileDescriptor{File_tapewatch_v1_common_proto, File_tapewatch_v1_market_proto, File_tapewatch_v1_reference_proto, File_tapewatch_v1_output_proto} {
		for i := range f.Messages().Len() {
			if n := string(f.Messages().Get(i).Name()); !named[n] && !parts[n] {
				t.Errorf("%s is on no topic and part of no record", n)
			}
		}
	}
}

// A valid record of each type passes, and comes back equal through every encoding.
func TestRoundTrips(t *testing.T) {
	seen := map[string]bool{}
	var dec Decoder
	for _, m := range samples() {
		name := TypeOf(m)
		seen[name] = true
		if err := Validate(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, enc := range []Encoder{{}, {JSON: true}, {AllHeaders: true}} {
			for _, topic := range Catalogue() {
				if !topic.Has(name) {
					continue
				}
				value, err := enc.AppendValue(nil, topic, m)
				if err != nil {
					t.Fatal(err)
				}
				h := enc.Headers(topic, m)
				typ, content := topic.TypeFromHeader(len(h), func(i int) (string, []byte) { return h[i].Key, h[i].Value })
				got, err := dec.Decode(typ, content, value)
				if err != nil {
					t.Fatalf("%s on %s: %v", name, topic.Name, err)
				}
				if !proto.Equal(got, m) {
					t.Errorf("%s on %s:\n got %v\nwant %v", name, topic.Name, got, m)
				}
				if key := topic.KeyOf(m); name != "Tick" && !topic.KeyMatches([]byte(key), m) {
					t.Errorf("%s on %s: its own key %q does not match", name, topic.Name, key)
				}
				if name != "Tick" && topic.KeyMatches([]byte("no such key"), m) {
					t.Errorf("%s on %s: a foreign key matches", name, topic.Name)
				}
			}
		}
		text, err := MarshalJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		back, _ := NewMessage(name)
		if err := protojson.Unmarshal(text, back); err != nil || !proto.Equal(back, m) {
			t.Errorf("%s through JSON: %v\n got %v\nwant %v", name, err, back, m)
		}
	}
	for _, topic := range Catalogue() {
		for _, n := range topic.Types {
			if !seen[n] {
				t.Errorf("%s has no sample", n)
			}
		}
	}
}

// An error names the field, its value and the rule.
func TestValidateNamesFieldValueAndRule(t *testing.T) {
	for want, m := range broken() {
		err := Validate(m)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "it must be") {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestLeanTopicsCarryNoHeadersOnTheirFirstType(t *testing.T) {
	var lean Encoder
	if h := lean.Headers(MarketTrades, sampleTrade()); len(h) != 0 {
		t.Errorf("a trade has headers %v, want none", h)
	}
	full := Encoder{AllHeaders: true}
	var keys []string
	for _, h := range full.Headers(MarketTrades, sampleTrade()) {
		keys = append(keys, h.Key+"="+string(h.Value))
	}
	want := "content-type=application/protobuf ce_specversion=1.0 ce_type=tapewatch.v1.Trade ce_source=tapewatch/market.trades " +
		"ce_id=binance:BTC-USDT-PERP/5241893021 ce_time=2024-08-08T23:54:15.123Z ce_subject=binance:BTC-USDT-PERP"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("headers\n%s\nwant\n%s", got, want)
	}
}

func TestRegistryFraming(t *testing.T) {
	frame := func(id uint32, index ...int64) []byte {
		b := binary.BigEndian.AppendUint32([]byte{0}, id)
		if len(index) == 1 && index[0] == 0 {
			return append(b, 0)
		}
		b = binary.AppendVarint(b, int64(len(index)))
		for _, i := range index {
			b = binary.AppendVarint(b, i)
		}
		return b
	}
	body, err := proto.Marshal(sampleTrade())
	if err != nil {
		t.Fatal(err)
	}
	d := Decoder{SchemaType: func(id uint32, index []int) (string, error) {
		if id == 7 && len(index) == 1 && index[0] == 0 || id == 8 && len(index) == 2 && index[1] == 3 {
			return "Trade", nil
		}
		return "", errors.New("unknown to the registry")
	}}
	for _, f := range [][]byte{frame(7, 0), frame(8, 1, 3)} {
		got, err := d.Decode("Tick", "", append(f, body...))
		if err != nil || !proto.Equal(got, sampleTrade()) {
			t.Errorf("frame %x: %v, %v", f, got, err)
		}
	}
	for _, f := range [][]byte{append(frame(9, 0), body...), {0, 1}, {0, 0, 0, 0, 7, 0xff}, frame(7, 1, 2, 3, 4, 5, 6, 7, 8, 9)} {
		if _, err := d.Decode("Trade", "", f); !errors.Is(err, ErrUndecodable) {
			t.Errorf("frame %x: error is %v, want ErrUndecodable", f, err)
		}
	}
	if _, err := new(Decoder).Decode("Trade", "", append(frame(7, 0), body...)); !errors.Is(err, ErrUndecodable) {
		t.Errorf("without a registry: error is %v, want ErrUndecodable", err)
	}
}

// rat is a decimal as a fraction.
func (d *Decimal) rat() *big.Rat {
	r := new(big.Rat).SetInt64(d.GetMantissa())
	p := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(d.GetExponent(), -d.GetExponent()))), nil))
	if d.GetExponent() < 0 {
		p.Inv(p)
	}
	return r.Mul(r, p)
}

// A record with a decimal whose exponent is out of range is refused, whatever field it stands in: it would count as 0. Neither that
// nor a comparison takes long.
func TestExponents(t *testing.T) {
	for _, m := range samples() {
		eachDecimal(m.ProtoReflect(), func(name string, d *Decimal) {
			for _, wild := range []int32{-19, 19, math.MaxInt32, math.MinInt32} {
				d.Exponent = wild
				if err := Validate(m); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("exponent is %d", wild)) {
					t.Errorf("%s with exponent %d in %s: error %v", TypeOf(m), wild, name, err)
				}
			}
		})
		if err := Validate(m); err != nil {
			t.Errorf("%s is no longer valid: %v", TypeOf(m), err)
		}
	}
	huge, same, tiny := NewDecimal(-5, math.MaxInt32), NewDecimal(-5, math.MaxInt32), NewDecimal(1, math.MinInt32)
	if huge.Cmp(tiny) != -1 || NewDecimal(5, math.MaxInt32).Cmp(tiny) != 1 || huge.Cmp(same) != 0 || huge.Text() != "-5e2147483647" {
		t.Errorf("the largest exponent: %d, %d, %s", huge.Cmp(tiny), huge.Cmp(same), huge.Text())
	}
}

// Decimals of any exponents compare as fractions do.
func TestCompareFar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := NewDecimal(rapid.Int64().Draw(t, "m1"), rapid.Int32Range(-40, 40).Draw(t, "e1"))
		b := NewDecimal(rapid.Int64().Draw(t, "m2"), rapid.Int32Range(-40, 40).Draw(t, "e2"))
		if got, want := a.Cmp(b), a.rat().Cmp(b.rat()); got != want {
			t.Fatalf("%v Cmp %v is %d, want %d", a, b, got, want)
		}
	})
}

// eachDecimal calls fn for every field that is a decimal, set or not, with one that it may change.
func eachDecimal(m protoreflect.Message, fn func(name string, d *Decimal)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range m.Get(f).List().Len() {
				eachDecimal(m.Get(f).List().Get(i).Message(), fn)
			}
		case f.Message().Name() == "Decimal":
			was, d := m.Get(f), NewDecimal(1, 0)
			had := m.Has(f)
			m.Set(f, protoreflect.ValueOfMessage(d.ProtoReflect()))
			fn(string(f.Name()), d)
			if m.Clear(f); had {
				m.Set(f, was)
			}
		}
	}
}

// Text and Parse are inverse; Cmp and Float agree with exact arithmetic.
func TestDecimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := NewDecimal(rapid.Int64Range(-1e17, 1e17).Draw(t, "m"), rapid.Int32Range(-18, 0).Draw(t, "e"))
		back, err := ParseDecimal([]byte(a.Text()))
		if err != nil || back.Mantissa != a.Mantissa || back.Exponent != a.Exponent {
			t.Fatalf("%v prints %q and reads %v, %v", a, a.Text(), back, err)
		}
		b := NewDecimal(rapid.Int64().Draw(t, "m2"), rapid.Int32Range(-18, 18).Draw(t, "e2"))
		if got, want := a.Cmp(b), a.rat().Cmp(b.rat()); got != want {
			t.Fatalf("%s Cmp %s is %d, want %d", a.Text(), b.Text(), got, want)
		}
		if m := a.Mantissa; m < 1<<53 && m > -(1<<53) {
			want, _ := a.rat().Float64()
			if got := a.Float(); got != want {
				t.Fatalf("%s as a float is %v, want %v", a.Text(), got, want)
			}
		}
		low := min(a.Exponent, b.Exponent)
		if m, ok := b.Rescale(low); ok && new(big.Rat).Sub(NewDecimal(m, low).rat(), b.rat()).Sign() != 0 {
			t.Fatalf("%s rescaled to %d is %d", b.Text(), low, m)
		}
	})
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"61345.10", "-0.5", "1e-8", "8750.0000", "", ".", "-", "9223372036854775807", "99999999999999999999", "1e999", "1.5E+3", "0x1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDecimal(b)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(string(bytes.TrimSuffix(b, []byte("."))))
		if !ok || want.Cmp(d.rat()) != 0 {
			t.Fatalf("%q reads as %s; exact arithmetic says %v", b, d.Text(), want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(TypeOf(m), b)
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		var d Decoder
		m, err := d.Decode(name, "", b)
		if err != nil {
			if !errors.Is(err, ErrUndecodable) {
				t.Fatalf("error is %v, want ErrUndecodable", err)
			}
			return
		}
		if err := Validate(m); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("error is %v, want ErrInvalid", err)
		}
	})
}

func TestTime(t *testing.T) {
	x := Time(1723161255123456789)
	if got := x.Floor(time.Minute).String(); got != "2024-08-08T23:54:00Z" {
		t.Errorf("floor to the minute is %s", got)
	}
	if got := Time(-1).Floor(time.Second); got != -Time(time.Second) {
		t.Errorf("floor of -1 ns is %d, want -1e9", got)
	}
	if x.Add(time.Second).Sub(x) != time.Second {
		t.Error("Add and Sub are not inverse")
	}
}

func TestEventIDsDiffer(t *testing.T) {
	base := Event{Detector: "d", DetectorVersion: 1, Key: "k", Type: "t", EventTime: 5}
	ids := map[string]string{EventID(&base, 0): "base"}
	for name, e := range map[string]*Event{
		"detector": {Detector: "dd", DetectorVersion: 1, Key: "k", Type: "t", EventTime: 5},
		"version":  {Detector: "d", DetectorVersion: 2, Key: "k", Type: "t", EventTime: 5},
		"split":    {Detector: "d", DetectorVersion: 1, Key: "kt", Type: "", EventTime: 5},
		"time":     {Detector: "d", DetectorVersion: 1, Key: "k", Type: "t", EventTime: 6},
	} {
		id := EventID(e, 0)
		if ids[id] != "" {
			t.Errorf("%s has the id of %s", name, ids[id])
		}
		ids[id] = name
	}
	if EventID(&base, 1) == EventID(&base, 0) {
		t.Error("ordinals do not show in the id")
	}
	if got := EventID(&base, 0); got != EventID(&base, 0) || len(got) != 32 {
		t.Errorf("id is %q, want 32 digits, always the same", got)
	}
}
