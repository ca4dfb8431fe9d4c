package schemas

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// The hot records are decoded by hand into scratch messages that are used again: no allocation, and strings that alias the
// input. The readers below know only the plain case, each known field at most once with its own wire type; anything else
// (an unknown field, a repeated one, a long form, broken input) makes them give up, and the generated code decides. So
// both agree by construction wherever the plain case agrees, which a property test shows.

type tradeScratch struct {
	m           Trade
	meta        Meta
	price, quty Decimal
}

type barScratch struct {
	m                                                Bar
	meta                                             Meta
	open, high, low, close, volume, buyVol, turnover Decimal
}

// wire reads the fields of one message; bad is set once and for all when the plain case is left. Its methods are small enough
// to be inlined: that is half of the speed.
type wire struct {
	b    []byte
	i    int
	seen uint32
	bad  bool
}

// next returns the next tag; 0 at the end or when giving up.
func (w *wire) next() uint32 {
	if w.i >= len(w.b) || w.bad {
		return 0
	}
	tag := uint32(w.b[w.i])
	w.i++
	bit := uint32(1) << (tag >> 3 & 31)
	if tag-8 >= 0x78 || w.seen&bit != 0 { // fields above 15, field 0, a field again: not plain
		w.bad = true
		return 0
	}
	w.seen |= bit
	return tag
}

func (w *wire) varint() uint64 {
	if w.i < len(w.b) && w.b[w.i] < 0x80 {
		w.i++
		return uint64(w.b[w.i-1])
	}
	return w.longVarint()
}

