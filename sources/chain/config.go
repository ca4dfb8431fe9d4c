// Package chain asks for the large transfers of chains: Bitcoin from an Esplora service such as mempool.space, Ethereum and its
// kin from a node by JSON-RPC, and many chains from Whale Alert.
//
// Shapes: https://mempool.space/docs/api/rest, https://github.com/Blockstream/esplora/blob/master/API.md,
// https://ethereum.org/developers/docs/apis/json-rpc/, https://docs.whale-alert.io.
package chain

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Common is what the sources that read blocks share.
type Common struct {
	Labels        string        `koanf:"labels" doc:"CSV file that says who holds which address, with a header address,entity,kind, or address,label,category as explorers export; .gz is unpacked. Empty knows nobody."`
	LabelsSHA256  string        `koanf:"labels_sha256" doc:"SHA-256 that the file of labels must have, in hex; empty takes any. The first 16 digits go with each record."`
	MinUSD        float64       `koanf:"min_usd" doc:"Value in USD from which a transfer is published; parts of one transaction between the same two parties count together."`
	MinAmounts    []string      `koanf:"min_amounts" doc:"Amount from which a transfer is published when no price is known, each ASSET:AMOUNT; without it all are."`
	Prices        []string      `koanf:"prices" doc:"Prices in USD, each ASSET:PRICE for a peg that holds at all times, or ASSET:PRICE@TIME (RFC 3339) for one that was taken then. A price that the service tells goes first."`
	Confirmations int           `koanf:"confirmations" doc:"How many blocks a block must be deep to be read, itself included."`
	Watch         int           `koanf:"watch" doc:"How many read blocks are kept to take their transfers back, should a reorganisation drop them."`
	Every         time.Duration `koanf:"every" doc:"Time between two looks for a new block."`
	PerMinute     int           `koanf:"per_minute" doc:"Requests a minute, at most."`
}

// BitcoinConfig is the Bitcoin source.
type BitcoinConfig struct {
	Common
	URL   string `koanf:"url" doc:"Address of the Esplora interface."`
	Price bool   `koanf:"price" doc:"Whether the service is asked for the price (/v1/prices), which only mempool.space tells."`
}

// BitcoinDefaults read mempool.space.
func BitcoinDefaults() BitcoinConfig {
	return BitcoinConfig{
		Common: Common{MinUSD: 100_000, MinAmounts: []string{"BTC:1"}, Confirmations: 1, Watch: 12, Every: time.Minute, PerMinute: 60},
		URL:    "https://mempool.space/api", Price: true,
	}
}

// Validate checks the settings.
func (c BitcoinConfig) Validate() error {
	if err := address("bitcoin.url", c.URL); err != nil {
		return err
	}
	return c.check("bitcoin")
}

// EthereumConfig is the source of Ethereum, or of a chain with the same interface.
type EthereumConfig struct {
	Common
	URL    secret.Secret `koanf:"url" doc:"Address of the node's JSON-RPC; it often holds a key."`
	Chain  string        `koanf:"chain" doc:"Name of the chain, lower case."`
	Native string        `koanf:"native" doc:"Symbol of the chain's own asset, of 18 decimals."`
	Tokens []string      `koanf:"tokens" doc:"ERC-20 tokens to follow, each SYMBOL:ADDRESS:DECIMALS."`
	Feeds  []string      `koanf:"feeds" doc:"Chainlink price feeds in USD that are read from the chain, each ASSET:ADDRESS."`
}

