package schemas

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func anyMeta() *rapid.Generator[*Meta] {
	return rapid.Custom(func(t *rapid.T) *Meta {
		return &Meta{
			Source: rapid.StringN(0, 8, -1).Draw(t, "source"), Venue: rapid.StringN(0, 8, -1).Draw(t, "venue"),
			Symbol: rapid.StringN(0, 8, -1).Draw(t, "symbol"), VenueSymbol: rapid.StringN(0, 8, -1).Draw(t, "vsym"),
			Id: rapid.StringN(0, 200, -1).Draw(t, "id"), EventTime: rapid.Int64().Draw(t, "event"), ReceiveTime: rapid.Int64().Draw(t, "receive"),
			TimeSource: TimeSource(rapid.Int32().Draw(t, "ts")), SequenceKind: SequenceKind(rapid.Int32().Draw(t, "sk")),
			Sequence: rapid.Uint64().Draw(t, "seq"), PreviousSequence: rapid.Uint64().Draw(t, "prev"),
			Epoch: rapid.Uint32().Draw(t, "epoch"), Flags: rapid.Uint32().Draw(t, "flags"),
		}
	})
}

func anyDecimal() *rapid.Generator[*Decimal] {
	return rapid.Custom(func(t *rapid.T) *Decimal {
		if rapid.Bool().Draw(t, "absent") {
			return nil
		}
		return NewDecimal(rapid.Int64().Draw(t, "m"), rapid.Int32().Draw(t, "e"))
	})
}

func anyTrade() *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		m := &Trade{
			Price: anyDecimal().Draw(t, "price"), Quantity: anyDecimal().Draw(t, "qty"), TakerSide: Side(rapid.Int32().Draw(t, "side")),
			OffBook: OffBook(rapid.Int32().Draw(t, "off")), Fills: rapid.Uint32().Draw(t, "fills"),
		}
		if rapid.Bool().Draw(t, "meta") {
			m.Meta = anyMeta().Draw(t, "m")
		}
		return m
	})
}

func anyBar() *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		d := anyDecimal()
		return &Bar{
			Meta: anyMeta().Draw(t, "m"), Start: rapid.Int64().Draw(t, "s"), End: rapid.Int64().Draw(t, "e"),
			Open: d.Draw(t, "o"), High: d.Draw(t, "h"), Low: d.Draw(t, "l"), Close: d.Draw(t, "c"), Volume: d.Draw(t, "v"),
			BuyVolume: d.Draw(t, "b"), Turnover: d.Draw(t, "t"), Trades: rapid.Uint32().Draw(t, "n"), RushOrders: rapid.Uint32().Draw(t, "r"),
			LateRecords: rapid.Uint32().Draw(t, "l8"), Incomplete: rapid.Bool().Draw(t, "i"), Basket: rapid.StringN(0, 9, -1).Draw(t, "bk"),
		}
	})
}

// The hot decoder and the generated code agree on every message, and on every damaged one.
func TestFastDecodeEqualsGenerated(t *testing.T) {
	for name, gen := range map[string]*rapid.Generator[Message]{"Trade": anyTrade(), "Bar": anyBar()} {
		t.Run(name, func(t *testing.T) {
			var d Decoder // used again throughout: what one record leaves behind must not show in the next
			rapid.Check(t, func(t *rapid.T) {
				b, err := proto.Marshal(gen.Draw(t, "m"))
				if err != nil {
					t.Fatal(err)
				}
				for range rapid.IntRange(0, 2).Draw(t, "damages") {
					if len(b) == 0 {
						break
					}
					i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
					switch rapid.IntRange(0, 2).Draw(t, "damage") {
					case 0:
						b[i] = rapid.Byte().Draw(t, "byte")
					case 1:
						b = b[:i]
					case 2:
						b = append(b, b[i:]...)
					}
				}
				if len(b) > 0 && b[0] == 0 {
					return // registry framing
				}
				want, _ := NewMessage(name)
				wantErr := proto.Unmarshal(b, want)
				got, err := d.Decode(name, "", b)
				if (err != nil) != (wantErr != nil) {
					t.Fatalf("%x: error %v, the generated code says %v", b, err, wantErr)
				}
				if err == nil && !proto.Equal(got, want) {
					t.Fatalf("%x:\n got %v\nwant %v", b, got, want)
				}
			})
		})
	}
}

func sampleTrade() *Trade {
	return &Trade{
		Meta: &Meta{
			Source: "binance.usdm", Venue: "binance", Symbol: "BTC-USDT-PERP", VenueSymbol: "BTCUSDT", Id: "5241893021",
			EventTime: 1723161255123000000, ReceiveTime: 1723161253853000000, TimeSource: TimeSource_TIME_SOURCE_EXCHANGE,
			SequenceKind: SequenceKind_SEQUENCE_KIND_ARITHMETIC, Sequence: 5241893021, Epoch: 1,
		},
		Price: NewDecimal(6134512, -2), Quantity: NewDecimal(125, -3), TakerSide: Side_SIDE_BUY,
	}
}

func TestDecodeTradeAllocatesNothing(t *testing.T) {
	b, err := proto.Marshal(sampleTrade())
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	if n := testing.AllocsPerRun(1000, func() {
		m, err := d.Decode("Trade", "", b)
		if err != nil || Validate(m) != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("decoding and validating a Trade allocates %v times, must be 0", n)
	}
}

func BenchmarkDecodeTrade(b *testing.B) {
	buf, err := proto.Marshal(sampleTrade())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("fast", func(b *testing.B) {
		var d Decoder
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Decode("Trade", "", buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		var t Trade
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(buf, &t); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkValidate checks a valid record of each type of the market topics, as every source and task does.
func BenchmarkValidate(b *testing.B) {
	for _, m := range samples() {
		switch m.(type) {
		case *Trade, *Tick, *Quote, *BookSnapshot, *Bar, *FeedHealth:
		default:
			continue
		}
		b.Run(TypeOf(m), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Validate(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
