package chain

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Ethereum reads blocks from a node.
type Ethereum struct {
	cfg    EthereumConfig
	maker  *maker
	tokens map[string]token
	feeds  []feed
	// contracts are the addresses of tokens, sorted.
	contracts []string
}

var _ poll.Poller = (*Ethereum)(nil)

// NewEthereum makes the poller and reads its labels.
func NewEthereum(cfg EthereumConfig) (*Ethereum, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.URL.IsZero() {
		return nil, errors.New("ethereum.url is empty: it must be the address of a node's JSON-RPC")
	}
	p := &Ethereum{cfg: cfg}
	var err error
	if p.maker, err = newMaker("ethereum", cfg.Chain, cfg.Common); err != nil {
		return nil, err
	}
	if p.tokens, err = readTokens(cfg.Tokens); err != nil {
		return nil, err
	}
	for at := range p.tokens {
		p.contracts = append(p.contracts, at)
	}
	slices.Sort(p.contracts)
	p.feeds, err = readFeeds(cfg.Feeds)
	return p, err
}

// Name is "ethereum".
func (p *Ethereum) Name() string { return "ethereum" }

// Venue is the chain.
func (p *Ethereum) Venue() string { return p.cfg.Chain }

// Topics is that of transfers.
func (p *Ethereum) Topics() []schemas.Topic { return []schemas.Topic{schemas.ChainTransfers} }

// Tick is a second.
func (p *Ethereum) Tick() time.Duration { return time.Second }

// Lag leaves room for the confirmations, 12 seconds each, and for the interval.
func (p *Ethereum) Lag() time.Duration {
	return time.Duration(p.cfg.Confirmations)*12*time.Second + p.cfg.Every + 10*time.Second
}

// Jobs has one: the chain.
func (p *Ethereum) Jobs() []poll.Job {
	return []poll.Job{{Name: "blocks", Stream: "transfers", Every: p.cfg.Every}}
}

// Ask is for the height of the chain.
func (p *Ethereum) Ask(poll.Job, []byte, schemas.Time) (poll.Request, error) {
	return p.call("eth_blockNumber", "", "[]"), nil
}

// call makes a request. about tells requests of one method apart.
func (p *Ethereum) call(method, about, params string) poll.Request {
	return poll.Request{
		Ref: method + "/" + about, URL: p.cfg.URL, PerMinute: p.cfg.PerMinute, Fresh: true,
		Body: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params),
	}
}

func (p *Ethereum) block(height uint64) poll.Request {
	at := "0x" + strconv.FormatUint(height, 16)
	return p.call("eth_getBlockByNumber", at, fmt.Sprintf("[%q,true]", at))
}

// transferTopic is the hash of Transfer(address,address,uint256).
const transferTopic = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

func (p *Ethereum) logs(block string) poll.Request {
	contracts := `["` + strings.Join(p.contracts, `","`) + `"]`
	filter := fmt.Sprintf(`[{"blockHash":%q,"address":%s,"topics":[%q]}]`, block, contracts, transferTopic)
	return p.call("eth_getLogs", block, filter)
}

func (p *Ethereum) receipt(tx string) poll.Request {
	return p.call("eth_getTransactionReceipt", tx, fmt.Sprintf("[%q]", tx))
}

// latestRoundData is the selector of the function of that name.
const latestRoundData = "0xfeaf968c"

// ahead are the requests for a block, with those for the prices ahead of it.
func (p *Ethereum) ahead(cur *cursor) []poll.Request {
	cur.Prices = nil
	var out []poll.Request
	for _, f := range p.feeds {
		out = append(out, p.call("eth_call", f.asset, fmt.Sprintf(`[{"to":%q,"data":%q},"latest"]`, f.address, latestRoundData)))
	}
	return append(out, p.block(cur.Next))
}

