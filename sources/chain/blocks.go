package chain

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// header is what chains a block to the one before.
type header struct {
	Height uint64 `json:"height"`
	Hash   string `json:"hash"`
	Parent string `json:"parent"`
	// Seconds is the block's time, seconds since the Unix epoch.
	Seconds int64 `json:"seconds"`
	// Count is the number of transactions.
	Count int `json:"count,omitempty"`
	// Again counts how often this very block was dropped before: a chain may turn back to it.
	Again int `json:"again,omitempty"`
}

func (h header) time() schemas.Time { return schemas.Time(h.Seconds * 1e9) }

// mark names the block in the ids of its records: the same transaction in another block is another record.
func (h header) mark() string {
	mark := h.Hash[max(0, len(h.Hash)-16):]
	if h.Again > 0 {
		mark += "~" + strconv.Itoa(h.Again)
	}
	return mark
}

// block is one that was read, with its records, to take them back.
type block struct {
	header
	Transfers [][]byte `json:"transfers,omitempty"`
}

// pending is a block that is being read. Its records go out when all of it is read.
type pending struct {
	block
	// Read is how many transactions were read.
	Read int `json:"read,omitempty"`
	// Receipts are transactions whose outcome is not known.
	Receipts []string `json:"receipts,omitempty"`
	// Failed are those that turned out to have moved nothing.
	Failed []string `json:"failed,omitempty"`
}

// quoted is a price as the service told it.
type quoted struct {
	USD string `json:"usd"`
	At  int64  `json:"at"` // nanoseconds since the Unix epoch
}

// cursor is what is known of a chain.
type cursor struct {
	// Next is the height to read next, and Tip the highest; Started says that they are known.
	Next    uint64 `json:"next"`
	Tip     uint64 `json:"tip"`
	Started bool   `json:"started"`
	// Known are the last blocks read, in order of height, without holes.
	Known []block `json:"known,omitempty"`
	// Dropped are the last blocks that a reorganisation dropped.
	Dropped []string          `json:"dropped,omitempty"`
	Pending *pending          `json:"pending,omitempty"`
	Prices  map[string]quoted `json:"prices,omitempty"`
}

// seen takes the height of the highest block. A first look begins at the newest block that is deep enough.
func (c *cursor) seen(tip uint64, confirmations int) {
	c.Tip = tip
	if !c.Started && tip+1 >= uint64(confirmations) {
		c.Next, c.Started = tip+1-uint64(confirmations), true
	}
}

// ready says that block Next is deep enough.
func (c *cursor) ready(confirmations int) bool {
	return c.Started && c.Next+uint64(confirmations) <= c.Tip+1
}

// maxDropped bounds Dropped.
const maxDropped = 64

// attach begins block Next, if it follows on the last one read. If it does not, that one was dropped: its transfers are taken
// back, its height is read again, and ok is false.
func (c *cursor) attach(h header) (back []poll.Record, ok bool, err error) {
	if n := len(c.Known); n > 0 && c.Known[n-1].Hash != h.Parent {
		last := c.Known[n-1]
		c.Known, c.Next, c.Pending = c.Known[:n-1], last.Height, nil
		c.Dropped = append(c.Dropped, last.Hash)
		c.Dropped = c.Dropped[max(0, len(c.Dropped)-maxDropped):]
		all, err := last.transfers()
		if err != nil {
			return nil, false, err
		}
		for _, t := range all {
			t.Retracted = true
			t.Meta.Id += ":retracted"
			back = append(back, poll.Record{Topic: schemas.ChainTransfers, Message: t})
		}
		return back, false, nil
	}
	for _, hash := range c.Dropped {
		if hash == h.Hash {
			h.Again++
		}
	}
	c.Pending = &pending{block: block{header: h}}
	return nil, true, nil
}

// add puts records to the block that is being read.
func (p *pending) add(records []*schemas.Transfer) error {
	for _, t := range records {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
		if err != nil {
			return fmt.Errorf("writing a transfer to the cursor: %w", err)
		}
		p.Transfers = append(p.Transfers, raw)
	}
	return nil
}

// transfers reads the records back.
func (b *block) transfers() ([]*schemas.Transfer, error) {
	out := make([]*schemas.Transfer, 0, len(b.Transfers))
	for _, raw := range b.Transfers {
		t := &schemas.Transfer{}
		if err := proto.Unmarshal(raw, t); err != nil {
			return nil, fmt.Errorf("reading a transfer of the cursor: %w", err)
		}
		out = append(out, t)
	}
	return out, nil
}

// settle leaves out what failed and puts the rest in the order of the block.
func (p *pending) settle() error {
	all, err := p.transfers()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(t *schemas.Transfer) bool { return t.LogIndex == nil && slices.Contains(p.Failed, t.TxHash) })
	slices.SortStableFunc(all, func(a, b *schemas.Transfer) int { return cmp.Compare(a.TxIndex, b.TxIndex) })
	p.Transfers, p.Failed = nil, nil
	return p.add(all)
}

// done ends the block that was read and hands out its records.
func (c *cursor) done(watch int) ([]poll.Record, error) {
	p := c.Pending
	all, err := p.transfers()
	if err != nil {
		return nil, err
	}
	out := make([]poll.Record, 0, len(all))
	for _, t := range all {
		out = append(out, poll.Record{Topic: schemas.ChainTransfers, Said: p.time(), Message: t})
	}
	c.Known = append(c.Known, p.block)
	c.Known = slices.Clone(c.Known[max(0, len(c.Known)-watch):])
	c.Next, c.Pending = p.Height+1, nil
	c.bound()
	return out, nil
}

// maxKept bounds the bytes of transfers that are kept to take them back: the cursor must fit a record.
const maxKept = 256 << 10

// bound forgets the transfers of the oldest blocks beyond maxKept; the blocks themselves are still recognised.
func (c *cursor) bound() {
	sum := 0
	for i := len(c.Known) - 1; i >= 0; i-- {
		for _, raw := range c.Known[i].Transfers {
			sum += len(raw)
		}
		if sum > maxKept {
			c.Known[i].Transfers = nil
		}
	}
}
