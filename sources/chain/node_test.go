package chain

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

const receipt = schemas.Time(1_790_000_000e9)

// turn does one turn of a poller's job as package poll does.
func turn(t testing.TB, p poll.Poller, cursor []byte, answer func(poll.Request) string) (records []*schemas.Transfer, bad []error, next []byte, err error) {
	t.Helper()
	first, err := p.Ask(p.Jobs()[0], cursor, receipt)
	if err != nil {
		t.Fatal(err)
	}
	for queue := []poll.Request{first}; len(queue) > 0; {
		req := queue[0]
		body := []byte(answer(req))
		if err := p.Refusal(body); err != nil {
			return records, bad, cursor, err
		}
		res, err := p.Decode(poll.Answer{Job: p.Jobs()[0].Name, Ref: req.Ref, At: receipt, Body: body, Cursor: cursor})
		if err != nil {
			return records, bad, cursor, err
		}
		if res.Cursor != nil {
			cursor = res.Cursor
		}
		bad = append(bad, res.Bad...)
		for _, r := range res.Records {
			m := r.Message.(*schemas.Transfer)
			m.Meta.Source, m.Meta.EventTime = p.Name(), int64(receipt)
			if err := schemas.Validate(m); err != nil {
				t.Fatalf("record %v: %v", m, err)
			}
			records = append(records, m)
		}
		queue = append(slices.Clip(res.Next), queue[1:]...)
	}
	return records, bad, cursor, nil
}

// quiet is a turn without errors.
func quiet(t testing.TB, p poll.Poller, cursor []byte, answer func(poll.Request) string) ([]*schemas.Transfer, []byte) {
	t.Helper()
	records, bad, next, err := turn(t, p, cursor, answer)
	if err != nil || len(bad) > 0 {
		t.Fatalf("error %v, bad %v", err, bad)
	}
	return records, next
}

// lines reads a file of JSON lines of ethereum-etl, numbers as they are written.
func lines[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "ethereum-etl", "blocks_17173049_17173050", name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

type etlBlock struct {
	Number    int64  `json:"number"`
	Hash      string `json:"hash"`
	Parent    string `json:"parent_hash"`
	Timestamp int64  `json:"timestamp"`
}

type etlTx struct {
	Hash   string      `json:"hash"`
	Index  int64       `json:"transaction_index"`
	From   string      `json:"from_address"`
	To     *string     `json:"to_address"`
	Value  json.Number `json:"value"`
	Block  int64       `json:"block_number"`
	InHash string      `json:"block_hash"`
	Status int64       `json:"receipt_status"`
}

type etlLog struct {
	Log    int64    `json:"log_index"`
	Tx     string   `json:"transaction_hash"`
	Index  int64    `json:"transaction_index"`
	Token  string   `json:"address"`
	Data   string   `json:"data"`
	Topics []string `json:"topics"`
	Block  string   `json:"block_hash"`
}

type etlTransfer struct {
	Token string      `json:"token_address"`
	From  string      `json:"from_address"`
	To    string      `json:"to_address"`
	Value json.Number `json:"value"`
	Tx    string      `json:"transaction_hash"`
	Log   uint32      `json:"log_index"`
	Block uint64      `json:"block_number"`
}

func bigOf(t testing.TB, n json.Number) *big.Int {
	t.Helper()
	v, ok := new(big.Int).SetString(n.String(), 10)
	if !ok {
		t.Fatalf("%s is no integer", n)
	}
	return v
}

func hexQuantity(n int64) string { return fmt.Sprintf("0x%x", n) }

func result(v any) string {
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "result": v})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// node answers as the node did from which ethereum-etl took its files: the recorded values in the shapes of JSON-RPC.
type node struct {
	tip      int64
	blocks   map[string]any // by height in hex
	logs     map[string][]map[string]any
	receipts map[string]any
	asked    []string
}