// Refusal finds {"error":{"code":-32005,"message":"limit exceeded"}}.
func (p *Ethereum) Refusal(body []byte) error {
	var answer struct {
		Error *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Error == nil {
		return nil //nolint:nilerr // what is no JSON has an unexpected shape: Decode says so
	}
	return fmt.Errorf("error %d: %.200s", answer.Error.Code, answer.Error.Message)
}

// Decode reads the answer to one of the calls.
func (p *Ethereum) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if err := poll.Decode(a.Body, &answer); err != nil {
		return poll.Result{}, err
	}
	if answer.Result == nil {
		return poll.Result{}, poll.Missing("result")
	}
	method, about, _ := strings.Cut(a.Ref, "/")
	if string(answer.Result) == "null" { // the node behind this answer does not have the block yet: the next turn asks again
		return poll.Result{}, nil
	}
	var res poll.Result
	switch method {
	case "eth_blockNumber":
		err = p.height(answer.Result, &cur, &res)
	case "eth_call":
		err = p.quote(answer.Result, &cur, about, &res)
	case "eth_getBlockByNumber":
		err = p.begin(answer.Result, &cur, &res)
	case "eth_getLogs":
		err = p.tokenMoves(answer.Result, &cur, about, &res)
	case "eth_getTransactionReceipt":
		err = p.outcome(answer.Result, &cur, about, &res)
	default:
		err = fmt.Errorf("%.40q was not asked for", a.Ref)
	}
	if err != nil {
		return poll.Result{}, err
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

func (p *Ethereum) height(raw json.RawMessage, cur *cursor, res *poll.Result) error {
	var tip quantity
	if err := poll.Decode(raw, &tip); err != nil {
		return err
	}
	n, err := tip.uint("the height")
	if err != nil {
		return err
	}
	cur.Pending = nil // a turn that ended within a block reads it anew: it may have been dropped
	cur.seen(n, p.cfg.Confirmations)
	if cur.ready(p.cfg.Confirmations) {
		res.Next = p.ahead(cur)
	}
	return nil
}

// quote reads the five words of latestRoundData: the second is the price with 8 decimals, the fourth its time.
func (p *Ethereum) quote(raw json.RawMessage, cur *cursor, asset string, res *poll.Result) error {
	const decimals = 8
	var data string
	if err := poll.Decode(raw, &data); err != nil {
		return err
	}
	w, err := words(data)
	if err == nil && (len(w) != 5 || w[1].Sign() <= 0 || w[1].BitLen() > 62 || !w[3].IsInt64() || !isSeconds(w[3].Int64())) {
		err = errors.New("it must be five words, the second a price, the fourth its time")
	}
	if err != nil { // without a price the transfers are published without a value
		delete(cur.Prices, asset)
		res.Bad = append(res.Bad, fmt.Errorf("%w: the price feed of %s: %w", poll.ErrShape, asset, err))
		return nil
	}
	if cur.Prices == nil {
		cur.Prices = map[string]quoted{}
	}
	cur.Prices[asset] = quoted{decimalOf(w[1], decimals).Text(), w[3].Int64() * 1e9}
	return nil
}

// ethBlock is an answer to eth_getBlockByNumber.
type ethBlock struct {
	Number    quantity `json:"number"`
	Hash      string   `json:"hash"`
	Parent    string   `json:"parentHash"`
	Timestamp quantity `json:"timestamp"`

	Transactions []struct {
		Hash  string   `json:"hash"`
		Index quantity `json:"transactionIndex"`
		From  string   `json:"from"`
		To    string   `json:"to"` // null where a contract is made
		Value quantity `json:"value"`
	} `json:"transactions"`
}

// begin reads a block with its native transfers.
func (p *Ethereum) begin(raw json.RawMessage, cur *cursor, res *poll.Result) error {
	var b ethBlock
	if err := poll.Decode(raw, &b); err != nil {
		return err
	}
	h, err := b.header()
	if err != nil {
		return err
	}
	if h.Height != cur.Next {
		return fmt.Errorf("%w: the block is number %d: it must be %d", poll.ErrShape, h.Height, cur.Next)
	}
	back, ok, err := cur.attach(h)
	if err != nil || !ok { // the turn ends, so that what is taken back is published ahead of what comes in its place
		res.Records = back
		return err
	}
	var moves []move
	for i, tx := range b.Transactions {
		value, err := tx.Value.int("value")
		if err == nil {
			var at uint64
			if at, err = tx.Index.uint("transactionIndex"); err == nil && (at != uint64(i) || !isTxHash(tx.Hash) || !isAccount(tx.From) || tx.To != "" && !isAccount(tx.To)) {
				err = errors.New("hash, transactionIndex, from and to must be there")
			}
		}
		switch {
		case err != nil:
			res.Bad = append(res.Bad, fmt.Errorf("%w: transaction %d of block %d: %w", poll.ErrShape, i, h.Height, err))
		case value.Sign() > 0 && tx.To != "":
			moves = append(moves, move{asset: p.cfg.Native, decimals: 18, hash: tx.Hash, tx: uint32(i), from: strings.ToLower(tx.From), to: strings.ToLower(tx.To), units: value})
		}
	}
	on := cur.Pending
	large := p.maker.large(on.header, moves, cur.Prices)
	for _, t := range large {
		on.Receipts = append(on.Receipts, t.TxHash)
	}
	if err := on.add(large); err != nil {
		return err
	}
	if len(p.contracts) > 0 {
		res.Next = []poll.Request{p.logs(h.Hash)}
		return nil
	}
	return p.goOn(cur, res)
}

func (b *ethBlock) header() (header, error) {
	n, err := b.Number.uint("number")
	if err != nil {
		return header{}, err
	}
	at, err := b.Timestamp.uint("timestamp")
	if err != nil {
		return header{}, err
	}
	if !isTxHash(b.Hash) || !isTxHash(b.Parent) || at > 1<<33 || !isSeconds(int64(at)) || b.Transactions == nil {
		return header{}, fmt.Errorf("%w: block %d must have hash, parentHash, timestamp and transactions", poll.ErrShape, n)
	}
	return header{Height: n, Hash: b.Hash, Parent: b.Parent, Seconds: int64(at)}, nil
}

// ethLog is an entry of an answer to eth_getLogs.
type ethLog struct {
	Address string   `json:"address"`
	Topics  []string `json:"topics"`
	Data    string   `json:"data"`
	Tx      string   `json:"transactionHash"`
	Index   quantity `json:"transactionIndex"`
	Log     quantity `json:"logIndex"`
	Block   string   `json:"blockHash"`
	Removed bool     `json:"removed"`
}

// tokenMoves reads the transfers of tokens in the block.
func (p *Ethereum) tokenMoves(raw json.RawMessage, cur *cursor, block string, res *poll.Result) error {
	on := cur.Pending
	if on == nil || on.Hash != block {
		return fmt.Errorf("logs of block %.80q were not asked for", block)
	}
	var logs []ethLog
	if err := poll.Decode(raw, &logs); err != nil {
		return err
	}
	var moves []move
	for _, l := range logs {
		t, followed := p.tokens[strings.ToLower(l.Address)]
		if !followed || l.Removed || l.Block != block {
			res.Bad = append(res.Bad, fmt.Errorf("%w: a log of %.60q in block %.80q was not asked for", poll.ErrShape, l.Address, l.Block))
			continue
		}
		m, fungible, err := l.move()
		if err != nil {
			res.Bad = append(res.Bad, fmt.Errorf("log %s of block %d: %w", l.Log, on.Height, err))
		} else if fungible {
			m.asset, m.decimals = t.symbol, t.decimals
			moves = append(moves, m)
		}
	}
	slices.SortStableFunc(moves, func(a, b move) int { return cmp.Compare(*a.log, *b.log) })
	if err := on.add(p.maker.large(on.header, moves, cur.Prices)); err != nil {
		return err
	}
	return p.goOn(cur, res)
}

// move reads the three arguments of Transfer. Which of them are topics differs among tokens; all four topics are those of a
// token that is not fungible, whose third argument is no amount.
func (l *ethLog) move() (m move, fungible bool, err error) {
	args, err := words("0x" + strings.Join(l.Topics, "") + l.Data)
	if err != nil {
		return m, false, err
	}
	tx, err := l.Index.uint("transactionIndex")
	if err != nil {
		return m, false, err
	}
	log, err := l.Log.uint("logIndex")
	if err != nil {
		return m, false, err
	}
	const addressBits = 160
	if len(args) != 4 || args[1].BitLen() > addressBits || args[2].BitLen() > addressBits || !isTxHash(l.Tx) || tx >= 1<<32 || log >= 1<<32-1 {
		return m, false, fmt.Errorf("%w: it must have a transaction and the arguments of Transfer", poll.ErrShape)
	}
	at := uint32(log)
	return move{
		hash: l.Tx, tx: uint32(tx), log: &at, units: args[3],
		from: fmt.Sprintf("0x%040x", args[1]), to: fmt.Sprintf("0x%040x", args[2]),
	}, len(l.Topics) < 4, nil
}

// outcome reads whether a transaction failed: its value did not move then.
func (p *Ethereum) outcome(raw json.RawMessage, cur *cursor, tx string, res *poll.Result) error {
	var r struct {
		Tx     string   `json:"transactionHash"`
		Block  string   `json:"blockHash"`
		Status quantity `json:"status"`
	}
	if err := poll.Decode(raw, &r); err != nil {
		return err
	}
	on := cur.Pending
	if on == nil || len(on.Receipts) == 0 || on.Receipts[0] != tx {
		return fmt.Errorf("the receipt of %.80q was not asked for", tx)
	}
	if r.Tx != tx || r.Status != "0x0" && r.Status != "0x1" {
		return fmt.Errorf("%w: status of the receipt of %s is %.20q: it must be 0x0 or 0x1", poll.ErrShape, tx, r.Status)
	}
	if r.Block != on.Hash {
		return nil // the block was dropped just now: the next turn finds it
	}
	on.Receipts = on.Receipts[1:]
	if r.Status == "0x0" {
		on.Failed = append(on.Failed, tx)
	}
	return p.goOn(cur, res)
}

// goOn asks for the next receipt; without one it ends the block and goes on to the next.
func (p *Ethereum) goOn(cur *cursor, res *poll.Result) error {
	if r := cur.Pending.Receipts; len(r) > 0 {
		res.Next = []poll.Request{p.receipt(r[0])}
		return nil
	}
	if err := cur.Pending.settle(); err != nil {
		return err
	}
	var err error
	if res.Records, err = cur.done(p.cfg.Watch); err != nil {
		return err
	}
	if cur.ready(p.cfg.Confirmations) {
		res.Next = p.ahead(cur)
	}
	return nil
}

// quantity is a number as 0x and hex digits.
type quantity string

func (q quantity) int(field string) (*big.Int, error) {
	if digits, ok := strings.CutPrefix(string(q), "0x"); ok && len(digits) <= 64 && strings.Trim(digits, "0123456789abcdefABCDEF") == "" {
		if v, ok := new(big.Int).SetString(digits, 16); ok {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%w: %s is %.80q: it must be 0x and up to 64 hex digits", poll.ErrShape, field, string(q))
}

func (q quantity) uint(field string) (uint64, error) {
	v, err := q.int(field)
	if err != nil {
		return 0, err
	}
	if v.BitLen() > 53 {
		return 0, fmt.Errorf("%w: %s is %s: it must be less than 2^53", poll.ErrShape, field, string(q))
	}
	return v.Uint64(), nil
}

func isTxHash(text string) bool {
	return strings.HasPrefix(text, "0x") && isHash(text[2:])
}

// words cuts data into numbers of 32 bytes.
func words(data string) ([]*big.Int, error) {
	const size = 32
	raw, err := hex.DecodeString(strings.ReplaceAll(data, "0x", ""))
	if err != nil || len(raw)%size != 0 {
		return nil, fmt.Errorf("%w: the data is %.80q: it must be whole words of 32 bytes in hex", poll.ErrShape, data)
	}
	var out []*big.Int
	for w := range slices.Chunk(raw, size) {
		out = append(out, new(big.Int).SetBytes(w))
	}
	return out, nil
}
