package schemas

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
	"unsafe"
)

// The hot records are decoded by hand into scratch messages that are used again: no allocation, and strings that alias the
// input. The readers below know only the plain case, which every Protobuf library writes: known fields in ascending order,
// each at most once and with its own wire type. Anything else (an unknown field, another order, notPlain input) makes them give
// up, and the generated code decides. So both agree by construction wherever the plain case agrees, which a property test
// shows.
//
// A reader takes the input and a position, and returns a field's value and the position after it: values that stay in
// registers are half of the speed. A field that is not there gives zero and the same position; input that is not plain gives
// a position behind the end, which no later reader moves.

// notPlain is a position behind the end of any input.
const notPlain = MaxRecordBytes + 1

// wire is the encoded fields of one message.
type wire []byte

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

// has reports whether a field with the tag (number and wire type, one byte) begins at i.
func (b wire) has(i int, tag byte) bool { return uint(i) < uint(len(b)) && b[i] == tag }

// number reads the varint field with the tag.
func (b wire) number(i int, tag byte) (uint64, int) {
	if !b.has(i, tag) {
		return 0, i
	}
	if i++; i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return b.varint(i)
}

// varint reads the varint at i: eight bytes at a time, as lengths that vary cost a loop its branch predictions. Up to the
// capacity there are bytes of the same record.
func (b wire) varint(i int) (uint64, int) {
	if uint(i) > uint(len(b)) {
		return 0, notPlain
	}
	if all := b[i:cap(b)]; len(all) >= 8 {
		v := binary.LittleEndian.Uint64(all)
		if end := ^v & 0x8080808080808080; end != 0 {
			v &= end ^ (end - 1) // the bytes up to the first one without its high bit
			v = v&0x007f007f007f007f | v&0x7f007f007f007f00>>1
			v = v&0x00003fff00003fff | v&0x3fff00003fff0000>>2
			v = v&0x000000000fffffff | v&0x0fffffff00000000>>4
			if i += bits.TrailingZeros64(end)/8 + 1; i > len(b) {
				i = notPlain
			}
			return v, i
		}
	}
	v, n := binary.Uvarint(b[i:])
	if n <= 0 {
		return 0, notPlain
	}
	return v, i + n
}

// fixed64 reads the fixed64 field with the tag.
func (b wire) fixed64(i int, tag byte) (int64, int) {
	if !b.has(i, tag) {
		return 0, i
	}
	if len(b)-i < 9 {
		return 0, notPlain
	}
	return int64(binary.LittleEndian.Uint64(b[i+1:])), i + 9
}

// span returns where the contents of the length-delimited field at i begin and end.
func (b wire) span(i int) (from, to int) {
	i++
	if i < len(b) && b[i] < 0x80 {
		from, to = i+1, i+1+int(b[i])
	} else {
		n, at := b.varint(i)
		from, to = at, at+int(min(n, notPlain))
	}
	if to > len(b) {
		return 0, notPlain
	}
	return from, to
}

// text reads the string field with the tag. It aliases the input: Kafka's buffers are never written again, and a Record is
// not kept.
func (b wire) text(i int, tag byte) (string, int) {
	if !b.has(i, tag) {
		return "", i
	}
	i, end := b.span(i)
	if i >= end || end > len(b) {
		return "", end
	}
	v := b[i:end]
	if !v.ascii() && !utf8.Valid(v) {
		return "", notPlain
	}
	return unsafe.String(&v[0], len(v)), end
}

// ascii reports whether all bytes are ASCII, as venue text is.
func (b wire) ascii() bool {
	const high = 0x8080808080808080
	var or uint64
	for ; len(b) >= 8; b = b[8:] {
		or |= binary.LittleEndian.Uint64(b)
	}
	if cap(b) >= 8 {
		or |= binary.LittleEndian.Uint64(b[:8]) & (1<<(8*uint(len(b))) - 1)
		return or&high == 0
	}
	for _, c := range b {
		or |= uint64(c)
	}
	return or&high == 0
}

// message reads the message field with the tag and returns its fields; nil when it is not there.
func (b wire) message(i int, tag byte) (wire, int) {
	if !b.has(i, tag) {
		return nil, i
	}
	i, end := b.span(i)
	if end > len(b) {
		return nil, end
	}
	return b[i:end], end
}

