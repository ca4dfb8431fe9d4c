package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// The payloads here are written by hand in the shape that mempool.space documents; no answer of it is among the data.

const bitcoinPrice = `{"time":1703252411,"USD":43753,"EUR":40545}`

func coinHash(n int) string { return fmt.Sprintf("%064x", n) }

// coinbase pays a miner.
var coinbase = fmt.Sprintf(`{"txid":"%064x","vin":[{"is_coinbase":true,"prevout":null}],"vout":[{"scriptpubkey":"51","scriptpubkey_address":"1miner","value":625000000000}]}`, 1)

// payment spends 30 BTC of 1alice (two inputs) and 1 BTC of 1alice2, pays 1bob 12 BTC in two outputs, 3 BTC to a script
// without an address, nothing to a note, and sends 15.99 BTC back as change to 1alice.
var payment = fmt.Sprintf(`{"txid":"%064x","vin":[
	{"is_coinbase":false,"prevout":{"scriptpubkey":"a2","scriptpubkey_address":"1alice2","value":100000000}},
	{"is_coinbase":false,"prevout":{"scriptpubkey":"a1","scriptpubkey_address":"1alice","value":1000000000}},
	{"is_coinbase":false,"prevout":{"scriptpubkey":"a1","scriptpubkey_address":"1alice","value":2000000000}}],"vout":[
	{"scriptpubkey":"b1","scriptpubkey_address":"1bob","value":500000000},
	{"scriptpubkey":"a1","scriptpubkey_address":"1alice","value":1599000000},
	{"scriptpubkey":"c1","value":300000000},
	{"scriptpubkey":"6a","scriptpubkey_type":"op_return","value":0},
	{"scriptpubkey":"b1","scriptpubkey_address":"1bob","value":700000000}]}`, 2)

// smallPayment is a payment of half a coin.
func smallPayment(n int) string {
	return fmt.Sprintf(`{"txid":"%064x","vin":[{"prevout":{"scriptpubkey_address":"1carol","value":50001000}}],"vout":[{"scriptpubkey_address":"1dave","value":50000000}]}`, n)
}

// explorer answers as an Esplora service does.
type explorer struct {
	chain []string            // hashes by height
	txs   map[string][]string // by hash
	asked []string
}

func blockJSON(height int, hash, parent string, count int) string {
	return fmt.Sprintf(`{"id":%q,"height":%d,"previousblockhash":%q,"timestamp":%d,"tx_count":%d}`, hash, height, parent, 1_703_252_000+600*height, count)
}

func blockList(hash int) string {
	return "[" + blockJSON(100, coinHash(hash), coinHash(hash-1), 2) + "]"
}