// EthereumDefaults follow ether and the largest tokens.
func EthereumDefaults() EthereumConfig {
	return EthereumConfig{
		Common: Common{
			MinUSD: 100_000, MinAmounts: []string{"ETH:30", "WBTC:1"}, Prices: []string{"USDT:1", "USDC:1", "DAI:1"},
			Confirmations: 2, Watch: 32, Every: 12 * time.Second, PerMinute: 300,
		},
		Chain: "ethereum", Native: "ETH",
		Tokens: []string{
			"USDT:0xdac17f958d2ee523a2206206994597c13d831ec7:6", "USDC:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48:6",
			"DAI:0x6b175474e89094c44da98b954eedeac495271d0f:18", "WBTC:0x2260fac5e5542a773aa44fbcfedf7c193bc2c599:8",
		},
		Feeds: []string{"ETH:0x5f4ec3df9cbd43714fe2740f5e3616155c5b8419", "WBTC:0xf4030086522a5beea4988f8ca5b36dbc97bee88c"},
	}
}

// Validate checks the settings.
func (c EthereumConfig) Validate() error {
	switch {
	case c.Chain == "" || c.Chain != strings.ToLower(c.Chain):
		return fmt.Errorf("ethereum.chain is %q: it must be a name in lower case", c.Chain)
	case !isSymbol(c.Native):
		return fmt.Errorf("ethereum.native is %q: it must be a symbol in upper case", c.Native)
	}
	if !c.URL.IsZero() && address("", c.URL.Reveal()) != nil {
		return errors.New("ethereum.url must be a URL with http or https and a host")
	}
	if _, err := readTokens(c.Tokens); err != nil {
		return err
	}
	if _, err := readFeeds(c.Feeds); err != nil {
		return err
	}
	return c.check("ethereum")
}

// WhaleAlertConfig is the Whale Alert source.
type WhaleAlertConfig struct {
	Key       secret.Secret `koanf:"key" doc:"Key of the interface; it is paid for."`
	MinUSD    int           `koanf:"min_usd" doc:"Value in USD from which a transfer is asked for; the plan has a least one, such as 500000."`
	History   time.Duration `koanf:"history" doc:"How far back the plan lets ask; a stop of the source that is longer loses what came before."`
	URL       string        `koanf:"url" doc:"Address of the interface."`
	Every     time.Duration `koanf:"every" doc:"Time between two looks."`
	PerMinute int           `koanf:"per_minute" doc:"Requests a minute, at most; the plan sets it."`
}

// WhaleAlertDefaults fit the smallest plan.
func WhaleAlertDefaults() WhaleAlertConfig {
	return WhaleAlertConfig{MinUSD: 500_000, History: time.Hour, URL: "https://api.whale-alert.io/v1", Every: time.Minute, PerMinute: 10}
}

// Validate checks the settings.
func (c WhaleAlertConfig) Validate() error {
	switch {
	case c.MinUSD < 1:
		return fmt.Errorf("whalealert.min_usd is %d: it must be at least 1", c.MinUSD)
	case c.History < newStart || c.History > 366*24*time.Hour:
		return fmt.Errorf("whalealert.history is %v: it must lie between %v and 8784h", c.History, newStart)
	case c.PerMinute < 1 || c.PerMinute > 10_000:
		return fmt.Errorf("whalealert.per_minute is %d: it must lie between 1 and 10000", c.PerMinute)
	}
	if err := address("whalealert.url", c.URL); err != nil {
		return err
	}
	return poll.Interval("whalealert.every", c.Every)
}

func (c Common) check(section string) error {
	switch {
	case !(c.MinUSD >= 0 && c.MinUSD <= 1e12):
		return fmt.Errorf("%s.min_usd is %v: it must lie between 0 and 1e12", section, c.MinUSD)
	case c.Confirmations < 1 || c.Confirmations > 1000:
		return fmt.Errorf("%s.confirmations is %d: it must lie between 1 and 1000", section, c.Confirmations)
	case c.Watch < 1 || c.Watch > 256:
		return fmt.Errorf("%s.watch is %d: it must lie between 1 and 256", section, c.Watch)
	case c.PerMinute < 1 || c.PerMinute > 60_000:
		return fmt.Errorf("%s.per_minute is %d: it must lie between 1 and 60000", section, c.PerMinute)
	case c.LabelsSHA256 != "" && !isHash(c.LabelsSHA256):
		return fmt.Errorf("%s.labels_sha256 is %.80q: it must be 64 hex digits", section, c.LabelsSHA256)
	}
	if _, err := readPrices(section, c.Prices); err != nil {
		return err
	}
	if _, err := readAmounts(section, c.MinAmounts); err != nil {
		return err
	}
	return poll.Interval(section+".every", c.Every)
}

