package chain

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

func ethereum(t testing.TB, change func(*EthereumConfig)) *Ethereum {
	t.Helper()
	cfg := EthereumDefaults()
	cfg.URL, cfg.Confirmations = secret.New("http://127.0.0.1:1/key"), 1
	if change != nil {
		change(&cfg)
	}
	p, err := NewEthereum(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const firstBlock = 17173049

// Every transfer of the two blocks, held against the files that ethereum-etl is tested with. The tokens count 0 decimals here,
// so that amounts are the recorded integers.
func TestRecordedBlocks(t *testing.T) {
	n := recorded(t)
	want := map[string]etlTransfer{}
	var tokens []string
	seen := map[string]bool{}
	for _, x := range lines[etlTransfer](t, "expected_token_transfers") {
		want[fmt.Sprintf("%s:%d", x.Tx, x.Log)] = x
		if !seen[x.Token] {
			seen[x.Token] = true
			tokens = append(tokens, strings.ToUpper("T"+x.Token[2:])+":"+x.Token+":0")
		}
	}
	p := ethereum(t, func(c *EthereumConfig) {
		c.Tokens, c.Feeds, c.Prices, c.MinAmounts, c.MinUSD = tokens, nil, nil, nil, 0
	})
	n.tip = firstBlock
	records, cur := quiet(t, p, nil, n.answer)
	n.tip++
	more, _ := quiet(t, p, cur, n.answer)
	records = append(records, more...)

	// All 291 as the decoder reads them, to the last digit.
	moves, notFungible := 0, 0
	for _, logs := range n.logs {
		for _, l := range logs {
			if topics := l["topics"].([]string); len(topics) == 0 || topics[0] != transferTopic {
				continue
			}
			raw, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			var entry ethLog
			if err := json.Unmarshal(raw, &entry); err != nil {
				t.Fatal(err)
			}
			m, fungible, err := entry.move()
			if err != nil {
				t.Fatalf("log %v: %v", l, err)
			}
			w := want[fmt.Sprintf("%s:%d", m.hash, *m.log)]
			if m.from != w.From || m.to != w.To || m.units.Cmp(bigOf(t, w.Value)) != 0 {
				t.Errorf("log %s:%d is %s from %s to %s, want %v", m.hash, *m.log, m.units, m.from, m.to, w)
			}
			moves++
			if !fungible {
				notFungible++
				delete(want, fmt.Sprintf("%s:%d", m.hash, *m.log))
			}
		}
	}
	if moves != 291 || notFungible != 9 {
		t.Errorf("%d transfers of tokens, %d of them of single pieces: want 291 and 9", moves, notFungible)
	}

	// The records: 282 of tokens, and the native ones that moved something.
	native := map[string]*big.Int{}
	all := lines[etlTx](t, "expected_transactions")
	for _, tx := range all {
		if v := bigOf(t, tx.Value); v.Sign() > 0 && tx.Status == 1 && tx.To != nil {
			native[tx.Hash] = v
		}
	}
	if len(all) != 298 || len(want) != 282 {
		t.Fatalf("the files have %d transactions and %d fungible transfers: want 298 and 282", len(all), len(want))
	}
	tokensSeen, nativeSeen, cut := 0, 0, 0
	largest := new(big.Rat)
	last := [3]int64{}
	for _, r := range records {
		var amount *big.Int
		decimals := 0
		order := [3]int64{int64(r.Height), int64(r.TxIndex), -1}
		if r.LogIndex != nil {
			tokensSeen++
			order[2] = int64(*r.LogIndex)
			w := want[fmt.Sprintf("%s:%d", r.TxHash, *r.LogIndex)]
			amount = bigOf(t, w.Value)
			if r.From != w.From || r.To != w.To || r.Height != w.Block || r.Asset != strings.ToUpper("T"+w.Token[2:]) {
				t.Errorf("record %v, want %v", r, w)
			}
		} else {
			nativeSeen++
			amount, decimals = native[r.TxHash], 18
			if v := ratOf(r.Amount); v.Cmp(largest) > 0 {
				largest = v
			}
		}
		if slices.Compare(order[:], last[:]) <= 0 {
			t.Errorf("record %v comes after %v", order, last)
		}
		last = order
		less := new(big.Rat).Sub(amountOf(amount, decimals), ratOf(r.Amount))
		if less.Sign() != 0 {
			cut++
			if digits := len(strconv.FormatInt(r.Amount.Mantissa, 10)); digits < 18 || less.Sign() < 0 {
				t.Errorf("amount %s of %s, want %s: it must be equal, or cut after 18 digits", r.Amount.Text(), r.TxHash, amount)
			}
		}
	}
	if tokensSeen != 282 || nativeSeen != len(native) || largest.Cmp(big.NewRat(32, 1)) != 0 {
		t.Errorf("%d records of tokens, %d native, the largest %s: want 282, %d, 32", tokensSeen, nativeSeen, largest, len(native))
	}
	t.Logf("%d transactions, %d transfers of tokens (%d of single pieces), %d native that moved, %d amounts cut after 18 digits", len(all), moves, notFungible, nativeSeen, cut)
}

// What is published with the defaults: found by a search of the files, not by the decoder.
func TestRecordedLargeTransfers(t *testing.T) {
	labels := filepath.Join(testservices.DataDir(t), "anomaly", "whale", "eth_address_labels.csv.gz")
	p := ethereum(t, func(c *EthereumConfig) {
		c.Labels, c.MinUSD = labels, 26_000
		c.LabelsSHA256 = sumOf(t, labels)
	})
	n := recorded(t)
	n.tip = firstBlock
	records, cur := quiet(t, p, nil, n.answer)
	n.tip++
	more, cur := quiet(t, p, cur, n.answer)
	records = append(records, more...)
	var got []string
	for _, r := range records {
		got = append(got, strings.Join([]string{r.Asset, r.Amount.Text(), r.UsdValue.Text(), r.FromOwner, r.ToOwner}, "|"))
		if r.Labels != p.maker.holders.pin || len(r.Labels) != 16 || r.PriceTime == 0 {
			t.Errorf("record %v: it must have labels and the time of its price", r)
		}
	}
	for _, w := range []string{
		"USDT|600321.88|600321.88|mev bot: 0xa69...78c|",
		"USDT|110962.179432|110962.18||",
		"USDT|108714.272823|108714.27||tokenlon: rfq",
		"USDT|108453.358568|108453.36|tokenlon: rfq|",
		"ETH|32|59824.96||beacon deposit contract",
		"ETH|14.03252964|26234.24||",
	} {
		if !slices.Contains(got, w) {
			t.Errorf("%s is missing", w)
		}
	}
	var usdt []string
	for _, x := range lines[etlTransfer](t, "expected_token_transfers") {
		if x.Token == "0xdac17f958d2ee523a2206206994597c13d831ec7" && bigOf(t, x.Value).Cmp(big.NewInt(26_000e6)) >= 0 {
			usdt = append(usdt, decimalOf(bigOf(t, x.Value), 6).Text())
		}
	}
	have := 0
	for _, r := range records {
		if r.Asset == "USDT" && r.Amount.Cmp(schemas.NewDecimal(26_000, 0)) >= 0 {
			have++
		}
	}
	if have != len(usdt) {
		t.Errorf("%d transfers of USDT from 26,000, want %d", have, len(usdt))
	}

	n.asked = nil
	if again, _ := quiet(t, p, cur, n.answer); len(again) > 0 || len(n.asked) != 1 {
		t.Errorf("%d records and requests %q without a new block: want one look", len(again), n.asked)
	}
}

// A transaction that failed moves nothing, whatever its value.
func TestFailedTransaction(t *testing.T) {
	n := small()
	p := ethereum(t, noFeeds)
	if got, _ := quiet(t, p, nil, n.answer); len(got) != 2 {
		t.Fatalf("%d records, want a native one and one of a token", len(got))
	}
	n.receipts[hashOf(0xa1)].(map[string]any)["status"] = "0x0"
	if got, _ := quiet(t, p, nil, n.answer); len(got) != 1 || got[0].LogIndex == nil {
		t.Errorf("records %v, want the token's alone", got)
	}
}

// A reorganisation takes back what its dropped blocks moved, ahead of what comes in their place; the same transaction in
// another block, and a chain that turns back, are records of their own.
func TestReorganisation(t *testing.T) {
	n := small()
	p := ethereum(t, noFeeds)
	var ids []string
	var story []string
	take := func(records []*schemas.Transfer) {
		for _, r := range records {
			if r.LogIndex == nil {
				continue
			}
			kind := "moved"
			if r.Retracted {
				kind = "back"
			}
			story = append(story, fmt.Sprintf("%s %d %s", kind, r.Height, r.TxHash[64:]))
			ids = append(ids, r.Meta.Id)
		}
	}
	got, cur := quiet(t, p, nil, n.answer)
	take(got)
	n.put(101, 0x101, 0x100, 0xb1)
	n.tip = 101
	got, cur = quiet(t, p, cur, n.answer)
	take(got)
	if want := []string{"moved 100 a1", "moved 101 b1"}; !slices.Equal(story, want) {
		t.Fatalf("without a reorganisation: %q, want %q", story, want)
	}
	// 101 is replaced by a block with the same transaction, and 102 follows on it.
	n.put(101, 0x201, 0x100, 0xb1)
	n.put(102, 0x202, 0x201, 0xc1)
	n.tip = 102
	for range 3 {
		got, cur = quiet(t, p, cur, n.answer)
		take(got)
	}
	// The chain turns back to the first 101.
	n.put(101, 0x101, 0x100, 0xb1)
	n.put(102, 0x102, 0x101, 0xc2)
	n.put(103, 0x103, 0x102, 0xd1)
	n.tip = 103
	for range 4 {
		got, cur = quiet(t, p, cur, n.answer)
		take(got)
	}
	want := []string{
		"moved 100 a1", "moved 101 b1",
		"back 101 b1", "moved 101 b1", "moved 102 c1",
		"back 102 c1", "back 101 b1", "moved 101 b1", "moved 102 c2", "moved 103 d1",
	}
	if !slices.Equal(story, want) {
		t.Errorf("the story is\n%q, want\n%q", story, want)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(want) {
		t.Errorf("ids repeat: %q", ids)
	}
}

// A block is read when it is deep enough.
func TestConfirmations(t *testing.T) {
	n := small()
	for height, hash := range []int{0x101, 0x102} {
		n.put(int64(101+height), hash, hash-1, hash)
	}
	n.put(99, 0x99, 0x98, 0x99)
	p := ethereum(t, func(c *EthereumConfig) { c.Feeds, c.Confirmations = nil, 3 })
	n.tip = 101
	got, cur := quiet(t, p, nil, n.answer)
	if len(got) == 0 || got[len(got)-1].Height != 99 {
		t.Fatalf("at height 101 %d records were read, want those of block 99", len(got))
	}
	n.tip = 102
	if got, _ = quiet(t, p, cur, n.answer); len(got) == 0 || got[len(got)-1].Height != 100 {
		t.Errorf("at height 102 %d records were read, want those of block 100", len(got))
	}
}

// Parts of one transaction between the same parties count together.
func TestSumOfParts(t *testing.T) {
	n := small()
	part := func(log, from int) map[string]any {
		l := maps.Clone(n.logs[hashOf(0x100)][0])
		l["data"], l["logIndex"], l["topics"] = "0x"+word(60_000e6), hexQuantity(int64(log)), []string{transferTopic, hashOf(from), hashOf(4)}
		return l
	}
	n.logs[hashOf(0x100)] = []map[string]any{part(1, 3), part(2, 3), part(3, 5)}
	got, _ := quiet(t, ethereum(t, noFeeds), nil, n.answer)
	var logs []uint32
	for _, r := range got {
		if r.LogIndex != nil {
			logs = append(logs, *r.LogIndex)
		}
	}
	if !slices.Equal(logs, []uint32{1, 2}) {
		t.Errorf("logs %v were published, want 1 and 2: twice $60,000 between the same two", logs)
	}
}

// A feed that cannot be read leaves the value out, and the amount decides.
func TestBadFeed(t *testing.T) {
	n := small()
	p := ethereum(t, func(c *EthereumConfig) { c.Feeds = []string{"ETH:" + accountOf(9)} })
	records, bad, _, err := turn(t, p, nil, func(r poll.Request) string {
		if strings.HasPrefix(r.Ref, "eth_call/") {
			return `{"jsonrpc":"2.0","id":1,"result":"0x"}`
		}
		return n.answer(r)
	})
	if err != nil || len(bad) != 1 || !strings.Contains(bad[0].Error(), "price feed of ETH") {
		t.Fatalf("error %v, bad %v: want one of the feed", err, bad)
	}
	if len(records) != 2 || records[0].UsdValue != nil || records[0].PriceTime != 0 {
		t.Errorf("records %v: want the native one without a value", records)
	}
}

// What a node answers when something is wrong.
func TestNodeFaults(t *testing.T) {
	for name, c := range map[string]struct{ method, body, want string }{
		"error":         {"eth_getLogs", `{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit exceeded"}}`, "error -32005: limit exceeded"},
		"no result":     {"eth_blockNumber", `{}`, "result is missing"},
		"height":        {"eth_blockNumber", `{"result":"17173050"}`, `the height is "17173050"`},
		"other block":   {"eth_getBlockByNumber", `{"result":{"number":"0x1","hash":"` + hashOf(1) + `","parentHash":"` + hashOf(1) + `","timestamp":"0x6450fdaf","transactions":[]}}`, "the block is number 1: it must be 100"},
		"block":         {"eth_getBlockByNumber", `{"result":{"number":"0x64","timestamp":"0x6450fdaf"}}`, "must have hash, parentHash"},
		"receipt":       {"eth_getTransactionReceipt", `{"result":{"transactionHash":"` + hashOf(0xa1) + `"}}`, `status of the receipt of`},
		"other receipt": {"eth_getTransactionReceipt", `{"result":{"transactionHash":"` + hashOf(1) + `","status":"0x1"}}`, `status of the receipt of`},
	} {
		n := small()
		_, _, _, err := turn(t, ethereum(t, noFeeds), nil, func(r poll.Request) string {
			if strings.HasPrefix(r.Ref, c.method+"/") {
				return c.body
			}
			return n.answer(r)
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if name != "error" && !errors.Is(err, poll.ErrShape) {
			t.Errorf("%s: %v must be of an unexpected shape", name, err)
		}
	}
}

// A node that lags behind its twin has no block yet; the next turn asks again, and nothing comes twice.
func TestBlockNotThereYet(t *testing.T) {
	n := small()
	kept := n.blocks[hexQuantity(100)]
	n.blocks[hexQuantity(100)] = nil
	p := ethereum(t, noFeeds)
	got, cur := quiet(t, p, nil, n.answer)
	if len(got) > 0 {
		t.Fatalf("%d records of no block", len(got))
	}
	n.blocks[hexQuantity(100)] = kept
	delete(n.receipts, hashOf(0xa1))
	if got, cur = quiet(t, p, cur, n.answer); len(got) > 0 {
		t.Fatalf("%d records without the receipt", len(got))
	}
	n.put(100, 0x100, 0x99, 0xa1)
	if got, _ = quiet(t, p, cur, n.answer); len(got) != 2 {
		t.Errorf("%d records, want 2", len(got))
	}
}