func recorded(t testing.TB) *node {
	n := &node{blocks: map[string]any{}, logs: map[string][]map[string]any{}, receipts: map[string]any{}}
	txs := map[int64][]map[string]any{}
	for _, tx := range lines[etlTx](t, "expected_transactions") {
		txs[tx.Block] = append(txs[tx.Block], map[string]any{
			"hash": tx.Hash, "transactionIndex": hexQuantity(tx.Index), "from": tx.From, "to": tx.To, "value": fmt.Sprintf("0x%x", bigOf(t, tx.Value)),
		})
		n.receipts[tx.Hash] = map[string]any{"transactionHash": tx.Hash, "blockHash": tx.InHash, "status": hexQuantity(tx.Status)}
	}
	for _, b := range lines[etlBlock](t, "expected_blocks") {
		n.blocks[hexQuantity(b.Number)] = map[string]any{
			"number": hexQuantity(b.Number), "hash": b.Hash, "parentHash": b.Parent, "timestamp": hexQuantity(b.Timestamp), "transactions": txs[b.Number],
		}
	}
	for _, l := range lines[etlLog](t, "expected_logs") {
		n.logs[l.Block] = append(n.logs[l.Block], map[string]any{
			"address": l.Token, "topics": l.Topics, "data": l.Data, "transactionHash": l.Tx, "transactionIndex": hexQuantity(l.Index),
			"logIndex": hexQuantity(l.Log), "blockHash": l.Block, "removed": false,
		})
	}
	return n
}

func (n *node) answer(req poll.Request) string {
	var call struct {
		Method string `json:"method"`
		Params []any  `json:"params"`
	}
	if err := json.Unmarshal(req.Body, &call); err != nil {
		panic(err)
	}
	n.asked = append(n.asked, call.Method)
	switch call.Method {
	case "eth_blockNumber":
		return result(hexQuantity(n.tip))
	case "eth_getBlockByNumber":
		return result(n.blocks[call.Params[0].(string)])
	case "eth_getTransactionReceipt":
		return result(n.receipts[call.Params[0].(string)])
	case "eth_call": // the price of 1869.53 of 2023-05-02T12:19:47Z
		return result("0x" + strings.Join([]string{word(1), word(186953000000), word(1683029987), word(1683029987), word(1)}, ""))
	}
	filter := call.Params[0].(map[string]any)
	out := []map[string]any{}
	for _, l := range n.logs[filter["blockHash"].(string)] {
		topics, _ := l["topics"].([]string)
		if slices.Contains(filter["address"].([]any), l["address"]) && len(topics) > 0 && topics[0] == filter["topics"].([]any)[0].(string) {
			out = append(out, l)
		}
	}
	return result(out)
}

func word(n int64) string { return fmt.Sprintf("%064x", n) }

func noFeeds(c *EthereumConfig) { c.Feeds = nil }

func hashOf(n int) string    { return fmt.Sprintf("0x%064x", n) }
func accountOf(n int) string { return fmt.Sprintf("0x%040x", n) }

// small is a node with one block, 100, of two large transfers; written by hand.
func small() *node {
	n := &node{tip: 100, blocks: map[string]any{}, logs: map[string][]map[string]any{}, receipts: map[string]any{}}
	n.put(100, 0x100, 0x99, 0xa1)
	return n
}

// put makes a block with one transaction, which moves 100 ETH and 2,000,000 USDT.
func (n *node) put(height int64, hash, parent, tx int) {
	at := hashOf(hash)
	n.blocks[hexQuantity(height)] = map[string]any{
		"number": hexQuantity(height), "hash": at, "parentHash": hashOf(parent), "timestamp": hexQuantity(1_683_029_999 + 12*height),
		"transactions": []map[string]any{{
			"hash": hashOf(tx), "transactionIndex": "0x0", "from": accountOf(1), "to": accountOf(2), "value": fmt.Sprintf("0x%x", new(big.Int).Mul(big.NewInt(100), power(18))),
		}},
	}
	n.logs[at] = []map[string]any{{
		"address": "0xdac17f958d2ee523a2206206994597c13d831ec7", "topics": []string{transferTopic, hashOf(3), hashOf(4)}, "data": "0x" + word(2_000_000e6),
		"transactionHash": hashOf(tx), "transactionIndex": "0x0", "logIndex": "0x7", "blockHash": at,
	}}
	n.receipts[hashOf(tx)] = map[string]any{"transactionHash": hashOf(tx), "blockHash": at, "status": "0x1"}
}
