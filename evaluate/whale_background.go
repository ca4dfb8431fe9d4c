package evaluate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// stablecoins are the tokens whose amounts are dollars: contract address to decimals.
var stablecoins = map[string]int{
	"0xdac17f958d2ee523a2206206994597c13d831ec7": 6, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48": 6, "0x6b175474e89094c44da98b954eedeac495271d0f": 18,
}

// A chainShape is what real blocks say of transfers of dollars.
type chainShape struct {
	Transfers int `json:"token_transfers"`
	Dollars   int `json:"dollar_transfers"`
	// Labelled counts ends with a label, ToExchange and FromExchange transfers of any token by it.
	Labelled     int     `json:"labelled_ends"`
	ToExchange   int     `json:"to_exchange"`
	FromExchange int     `json:"from_exchange"`
	Seconds      int64   `json:"seconds"`
	Largest      float64 `json:"largest_usd"`
	// LogMean and LogSD are those of ln(USD); with them, PerDay dollar transfers a day have the feed's minimum or more, and Millions
	// a million.
	LogMean  float64 `json:"log_mean"`
	LogSD    float64 `json:"log_sd"`
	PerDay   float64 `json:"per_day"`
	Millions float64 `json:"millions_per_day"`
}

// above is the share of all transfers of so many USD or more.
func (s *chainShape) above(usd float64) float64 {
	return math.Erfc((math.Log(usd)-s.LogMean)/s.LogSD/math.Sqrt2) / 2
}

// size is what a share of the feed's transfers lies below.
func (s *chainShape) size(share float64) float64 {
	z := math.Sqrt2 * math.Erfcinv(2*(1-share)*s.above(feedMinimum))
	return math.Exp(s.LogMean + s.LogSD*z)
}

type tokenTransfer struct {
	Token  string      `json:"token_address"`
	From   string      `json:"from_address"`
	To     string      `json:"to_address"`
	Value  json.Number `json:"value"`
	Height uint64      `json:"block_number"`
	Time   int64       `json:"block_timestamp"`
}

