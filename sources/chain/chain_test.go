package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

func sumOf(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func TestDecimalOf(t *testing.T) {
	for _, c := range []struct {
		units    string
		decimals int
		want     string
	}{
		{"0", 18, "0"},
		{"32000000000000000000", 18, "32"},
		{"14032529640000000000", 18, "14.03252964"},
		{"600321880000", 6, "600321.88"},
		{"7056176614974947328", 18, "7.056176614974947328"},
		{"12345678901234567891", 18, "12.34567890123456789"},
		{"150188698277042438264952193024", 18, "150188698277.0424382"},
		{"1", 24, "0"},
		{"123000000", 0, "123000000"},
		{"9223372036854775807", 0, "9223372036854775807"},
	} {
		units, _ := new(big.Int).SetString(c.units, 10)
		if got := decimalOf(units, c.decimals); got.Text() != c.want {
			t.Errorf("%s of %d decimals is %s, want %s", c.units, c.decimals, got.Text(), c.want)
		}
	}
	if got := decimalOf(power(60), 0); got != nil {
		t.Errorf("10^60 is %s, want nothing", got.Text())
	}
}

func FuzzDecimalOf(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(18))
	f.Add(power(30).Bytes(), uint8(6))
	f.Fuzz(func(t *testing.T, raw []byte, decimals uint8) {
		units, places := new(big.Int).SetBytes(raw[:min(len(raw), 32)]), int(decimals%37)
		d := decimalOf(units, places)
		exact := amountOf(units, places)
		if d == nil {
			if exact.Cmp(new(big.Rat).SetInt(power(36))) < 0 {
				t.Fatalf("%s of %d decimals is nothing", units, places)
			}
			return
		}
		got := ratOf(d)
		if less := new(big.Rat).Sub(exact, got); less.Sign() < 0 || less.Sign() > 0 && less.Cmp(ratOf(schemas.NewDecimal(1, d.Exponent))) >= 0 {
			t.Fatalf("%s of %d decimals is %s", units, places, d.Text())
		}
	})
}

