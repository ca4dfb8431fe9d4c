package chain

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Bitcoin reads blocks from an Esplora service.
type Bitcoin struct {
	cfg   BitcoinConfig
	maker *maker
}

var _ poll.Poller = (*Bitcoin)(nil)

const (
	bitcoin  = "bitcoin"
	btc      = "BTC"
	satoshi  = 8  // decimals
	pageSize = 25 // transactions of an answer
)

// NewBitcoin makes the poller and reads its labels.
func NewBitcoin(cfg BitcoinConfig) (*Bitcoin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMaker(bitcoin, bitcoin, cfg.Common)
	return &Bitcoin{cfg, m}, err
}

// Name is "bitcoin".
func (p *Bitcoin) Name() string { return bitcoin }

// Venue is "bitcoin".
func (p *Bitcoin) Venue() string { return bitcoin }

// Topics is that of transfers.
func (p *Bitcoin) Topics() []schemas.Topic { return []schemas.Topic{schemas.ChainTransfers} }

// Tick is ten seconds: blocks come every ten minutes.
func (p *Bitcoin) Tick() time.Duration { return 10 * time.Second }

// Lag leaves room for the confirmations, for the reading of a block, and for miners' clocks.
func (p *Bitcoin) Lag() time.Duration {
	return time.Duration(p.cfg.Confirmations-1)*10*time.Minute + p.cfg.Every + 5*time.Minute
}

// Jobs has one: the chain.
func (p *Bitcoin) Jobs() []poll.Job {
	return []poll.Job{{Name: "blocks", Stream: "transfers", Every: p.cfg.Every}}
}

// Ask is for the newest blocks.
func (p *Bitcoin) Ask(poll.Job, []byte, schemas.Time) (poll.Request, error) {
	return poll.Request{Ref: p.cfg.URL + blocksPath, PerMinute: p.cfg.PerMinute}, nil
}

// Refusal knows none: the service refuses by status.
func (p *Bitcoin) Refusal([]byte) error { return nil }

const (
	blocksPath = "/blocks"
	pricesPath = "/v1/prices"
	blockPath  = "/block/"
)

func (p *Bitcoin) request(path string) poll.Request {
	return poll.Request{Ref: p.cfg.URL + path, PerMinute: p.cfg.PerMinute, Fresh: true}
}

func (p *Bitcoin) page(hash string, at int) poll.Request {
	return p.request(blockPath + hash + "/txs/" + strconv.Itoa(at))
}

// Decode reads a list of blocks, prices, or a page of transactions.
func (p *Bitcoin) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	path := strings.TrimPrefix(a.Ref, p.cfg.URL)
	switch {
	case path == pricesPath:
		return p.prices(a, &cur)
	case strings.HasPrefix(path, blockPath):
		hash, at, _ := strings.Cut(strings.TrimPrefix(path, blockPath), "/txs/")
		return p.transactions(a, &cur, hash, at)
	}
	return p.blocks(a, &cur, path)
}

// esploraBlock is an entry of /blocks.
type esploraBlock struct {
	ID     string `json:"id"`
	Height uint64 `json:"height"`
	Parent string `json:"previousblockhash"`
	Time   int64  `json:"timestamp"`
	Count  int    `json:"tx_count"`
}