// decimal reads the Decimal field with the tag into d; nil when it is not there.
func (b wire) decimal(i int, tag byte, d *Decimal) (*Decimal, int) {
	in, i := b.message(i, tag)
	if in == nil {
		return nil, i
	}
	m, j := in.number(0, 1<<3)
	e, j := in.number(j, 2<<3)
	if j != len(in) {
		return nil, notPlain
	}
	d.Mantissa = int64(m>>1) ^ -int64(m&1)
	d.Exponent = int32(uint32(e)>>1) ^ -int32(e&1)
	d.unknownFields = nil
	return d, i
}

// meta reads the Meta field with number 1 into m; nil when it is not there.
func (b wire) meta(m *Meta) (*Meta, int) {
	in, i := b.message(0, 1<<3|2)
	if in == nil {
		return nil, i
	}
	var j int
	var timeSource, kind, epoch, flags uint64
	m.Source, j = in.text(0, 1<<3|2)
	m.Venue, j = in.text(j, 2<<3|2)
	m.Symbol, j = in.text(j, 3<<3|2)
	m.VenueSymbol, j = in.text(j, 4<<3|2)
	m.Id, j = in.text(j, 5<<3|2)
	m.EventTime, j = in.fixed64(j, 6<<3|1)
	m.ReceiveTime, j = in.fixed64(j, 7<<3|1)
	timeSource, j = in.number(j, 8<<3)
	kind, j = in.number(j, 9<<3)
	m.Sequence, j = in.number(j, 10<<3)
	m.PreviousSequence, j = in.number(j, 11<<3)
	epoch, j = in.number(j, 12<<3)
	flags, j = in.number(j, 13<<3)
	if j != len(in) {
		return nil, notPlain
	}
	m.TimeSource, m.SequenceKind, m.Epoch, m.Flags, m.unknownFields = TimeSource(timeSource), SequenceKind(kind), uint32(epoch), uint32(flags), nil
	return m, i
}

// decode fills the scratch trade; false means that the generated code must decide.
func (s *tradeScratch) decode(b wire) bool {
	t, b := &s.m, slices.Clip(b)
	var i int
	var side, off, fills uint64
	t.Meta, i = b.meta(&s.meta)
	t.Price, i = b.decimal(i, 2<<3|2, &s.price)
	t.Quantity, i = b.decimal(i, 3<<3|2, &s.quty)
	side, i = b.number(i, 4<<3)
	off, i = b.number(i, 5<<3)
	fills, i = b.number(i, 6<<3)
	t.TakerSide, t.OffBook, t.Fills, t.unknownFields = Side(side), OffBook(off), uint32(fills), nil
	return i == len(b)
}

// decode fills the scratch bar; false means that the generated code must decide.
func (s *barScratch) decode(b wire) bool {
	m, b := &s.m, slices.Clip(b)
	var i int
	var trades, rush, late, incomplete uint64
	m.Meta, i = b.meta(&s.meta)
	m.Start, i = b.fixed64(i, 2<<3|1)
	m.End, i = b.fixed64(i, 3<<3|1)
	m.Open, i = b.decimal(i, 4<<3|2, &s.open)
	m.High, i = b.decimal(i, 5<<3|2, &s.high)
	m.Low, i = b.decimal(i, 6<<3|2, &s.low)
	m.Close, i = b.decimal(i, 7<<3|2, &s.close)
	m.Volume, i = b.decimal(i, 8<<3|2, &s.volume)
	m.BuyVolume, i = b.decimal(i, 9<<3|2, &s.buyVol)
	m.Turnover, i = b.decimal(i, 10<<3|2, &s.turnover)
	trades, i = b.number(i, 11<<3)
	rush, i = b.number(i, 12<<3)
	late, i = b.number(i, 13<<3)
	incomplete, i = b.number(i, 14<<3)
	m.Basket, i = b.text(i, 15<<3|2)
	m.Trades, m.RushOrders, m.LateRecords, m.Incomplete, m.unknownFields = uint32(trades), uint32(rush), uint32(late), incomplete != 0, nil
	return i == len(b)
}