func (e *explorer) answer(t testing.TB, p *Bitcoin) func(poll.Request) string {
	return func(r poll.Request) string {
		path := strings.TrimPrefix(r.Ref, p.cfg.URL)
		e.asked = append(e.asked, path)
		from := len(e.chain) - 1
		switch {
		case path == pricesPath:
			return bitcoinPrice
		case strings.HasPrefix(path, "/block/"):
			var hash string
			var at int
			if _, err := fmt.Sscanf(strings.ReplaceAll(path, "/", " "), " block %s txs %d", &hash, &at); err != nil {
				t.Fatalf("request %s: %v", path, err)
			}
			all := e.txs[hash]
			return "[" + strings.Join(all[at:min(at+pageSize, len(all))], ",") + "]"
		case path != blocksPath:
			if _, err := fmt.Sscanf(path, "/blocks/%d", &from); err != nil {
				t.Fatalf("request %s: %v", path, err)
			}
		}
		var list []string
		for h := from; h >= 0 && h > from-10; h-- {
			parent := coinHash(0xffff)
			if h > 0 {
				parent = e.chain[h-1]
			}
			list = append(list, blockJSON(h, e.chain[h], parent, len(e.txs[e.chain[h]])))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
}

// grow adds a block.
func (e *explorer) grow(hash int, txs ...string) {
	e.chain = append(e.chain, coinHash(hash))
	e.txs[coinHash(hash)] = append([]string{coinbase}, txs...)
}

func bitcoinPoller(t testing.TB, change func(*BitcoinConfig)) *Bitcoin {
	t.Helper()
	cfg := BitcoinDefaults()
	if change != nil {
		change(&cfg)
	}
	p, err := NewBitcoin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tell(records []*schemas.Transfer) []string {
	var out []string
	for _, r := range records {
		out = append(out, fmt.Sprintf("%d/%d %s>%s %s of %s $%s", r.Height, r.TxIndex, r.From, r.To, r.Amount.Text(), r.GrossAmount.Text(), r.UsdValue.Text()))
	}
	return out
}

// Change goes to nobody, outputs of one counterparty are one, a reward and a note are none.
func TestBitcoinPayment(t *testing.T) {
	e := &explorer{txs: map[string][]string{}}
	e.grow(0x100, payment)
	p := bitcoinPoller(t, nil)
	got, cur := quiet(t, p, nil, e.answer(t, p))
	want := []string{"0/1 1alice>1bob 12 of 30.99 $525036.00", "0/1 1alice>script:c1 3 of 30.99 $131259.00"}
	if told := tell(got); !slices.Equal(told, want) {
		t.Errorf("records\n%q, want\n%q", told, want)
	}
	for _, r := range got {
		if r.PriceTime != 1703252411e9 || r.LogIndex != nil || r.Chain != "bitcoin" || r.Asset != "BTC" {
			t.Errorf("record %v: it must have the time of the price and no log index", r)
		}
	}
	if want := []string{"/blocks", "/v1/prices", "/block/" + coinHash(0x100) + "/txs/0"}; !slices.Equal(e.asked, want) {
		t.Errorf("requests %q, want %q", e.asked, want)
	}
	if again, _ := quiet(t, p, cur, e.answer(t, p)); len(again) > 0 {
		t.Errorf("%d records without a new block", len(again))
	}
}

// Moves within one holder are marked by the holder, and its addresses are one counterparty.
func TestBitcoinHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels.csv")
	text := "address,entity,kind\n1alice2,Kraken,exchange\n1bob,Kraken,exchange\n1dave,Kraken,exchange\n1eve,Binance,exchange\n1eve2,Binance,exchange\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	batch := fmt.Sprintf(`{"txid":"%064x","vin":[{"prevout":{"scriptpubkey_address":"1carol","value":2000000000}}],"vout":[
		{"scriptpubkey_address":"1eve","value":300000000},{"scriptpubkey_address":"1frank","value":400000000},{"scriptpubkey_address":"1eve2","value":500000000}]}`, 3)
	e := &explorer{txs: map[string][]string{}}
	e.grow(0x100, payment, batch)
	p := bitcoinPoller(t, func(c *BitcoinConfig) { c.Labels = path })
	got, _ := quiet(t, p, nil, e.answer(t, p))
	var told []string
	for _, r := range got {
		told = append(told, fmt.Sprintf("%s(%s)>%s(%s) %s", r.From, r.FromOwner, r.To, r.ToOwner, r.Amount.Text()))
	}
	want := []string{"1alice(kraken)>1bob(kraken) 12", "1alice(kraken)>script:c1() 3", "1carol()>1eve2(binance) 8", "1carol()>1frank() 4"}
	if !slices.Equal(told, want) {
		t.Errorf("records\n%q, want\n%q", told, want)
	}
}

// A block of several pages is read page by page; a turn that breaks off goes on where it was.
func TestBitcoinPages(t *testing.T) {
	e := &explorer{txs: map[string][]string{}}
	var txs []string
	for i := range 60 {
		txs = append(txs, smallPayment(10+i))
	}
	txs[59] = payment
	e.grow(0x100, txs...)
	p := bitcoinPoller(t, nil)
	broken := true
	answer := func(r poll.Request) string {
		if strings.HasSuffix(r.Ref, "/txs/50") && broken {
			broken = false
			return `[{"txid":`
		}
		return e.answer(t, p)(r)
	}
	_, _, cur, err := turn(t, p, nil, answer)
	if !errors.Is(err, poll.ErrShape) {
		t.Fatalf("error %v, want an unexpected shape", err)
	}
	e.asked = nil
	got, _ := quiet(t, p, cur, answer)
	if want := []string{"/blocks", "/block/" + coinHash(0x100) + "/txs/50"}; !slices.Equal(e.asked, want) {
		t.Errorf("requests %q, want %q", e.asked, want)
	}
	if len(got) != 2 || got[0].TxIndex != 60 {
		t.Errorf("records %q, want those of transaction 60", tell(got))
	}
}

// The source catches up beyond one list of blocks, in order.
func TestBitcoinCatchesUp(t *testing.T) {
	e := &explorer{txs: map[string][]string{}}
	e.grow(0x100)
	p := bitcoinPoller(t, nil)
	_, cur := quiet(t, p, nil, e.answer(t, p))
	for i := range 25 {
		e.grow(0x101+i, payment)
	}
	got, _ := quiet(t, p, cur, e.answer(t, p))
	var heights []uint64
	for _, r := range got {
		heights = append(heights, r.Height)
	}
	if len(got) != 50 || !slices.IsSorted(heights) || heights[0] != 1 || heights[49] != 25 {
		t.Errorf("heights %v, want twice each of 1 to 25", heights)
	}
}

// Two blocks are dropped at once: both are taken back, the later one first, before the new ones are read.
func TestBitcoinReorganisation(t *testing.T) {
	e := &explorer{txs: map[string][]string{}}
	e.grow(0x100)
	p := bitcoinPoller(t, nil)
	_, cur := quiet(t, p, nil, e.answer(t, p))
	e.grow(0x101, payment)
	e.grow(0x102, payment)
	before, cur := quiet(t, p, cur, e.answer(t, p))
	e.chain = e.chain[:1]
	e.grow(0x201, payment)
	e.grow(0x202)
	e.grow(0x203)
	back, cur := quiet(t, p, cur, e.answer(t, p))
	after, _ := quiet(t, p, cur, e.answer(t, p))
	var heights []uint64
	ids := map[string]bool{}
	for _, r := range slices.Concat(before, back, after) {
		heights = append(heights, r.Height)
		ids[r.Meta.Id] = true
	}
	for i, r := range slices.Concat(before, back, after) {
		if r.Retracted != (i >= 4 && i < 8) {
			t.Errorf("record %d is retracted: %t", i, r.Retracted)
		}
	}
	if want := []uint64{1, 1, 2, 2, 2, 2, 1, 1, 1, 1}; !slices.Equal(heights, want) || len(ids) != len(want) {
		t.Errorf("heights %v with %d ids, want %v", heights, len(ids), want)
	}
}

func TestBitcoinFaults(t *testing.T) {
	e := &explorer{txs: map[string][]string{}}
	e.grow(0x100, payment)
	for name, c := range map[string]struct{ path, body, want string }{
		"empty list":   {"/blocks", `[]`, "the list of blocks is empty"},
		"no tx_count":  {"/blocks", `[{"id":"` + coinHash(1) + `","height":0,"timestamp":1703252000}]`, "block 0 must have"},
		"price":        {"/v1/prices", `{"time":1703252411,"EUR":1}`, `USD is ""`},
		"short page":   {"/block/", `[` + coinbase + `]`, "has 1 transactions: it must have 2"},
		"a page of {}": {"/block/", `{}`, "unexpected shape"},
	} {
		p := bitcoinPoller(t, nil)
		_, _, _, err := turn(t, p, nil, func(r poll.Request) string {
			if strings.HasPrefix(strings.TrimPrefix(r.Ref, p.cfg.URL), c.path) {
				return c.body
			}
			return e.answer(t, p)(r)
		})
		if !errors.Is(err, poll.ErrShape) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	for name, tx := range map[string]string{
		"no prevout": `{"txid":"` + coinHash(5) + `","vin":[{"prevout":null}],"vout":[]}`,
		"too much":   `{"txid":"` + coinHash(5) + `","vin":[{"prevout":{"value":1}}],"vout":[{"value":2100000000000001}]}`,
		"no txid":    `{"vin":[{"prevout":{"value":1}}]}`,
	} {
		e := &explorer{txs: map[string][]string{}}
		e.grow(0x100, tx, payment)
		p := bitcoinPoller(t, nil)
		got, bad, _, err := turn(t, p, nil, e.answer(t, p))
		if err != nil || len(bad) != 1 || len(got) != 2 {
			t.Errorf("%s: %d records, bad %v, error %v: want one bad transaction and the other's records", name, len(got), bad, err)
		}
	}
}