// blocks finds the block to read next in a list of blocks.
func (p *Bitcoin) blocks(a poll.Answer, cur *cursor, path string) (poll.Result, error) {
	var list []esploraBlock
	if err := poll.Decode(a.Body, &list); err != nil {
		return poll.Result{}, err
	}
	if len(list) == 0 {
		return poll.Result{}, fmt.Errorf("%w: the list of blocks is empty", poll.ErrShape)
	}
	for _, b := range list {
		if !isHash(b.ID) || b.Height > 0 && !isHash(b.Parent) || b.Count < 1 || !isSeconds(b.Time) {
			return poll.Result{}, fmt.Errorf("%w: block %d must have id, previousblockhash, timestamp and tx_count", poll.ErrShape, b.Height)
		}
	}
	if path == blocksPath {
		cur.seen(slices.MaxFunc(list, func(a, b esploraBlock) int { return cmp.Compare(a.Height, b.Height) }).Height, p.cfg.Confirmations)
	}
	var res poll.Result
	if cur.ready(p.cfg.Confirmations) {
		res.Partial = true
		var err error
		if res.Records, res.Next, err = p.begin(cur, list, path); err != nil {
			return poll.Result{}, err
		}
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// begin begins block Next, or goes on with it. What a reorganisation takes back ends the turn, so that it is published ahead of
// what comes in its place.
func (p *Bitcoin) begin(cur *cursor, list []esploraBlock, path string) (back []poll.Record, next []poll.Request, err error) {
	for {
		i := slices.IndexFunc(list, func(b esploraBlock) bool { return b.Height == cur.Next })
		if i < 0 {
			from := blocksPath + "/" + strconv.FormatUint(cur.Next, 10)
			if path == from {
				return nil, nil, fmt.Errorf("%w: the list of blocks from %d does not hold it", poll.ErrShape, cur.Next)
			}
			if len(back) == 0 {
				next = []poll.Request{p.request(from)}
			}
			return back, next, nil
		}
		b := list[i]
		if on := cur.Pending; on != nil && on.Hash == b.ID && len(back) == 0 {
			return nil, []poll.Request{p.page(b.ID, on.Read)}, nil
		}
		taken, ok, err := cur.attach(header{Height: b.Height, Hash: b.ID, Parent: b.Parent, Seconds: b.Time, Count: b.Count})
		if err != nil {
			return nil, nil, err
		}
		back = append(back, taken...)
		switch {
		case !ok:
			continue
		case len(back) > 0:
			return back, nil, nil
		}
		cur.Prices = nil
		if p.cfg.Price {
			next = append(next, p.request(pricesPath))
		}
		return nil, append(next, p.page(b.ID, 0)), nil
	}
}

func isSeconds(s int64) bool {
	const most = 1 << 33 // year 2242
	return s > 0 && s < most && schemas.Time(s*1e9) >= schemas.MinTime
}

// prices reads {"time":1703252411,"USD":43753,…}.
func (p *Bitcoin) prices(a poll.Answer, cur *cursor) (poll.Result, error) {
	var body struct {
		Time int64     `json:"time"`
		USD  poll.Text `json:"USD"`
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	usd, err := body.USD.Decimal()
	if err != nil || usd.Sign() <= 0 || !isSeconds(body.Time) {
		return poll.Result{}, fmt.Errorf("%w: USD is %q at time %d: it must be a price and its time", poll.ErrShape, body.USD, body.Time)
	}
	cur.Prices = map[string]quoted{btc: {string(body.USD), body.Time * 1e9}}
	return poll.Result{Cursor: poll.WriteCursor(cur)}, nil
}

// output is what a transaction makes, and what a later one spends.
type output struct {
	Script  string `json:"scriptpubkey"`
	Address string `json:"scriptpubkey_address"`
	Value   int64  `json:"value"`
}

// owner is the address, or the script where it has none.
func (o output) owner() string { return cmp.Or(o.Address, "script:"+o.Script) }

// esploraTx is a transaction of a page.
type esploraTx struct {
	ID     string `json:"txid"`
	Inputs []struct {
		Coinbase bool    `json:"is_coinbase"`
		Spends   *output `json:"prevout"`
	} `json:"vin"`
	Outputs []output `json:"vout"`
}

// transactions reads one page of the block; the last one ends it.
func (p *Bitcoin) transactions(a poll.Answer, cur *cursor, hash, at string) (poll.Result, error) {
	first, err := strconv.Atoi(at)
	on := cur.Pending
	if err != nil || on == nil || on.Hash != hash || on.Read != first {
		return poll.Result{}, fmt.Errorf("page %.20q of block %.80q was not asked for", at, hash)
	}
	var page []esploraTx
	if err := poll.Decode(a.Body, &page); err != nil {
		return poll.Result{}, err
	}
	if want := min(pageSize, on.Count-first); len(page) != want {
		return poll.Result{}, fmt.Errorf("%w: page %d of block %s has %d transactions: it must have %d of %d", poll.ErrShape, first, hash, len(page), want, on.Count)
	}
	var moves []move
	var bad []error
	for i, tx := range page {
		m, err := p.moves(tx, uint32(first+i))
		if err != nil {
			bad = append(bad, fmt.Errorf("transaction %d of block %s: %w", first+i, hash, err))
			continue
		}
		moves = append(moves, m...)
	}
	if err := on.add(p.maker.large(on.header, moves, cur.Prices)); err != nil {
		return poll.Result{}, err
	}
	res := poll.Result{Bad: bad}
	if on.Read += len(page); on.Read < on.Count {
		res.Next = []poll.Request{p.page(hash, on.Read)}
	} else {
		if res.Records, err = cur.done(p.cfg.Watch); err != nil {
			return poll.Result{}, err
		}
		if cur.ready(p.cfg.Confirmations) {
			res.Next = []poll.Request{p.request(blocksPath + "/" + strconv.FormatUint(cur.Next, 10))}
		}
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// moves sums the outputs of a transaction by who receives them. All inputs belong to one sender, as a rule; what goes back to
// one of their addresses is change. A reward of mining is no transfer.
func (p *Bitcoin) moves(tx esploraTx, index uint32) ([]move, error) {
	if !isHash(tx.ID) || len(tx.Inputs) == 0 {
		return nil, fmt.Errorf("%w: txid is %.80q with %d inputs: it must be 64 hex digits, and have some", poll.ErrShape, tx.ID, len(tx.Inputs))
	}
	spent := map[string]int64{}
	var sender string
	for _, in := range tx.Inputs {
		if in.Coinbase {
			return nil, nil
		}
		if in.Spends == nil || !isValue(in.Spends.Value) {
			return nil, fmt.Errorf("%w: an input of %s has no prevout with a value", poll.ErrShape, tx.ID)
		}
		spent[in.Spends.owner()] += in.Spends.Value
	}
	var known holder
	for _, in := range tx.Inputs { // the largest holding, the first of equals
		at := in.Spends.owner()
		if sender == "" || spent[at] > spent[sender] {
			sender = at
		}
		if h := p.maker.holders.of(at); known.entity == "" {
			known = h
		}
	}
	if h := p.maker.holders.of(sender); h.entity != "" {
		known = h
	}
	return p.received(tx, index, sender, known, spent)
}

// received are the sums by counterparty, in the order of their first outputs. A holder with several addresses is one.
func (p *Bitcoin) received(tx esploraTx, index uint32, sender string, from holder, spent map[string]int64) ([]move, error) {
	var moves []move
	var largest []int64 // the largest output of each move: its address stands for the counterparty
	seen := map[string]int{}
	gross := new(big.Int)
	for _, out := range tx.Outputs {
		if !isValue(out.Value) {
			return nil, fmt.Errorf("%w: an output of %s has value %d: it must be satoshi, at most 21 million coins", poll.ErrShape, tx.ID, out.Value)
		}
		gross.Add(gross, big.NewInt(out.Value))
		at := out.owner()
		if _, change := spent[at]; change || out.Value == 0 {
			continue
		}
		h := p.maker.holders.of(at)
		party := cmp.Or(h.entity, at)
		i, ok := seen[party]
		if !ok {
			i = len(moves)
			seen[party] = i
			moves = append(moves, move{
				asset: btc, decimals: satoshi, hash: tx.ID, tx: index, from: sender, units: new(big.Int), gross: gross, fromHolder: from, toHolder: h,
			})
			largest = append(largest, 0)
		}
		m := &moves[i]
		m.units.Add(m.units, big.NewInt(out.Value))
		if out.Value > largest[i] {
			largest[i], m.to, m.toHolder = out.Value, at, h
		}
	}
	return moves, nil
}

func isValue(satoshi int64) bool { return satoshi >= 0 && satoshi <= 21e14 }