func readTokenTransfers(path string) ([]tokenTransfer, error) {
	file, in, err := openData(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []tokenTransfer
	for dec := json.NewDecoder(in); ; {
		var t tokenTransfer
		if err := dec.Decode(&t); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		out = append(out, t)
	}
}

// secondsPerBlock is Ethereum's.
const secondsPerBlock = 12

func shapeOf(rows []tokenTransfer, categories map[string]string) (*chainShape, error) {
	s := &chainShape{Transfers: len(rows)}
	blocks := map[uint64]bool{}
	var logs []float64
	for _, t := range rows {
		blocks[t.Height] = true
		from, to := categories[t.From], categories[t.To]
		if from != "" {
			s.Labelled++
		}
		if to != "" {
			s.Labelled++
		}
		if from == "exchange" && to != "exchange" {
			s.FromExchange++
		}
		if to == "exchange" && from != "exchange" {
			s.ToExchange++
		}
		decimals, ok := stablecoins[t.Token]
		v, err := t.Value.Float64()
		if !ok || err != nil || v <= 0 {
			continue
		}
		usd := v / math.Pow10(decimals)
		s.Largest = max(s.Largest, usd)
		logs = append(logs, math.Log(usd))
	}
	if len(logs) < 20 {
		return nil, fmt.Errorf("data hold %d transfers of stablecoins: at least 20 are needed for their sizes", len(logs))
	}
	s.Dollars, s.Seconds = len(logs), int64(len(blocks))*secondsPerBlock
	for _, v := range logs {
		s.LogMean += v / float64(len(logs))
	}
	for _, v := range logs {
		s.LogSD += (v - s.LogMean) * (v - s.LogMean) / float64(len(logs)-1)
	}
	s.LogSD = math.Sqrt(s.LogSD)
	daily := float64(s.Dollars) / float64(s.Seconds) * 86400
	s.PerDay, s.Millions = daily*s.above(feedMinimum), daily*s.above(1e6)
	return s, nil
}

// A movement is one transfer of the background, or an injected one.
type movement struct {
	at       schemas.Time
	usd      float64
	class    int
	from, to string // owners, "" for plain addresses
	// address is the plain end; "" for one of its own.
	address, tx string
}

// Classes of the background, with their assumed shares: two blocks hold too few large transfers to tell.
const (
	deposit = iota
	withdrawal
	interExchange
	shuffle
	bridged
	minted
	plain
)

// background makes a day of transfers: by the hour of day, with sizes of the lognormal from the feed's minimum on, each exchange leaning
// one way for a day.
func background(r *rand.Rand, start schemas.Time, perDay float64, shape *chainShape) []movement {
	var out []movement
	var lean [exchangesOf]float64
	for i := range lean {
		lean[i] = 0.1 * (2*r.Float64() - 1)
	}
	for second := 0.0; ; {
		rate := perDay / 86400 * (1 + 0.5*math.Sin(2*math.Pi*second/86400))
		second += r.ExpFloat64() / rate
		if second >= 86400 {
			return out
		}
		m := movement{at: start.Add(time.Duration(second * 1e9)), usd: shape.size(r.Float64()), tx: "0x" + strconv.FormatUint(r.Uint64(), 16)}
		e := exchangeBy(r)
		name := exchangeName(e)
		switch p := r.Float64(); {
		case p < 0.40:
			if r.Float64() < 0.5+lean[e] {
				m.class, m.to = deposit, name
			} else {
				m.class, m.from = withdrawal, name
			}
		case p < 0.44:
			m.class, m.from, m.to = interExchange, name, exchangeName((e+1+r.IntN(exchangesOf-1))%exchangesOf)
		case p < 0.49:
			m.class, m.from, m.to = shuffle, name, name
		case p < 0.51:
			m.class = bridged
		case p < 0.513:
			m.class = minted
		default:
			m.class = plain
		}
		if (m.class == deposit || m.class == withdrawal) && r.Float64() < regularShare {
			m.address = "regular" + strconv.Itoa(int(regulars*r.Float64()*r.Float64()))
		}
		out = append(out, m)
	}
}

// exchangeBy draws an exchange: the k-th has a share of 1/k.
func exchangeBy(r *rand.Rand) int {
	sum := 0.0
	for k := range exchangesOf {
		sum += 1 / float64(k+1)
	}
	p := r.Float64() * sum
	for k := range exchangesOf {
		if p -= 1 / float64(k+1); p < 0 {
			return k
		}
	}
	return exchangesOf - 1
}

func exchangeName(k int) string { return "exchange" + strconv.Itoa(k+1) }

func (m *movement) record() *schemas.Transfer {
	kind := func(owner string) schemas.AddressKind {
		if owner == "" {
			return schemas.AddressKind_ADDRESS_KIND_UNSPECIFIED
		}
		return schemas.AddressKind_ADDRESS_KIND_EXCHANGE
	}
	t := &schemas.Transfer{
		Meta:  &schemas.Meta{Venue: "chain", Symbol: "USD", Id: m.tx, EventTime: int64(m.at)},
		Chain: "chain", Asset: "USD", TxHash: m.tx, LogIndex: new(uint32(1)), Height: uint64(m.at / 12e9), From: cmp.Or(m.address, m.tx) + "/from", To: cmp.Or(m.address, m.tx) + "/to",
		FromOwner: m.from, ToOwner: m.to, FromKind: kind(m.from), ToKind: kind(m.to), PriceTime: int64(m.at), Amount: schemas.NewDecimal(int64(m.usd), 0), UsdValue: schemas.NewDecimal(int64(m.usd), 0),
	}
	switch m.class {
	case bridged:
		t.ToKind = schemas.AddressKind_ADDRESS_KIND_BRIDGE
	case minted:
		t.FromKind = schemas.AddressKind_ADDRESS_KIND_TREASURY
	}
	return t
}