func isHash(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32
}

func isSymbol(s string) bool {
	return s != "" && s == strings.ToUpper(s) && !strings.ContainsAny(s, ": ")
}

func address(setting, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(text, "/") {
		return fmt.Errorf("%s is %q: it must be a URL with http or https and a host, without a slash at its end", setting, text)
	}
	return nil
}

// price is the value of one unit in USD. at is when it was taken; 0 is a peg, which holds at all times.
type price struct {
	usd *big.Rat
	at  schemas.Time
}

func readPrices(section string, entries []string) (map[string]price, error) {
	out := map[string]price{}
	for _, e := range entries {
		asset, rest, _ := strings.Cut(e, ":")
		text, stamp, timed := strings.Cut(rest, "@")
		d, err := schemas.ParseDecimal([]byte(text))
		if !isSymbol(asset) || err != nil || d.Sign() <= 0 {
			return nil, fmt.Errorf("%s.prices has %q: each must be ASSET:PRICE or ASSET:PRICE@TIME, the price greater than zero", section, e)
		}
		p := price{usd: ratOf(d)}
		if timed {
			t, err := time.Parse(time.RFC3339, stamp)
			if err != nil || schemas.Time(t.UnixNano()) < schemas.MinTime {
				return nil, fmt.Errorf("%s.prices has %q: its time must be as in RFC 3339, such as 2026-01-31T12:00:00Z", section, e)
			}
			p.at = poll.Time(t)
		}
		out[asset] = p
	}
	return out, nil
}

func readAmounts(section string, entries []string) (map[string]*big.Rat, error) {
	out := map[string]*big.Rat{}
	for _, e := range entries {
		asset, text, _ := strings.Cut(e, ":")
		d, err := schemas.ParseDecimal([]byte(text))
		if !isSymbol(asset) || err != nil || d.Sign() < 0 {
			return nil, fmt.Errorf("%s.min_amounts has %q: each must be ASSET:AMOUNT, not negative", section, e)
		}
		out[asset] = ratOf(d)
	}
	return out, nil
}

// token is an ERC-20 contract.
type token struct {
	symbol   string
	decimals int
}

func readTokens(entries []string) (map[string]token, error) {
	const most = 36 // more decimals than any token has
	out := map[string]token{}
	for _, e := range entries {
		parts := strings.Split(e, ":")
		n := -1
		if len(parts) == 3 {
			if v, err := strconv.Atoi(parts[2]); err == nil {
				n = v
			}
		}
		if n < 0 || n > most || !isSymbol(parts[0]) || !isAccount(parts[1]) {
			return nil, fmt.Errorf("ethereum.tokens has %q: each must be SYMBOL:ADDRESS:DECIMALS, the address 0x and 40 hex digits, the decimals 0 to %d", e, most)
		}
		at := strings.ToLower(parts[1])
		if _, ok := out[at]; ok {
			return nil, fmt.Errorf("ethereum.tokens names %s twice", at)
		}
		out[at] = token{parts[0], n}
	}
	return out, nil
}

// feed is a price feed of an asset.
type feed struct{ asset, address string }

func readFeeds(entries []string) ([]feed, error) {
	var out []feed
	for _, e := range entries {
		asset, at, _ := strings.Cut(e, ":")
		if !isSymbol(asset) || !isAccount(at) {
			return nil, fmt.Errorf("ethereum.feeds has %q: each must be ASSET:ADDRESS, the address 0x and 40 hex digits", e)
		}
		out = append(out, feed{asset, strings.ToLower(at)})
	}
	return out, nil
}

func isAccount(text string) bool {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	return err == nil && len(raw) == 20 && strings.HasPrefix(text, "0x")
}
