package binance

import (
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// kind says what a message is.
type kind uint8

const (
	unknown kind = iota
	trade
	aggTrade
	quote
	depth
	snapshot
	mark
	liquidation
	kline
	acknowledgement
	refusal
	shutdown
)

// event is one decoded message. The decoder uses it again: byte slices and levels are valid until its next call.
type event struct {
	kind   kind
	symbol []byte       // the venue's spelling
	pushed schemas.Time // E, when the venue sent it; 0 when it does not say
	at     schemas.Time // T, when it happened; pushed where there is none

	id, first, last, prev uint64 // trade id, or U, u, pu; u alone on quotes; lastUpdateId in last on snapshots

	price, quantity       book.Number
	askPrice, askQuantity book.Number // quotes
	buyerMaker            bool        // trades: the taker sold
	offBook               schemas.OffBook
	fills                 uint32

	bids, asks []book.Level

	index, settle, rate          book.Number // mark price
	hasIndex, hasSettle, hasRate bool
	next                         schemas.Time

	sell                bool        // liquidation order's side
	average, filled     book.Number // liquidation
	hasAverage, hasLast bool

	detail []byte // what a refusal says, or the type of an unknown message
}