func (w *wire) longVarint() uint64 {
	var v uint64
	for shift := uint(0); shift < 63 && w.i < len(w.b); shift += 7 {
		c := w.b[w.i]
		w.i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	// The tenth byte, or the end: rare enough for the general way.
	if w.i < len(w.b) && w.b[w.i] <= 1 {
		w.i++
		return v | uint64(w.b[w.i-1])<<63
	}
	w.bad = true
	return 0
}

func (w *wire) zigzag() int64 {
	v := w.varint()
	return int64(v>>1) ^ -int64(v&1)
}

func (w *wire) fixed64() int64 {
	if len(w.b)-w.i < 8 {
		w.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint64(w.b[w.i:])
	w.i += 8
	return int64(v)
}

func (w *wire) bytes() []byte {
	n := w.varint()
	if n > uint64(len(w.b)-w.i) {
		w.bad = true
		return nil
	}
	v := w.b[w.i : w.i+int(n)]
	w.i += int(n)
	return v
}

// text aliases the input: Kafka's buffers are never written again, and a Record is not kept.
func (w *wire) text() string {
	v := w.bytes()
	if len(v) == 0 {
		return ""
	}
	if !plain(v) && !utf8.Valid(v) {
		w.bad = true
		return ""
	}
	return unsafe.String(&v[0], len(v))
}

// plain reports whether all bytes are ASCII, as venue text is.
func plain(v []byte) bool {
	var or uint64
	for ; len(v) >= 8; v = v[8:] {
		or |= binary.LittleEndian.Uint64(v)
	}
	for _, c := range v {
		or |= uint64(c)
	}
	return or&0x8080808080808080 == 0
}

func (w *wire) decimal(into *Decimal) *Decimal {
	in := wire{b: w.bytes()}
	into.Mantissa, into.Exponent, into.unknownFields = 0, 0, nil
	for tag := in.next(); tag != 0; tag = in.next() {
		switch tag {
		case 1<<3 | 0:
			into.Mantissa = in.zigzag()
		case 2<<3 | 0:
			v := uint32(in.varint())
			into.Exponent = int32(v>>1) ^ -int32(v&1)
		default:
			in.bad = true
		}
	}
	w.bad = w.bad || in.bad
	return into
}

func (w *wire) meta(into *Meta) *Meta {
	in := wire{b: w.bytes()}
	into.Source, into.Venue, into.Symbol, into.VenueSymbol, into.Id = "", "", "", "", ""
	into.EventTime, into.ReceiveTime, into.Sequence, into.PreviousSequence = 0, 0, 0, 0
	into.TimeSource, into.SequenceKind, into.Epoch, into.Flags, into.unknownFields = 0, 0, 0, 0, nil
	for tag := in.next(); tag != 0; tag = in.next() {
		switch tag {
		case 1<<3 | 2:
			into.Source = in.text()
		case 2<<3 | 2:
			into.Venue = in.text()
		case 3<<3 | 2:
			into.Symbol = in.text()
		case 4<<3 | 2:
			into.VenueSymbol = in.text()
		case 5<<3 | 2:
			into.Id = in.text()
		case 6<<3 | 1:
			into.EventTime = in.fixed64()
		case 7<<3 | 1:
			into.ReceiveTime = in.fixed64()
		case 8<<3 | 0:
			into.TimeSource = TimeSource(in.varint())
		case 9<<3 | 0:
			into.SequenceKind = SequenceKind(in.varint())
		case 10<<3 | 0:
			into.Sequence = in.varint()
		case 11<<3 | 0:
			into.PreviousSequence = in.varint()
		case 12<<3 | 0:
			into.Epoch = uint32(in.varint())
		case 13<<3 | 0:
			into.Flags = uint32(in.varint())
		default:
			in.bad = true
		}
	}
	w.bad = w.bad || in.bad
	return into
}

// decode fills the scratch trade; false means that the generated code must decide.
func (s *tradeScratch) decode(b []byte) bool {
	w := wire{b: b}
	t := &s.m
	t.Meta, t.Price, t.Quantity = nil, nil, nil
	t.TakerSide, t.OffBook, t.Fills, t.unknownFields = 0, 0, 0, nil
	for tag := w.next(); tag != 0; tag = w.next() {
		switch tag {
		case 1<<3 | 2:
			t.Meta = w.meta(&s.meta)
		case 2<<3 | 2:
			t.Price = w.decimal(&s.price)
		case 3<<3 | 2:
			t.Quantity = w.decimal(&s.quty)
		case 4<<3 | 0:
			t.TakerSide = Side(w.varint())
		case 5<<3 | 0:
			t.OffBook = OffBook(w.varint())
		case 6<<3 | 0:
			t.Fills = uint32(w.varint())
		default:
			w.bad = true
		}
	}
	return !w.bad
}

// decode fills the scratch bar; false means that the generated code must decide.
func (s *barScratch) decode(b []byte) bool {
	w := wire{b: b}
	m := &s.m
	m.Meta, m.Open, m.High, m.Low, m.Close, m.Volume, m.BuyVolume, m.Turnover = nil, nil, nil, nil, nil, nil, nil, nil
	m.Start, m.End, m.Trades, m.RushOrders, m.LateRecords = 0, 0, 0, 0, 0
	m.Incomplete, m.Basket, m.unknownFields = false, "", nil
	for tag := w.next(); tag != 0; tag = w.next() {
		switch tag {
		case 1<<3 | 2:
			m.Meta = w.meta(&s.meta)
		case 2<<3 | 1:
			m.Start = w.fixed64()
		case 3<<3 | 1:
			m.End = w.fixed64()
		case 4<<3 | 2:
			m.Open = w.decimal(&s.open)
		case 5<<3 | 2:
			m.High = w.decimal(&s.high)
		case 6<<3 | 2:
			m.Low = w.decimal(&s.low)
		case 7<<3 | 2:
			m.Close = w.decimal(&s.close)
		case 8<<3 | 2:
			m.Volume = w.decimal(&s.volume)
		case 9<<3 | 2:
			m.BuyVolume = w.decimal(&s.buyVol)
		case 10<<3 | 2:
			m.Turnover = w.decimal(&s.turnover)
		case 11<<3 | 0:
			m.Trades = uint32(w.varint())
		case 12<<3 | 0:
			m.RushOrders = uint32(w.varint())
		case 13<<3 | 0:
			m.LateRecords = uint32(w.varint())
		case 14<<3 | 0:
			m.Incomplete = w.varint() != 0
		case 15<<3 | 2:
			m.Basket = w.text()
		default:
			w.bad = true
		}
	}
	return !w.bad
}