func TestLabels(t *testing.T) {
	got, err := parseLabels([]byte("address,entity,kind\n0xABcd,Binance,exchange\n0xabcd,Other,fund\n1BoatSLRHtKNngkdXEeobR76b53LETtpyT,Boat,bridge\nbc1QX,Tether,treasury\n"))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]holder{
		"0xabcd":                             {"binance", schemas.AddressKind_ADDRESS_KIND_EXCHANGE},
		"0xABCD":                             {"binance", schemas.AddressKind_ADDRESS_KIND_EXCHANGE},
		"1BoatSLRHtKNngkdXEeobR76b53LETtpyT": {"boat", schemas.AddressKind_ADDRESS_KIND_BRIDGE},
		"1boatslrhtknngkdxeeobr76b53letTpyt": {},
		"bc1qx":                              {"tether", schemas.AddressKind_ADDRESS_KIND_TREASURY},
		nullAddress:                          {"", schemas.AddressKind_ADDRESS_KIND_TREASURY},
	} {
		if h := (&labels{holders: got}).of(address); h != want {
			t.Errorf("%s is held by %v, want %v", address, h, want)
		}
	}
	for label, want := range map[string]string{
		"Binance 18": "binance", "Binance Dep: 0x0cd9e12653ab9f83": "binance", "deribit": "deribit", "Coinbase Cold 2": "coinbase", "OKX: Hot Wallet 3": "okx",
		"Binance Charity: Education": "binance charity", "1": "1",
	} {
		if got := entityOf(strings.ToLower(label), schemas.AddressKind_ADDRESS_KIND_EXCHANGE); got != want {
			t.Errorf("%q is a wallet of %q, want %q", label, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                             "the header",
		"address,name\n":               "it must have address,entity,kind",
		"address,entity,kind\n,a,b\n":  "line 2",
		"address,entity,kind\n0x1,a\n": "wrong number of fields",
		"address,label,category\n,a,b": "must not be empty",
	} {
		if _, err := parseLabels([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// The file of 52,768 labels; the counts are those of its index.
func TestRecordedLabels(t *testing.T) {
	path := filepath.Join(testservices.DataDir(t), "anomaly", "whale", "eth_address_labels.csv.gz")
	l, err := readLabels("ethereum", Common{Labels: path})
	if err != nil {
		t.Fatal(err)
	}
	count := map[schemas.AddressKind]int{}
	for _, h := range l.holders {
		count[h.kind]++
	}
	if len(l.holders) != 52768 || count[schemas.AddressKind_ADDRESS_KIND_EXCHANGE] != 12012 || count[schemas.AddressKind_ADDRESS_KIND_BRIDGE] != 1453 {
		t.Errorf("%d labels, by kind %v: want 52768, 12012 of exchanges, 1453 of bridges", len(l.holders), count)
	}
	if h := l.of("0x001866AE5B3de6caa5a51543fd9fb64f524f5478"); h.entity != "binance" || l.pin != sumOf(t, path)[:16] {
		t.Errorf("Binance 9 is held by %v, pinned %s", h, l.pin)
	}
	_, err = readLabels("ethereum", Common{Labels: path, LabelsSHA256: strings.Repeat("0", 64)})
	if err == nil || !strings.Contains(err.Error(), "it must be labels_sha256") {
		t.Errorf("with another hash: error %v", err)
	}
}

func TestConfigs(t *testing.T) {
	for name, check := range map[string]func() error{
		"bitcoin": BitcoinDefaults().Validate, "ethereum": EthereumDefaults().Validate, "whalealert": WhaleAlertDefaults().Validate,
	} {
		if err := check(); err != nil {
			t.Errorf("defaults of %s: %v", name, err)
		}
	}
	eth := func(change func(*EthereumConfig)) error {
		c := EthereumDefaults()
		change(&c)
		return c.Validate()
	}
	alert := func(change func(*WhaleAlertConfig)) error {
		c := WhaleAlertDefaults()
		change(&c)
		return c.Validate()
	}
	for want, err := range map[string]error{
		"ethereum.chain":         eth(func(c *EthereumConfig) { c.Chain = "Ethereum" }),
		"ethereum.native":        eth(func(c *EthereumConfig) { c.Native = "eth" }),
		"ethereum.url":           eth(func(c *EthereumConfig) { c.URL = secret.New("node:8545") }),
		"ethereum.tokens has":    eth(func(c *EthereumConfig) { c.Tokens = []string{"USDT:0xdac1:6"} }),
		"twice":                  eth(func(c *EthereumConfig) { c.Tokens = append(c.Tokens, c.Tokens[0]) }),
		"ethereum.feeds":         eth(func(c *EthereumConfig) { c.Feeds = []string{"ETH"} }),
		"ethereum.min_usd":       eth(func(c *EthereumConfig) { c.MinUSD = -1 }),
		"ethereum.prices has":    eth(func(c *EthereumConfig) { c.Prices = []string{"ETH:0"} }),
		"as in RFC 3339":         eth(func(c *EthereumConfig) { c.Prices = []string{"ETH:1@now"} }),
		"ethereum.min_amounts":   eth(func(c *EthereumConfig) { c.MinAmounts = []string{"ETH:-1"} }),
		"ethereum.confirmations": eth(func(c *EthereumConfig) { c.Confirmations = 0 }),
		"ethereum.watch":         eth(func(c *EthereumConfig) { c.Watch = 0 }),
		"ethereum.every":         eth(func(c *EthereumConfig) { c.Every = 0 }),
		"ethereum.per_minute":    eth(func(c *EthereumConfig) { c.PerMinute = 0 }),
		"ethereum.labels_sha256": eth(func(c *EthereumConfig) { c.LabelsSHA256 = "12" }),
		"bitcoin.url":            func() error { c := BitcoinDefaults(); c.URL += "/"; return c.Validate() }(),
		"whalealert.min_usd":     alert(func(c *WhaleAlertConfig) { c.MinUSD = 0 }),
		"whalealert.history":     alert(func(c *WhaleAlertConfig) { c.History = 0 }),
		"whalealert.per_minute":  alert(func(c *WhaleAlertConfig) { c.PerMinute = 0 }),
		"whalealert.url":         alert(func(c *WhaleAlertConfig) { c.URL = "" }),
		"whalealert.every":       alert(func(c *WhaleAlertConfig) { c.Every = 0 }),
		"ethereum.url is empty":  func() error { _, err := NewEthereum(EthereumDefaults()); return err }(),
		"whalealert.key":         func() error { _, err := NewWhaleAlert(WhaleAlertDefaults()); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}

// No answer makes a decoder panic, and an error comes without records.
func FuzzDecode(f *testing.F) {
	key := secret.New("k")
	wa := WhaleAlertDefaults()
	wa.Key = key
	w, err := NewWhaleAlert(wa)
	if err != nil {
		f.Fatal(err)
	}
	b, err := NewBitcoin(BitcoinDefaults())
	if err != nil {
		f.Fatal(err)
	}
	pollers := []poll.Poller{ethereum(f, nil), b, w}
	block := []byte(`{"next":100,"tip":101,"started":true,"pending":{"height":100,"hash":"` + hashOf(0x100) + `","seconds":1683029999,"count":2}}`)
	coin := []byte(`{"next":100,"tip":101,"started":true,"pending":{"height":100,"hash":"` + hashOf(0x100)[2:] + `","seconds":1683029999,"count":2}}`)
	n := small()
	f.Add(uint8(0), "eth_blockNumber/", []byte(result("0x64")), []byte{})
	f.Add(uint8(0), "eth_getBlockByNumber/0x64", []byte(result(n.blocks["0x64"])), block)
	f.Add(uint8(0), "eth_getLogs/"+hashOf(0x100), []byte(result(n.logs[hashOf(0x100)])), block)
	f.Add(uint8(0), "eth_call/ETH", []byte(result("0x"+strings.Repeat(word(1), 5))), block)
	f.Add(uint8(1), b.cfg.URL+"/blocks", []byte(blockList(0x100)), []byte{})
	f.Add(uint8(1), b.cfg.URL+"/v1/prices", []byte(bitcoinPrice), coin)
	f.Add(uint8(1), b.cfg.URL+"/block/"+hashOf(0x100)[2:]+"/txs/0", []byte("["+coinbase+","+payment+"]"), coin)
	f.Add(uint8(2), w.cfg.URL+"/transactions?min_value=1&limit=100&start=1", []byte(alerts), []byte{})
	f.Fuzz(func(t *testing.T, which uint8, ref string, raw, cursor []byte) {
		p := pollers[int(which)%len(pollers)]
		_ = p.Refusal(raw)
		res, err := p.Decode(poll.Answer{Job: p.Jobs()[0].Name, Ref: ref, At: receipt, Body: raw, Cursor: cursor})
		if err != nil && len(res.Records) > 0 {
			t.Fatal("records beside an error")
		}
		for _, r := range res.Records {
			if schemas.MetaOf(r.Message).GetId() == "" {
				t.Fatal("a record without an id")
			}
		}
	})
}
