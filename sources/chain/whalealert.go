package chain

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// WhaleAlert asks Whale Alert, which values and labels by itself.
type WhaleAlert struct{ cfg WhaleAlertConfig }

var _ poll.Poller = (*WhaleAlert)(nil)

// NewWhaleAlert makes the poller.
func NewWhaleAlert(cfg WhaleAlertConfig) (*WhaleAlert, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Key.IsZero() {
		return nil, errors.New("whalealert.key is empty: it must be the key of a plan")
	}
	return &WhaleAlert{cfg}, nil
}

// Name is "whalealert".
func (p *WhaleAlert) Name() string { return "whalealert" }

// Venue is "whalealert".
func (p *WhaleAlert) Venue() string { return "whalealert" }

// Topics is that of transfers.
func (p *WhaleAlert) Topics() []schemas.Topic { return []schemas.Topic{schemas.ChainTransfers} }

// Tick is ten seconds.
func (p *WhaleAlert) Tick() time.Duration { return 10 * time.Second }

// Lag leaves room for the service, which tells a transfer some minutes after its block.
func (p *WhaleAlert) Lag() time.Duration { return p.cfg.Every + 5*time.Minute }

// Jobs has one.
func (p *WhaleAlert) Jobs() []poll.Job {
	return []poll.Job{{Name: "transactions", Stream: "transfers", Every: p.cfg.Every}}
}

const (
	// overlap is how far back a new start goes: what the service tells late is not missed, what comes twice is recognised.
	overlap = 10 * time.Minute
	// newStart is the age from which a start is left for a newer one: plans bound how far back one may ask.
	newStart = 30 * time.Minute
	// pageLimit is how many transfers an answer holds at most.
	pageLimit = 100
)

// alertCursor is where the last answer ended: the service's own cursor goes with the start that it was given for.
type alertCursor struct {
	Start  int64  `json:"start"` // seconds since the Unix epoch, as Last
	Cursor string `json:"cursor"`
	// Last is the time of the newest transfer.
	Last int64 `json:"last"`
}

// Ask goes on where the last answer ended. What lies further back than the plan lets ask is lost.
func (p *WhaleAlert) Ask(_ poll.Job, state []byte, now schemas.Time) (poll.Request, error) {
	cur := alertCursor{Start: int64(now.Add(-overlap)) / 1e9}
	if len(state) > 0 {
		if err := json.Unmarshal(state, &cur); err != nil {
			return poll.Request{}, fmt.Errorf("reading the cursor: %w", err)
		}
	}
	if int64(now.Add(-newStart))/1e9 > cur.Start {
		last := schemas.Time(max(cur.Last, cur.Start) * 1e9)
		cur.Start, cur.Cursor = int64(max(last.Add(-overlap), now.Add(-p.cfg.History)))/1e9, ""
	}
	return p.request(cur), nil
}

func (p *WhaleAlert) request(cur alertCursor) poll.Request {
	ref := fmt.Sprintf("%s/transactions?min_value=%d&limit=%d&start=%d", p.cfg.URL, p.cfg.MinUSD, pageLimit, cur.Start)
	if cur.Cursor != "" {
		ref += "&cursor=" + url.QueryEscape(cur.Cursor)
	}
	return poll.Request{Ref: ref, Header: map[string]secret.Secret{"X-WA-API-KEY": p.cfg.Key}, PerMinute: p.cfg.PerMinute, Fresh: true}
}

// Refusal finds {"result":"error","message":"…"}.
func (p *WhaleAlert) Refusal(body []byte) error {
	var answer struct {
		Result  string `json:"result"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Result == "" || answer.Result == "success" {
		return nil //nolint:nilerr // what is no JSON has an unexpected shape: Decode says so
	}
	return fmt.Errorf("%s: %.200s", answer.Result, answer.Message)
}

// alertEnd is one end of a transfer.
type alertEnd struct {
	Address string `json:"address"`
	Owner   string `json:"owner"`
	Type    string `json:"owner_type"`
}

// alert is a transfer as Whale Alert tells it.
type alert struct {
	Chain     string    `json:"blockchain"`
	Symbol    string    `json:"symbol"`
	ID        poll.Text `json:"id"`
	Type      string    `json:"transaction_type"`
	Hash      string    `json:"hash"`
	From      alertEnd  `json:"from"`
	To        alertEnd  `json:"to"`
	Timestamp int64     `json:"timestamp"`
	Amount    poll.Text `json:"amount"`
	USD       poll.Text `json:"amount_usd"`
}

// Decode reads a page; a full one leads to the next.
func (p *WhaleAlert) Decode(a poll.Answer) (poll.Result, error) {
	var body struct {
		Cursor       string   `json:"cursor"`
		Count        *int     `json:"count"`
		Transactions *[]alert `json:"transactions"`
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	if body.Count == nil {
		return poll.Result{}, poll.Missing("count")
	}
	var list []alert
	if body.Transactions != nil { // it is left out when there are none
		list = *body.Transactions
	}
	if len(list) != *body.Count || len(list) > 0 && body.Cursor == "" {
		return poll.Result{}, fmt.Errorf("%w: count is %d with %d transactions and cursor %.40q: they must agree", poll.ErrShape, *body.Count, len(list), body.Cursor)
	}
	var res poll.Result
	for i := range list {
		t, err := list[i].transfer()
		switch {
		case err != nil:
			res.Bad = append(res.Bad, fmt.Errorf("transaction %s: %w", list[i].ID, err))
		case t != nil:
			res.Records = append(res.Records, poll.Record{Topic: schemas.ChainTransfers, Said: schemas.Time(list[i].Timestamp * 1e9), Message: t})
		}
	}
	cur, err := startOf(a)
	if err != nil {
		return poll.Result{}, err
	}
	for i := range list {
		if isSeconds(list[i].Timestamp) && schemas.Time(list[i].Timestamp*1e9) <= a.At {
			cur.Last = max(cur.Last, list[i].Timestamp)
		}
	}
	if body.Cursor != "" {
		cur.Cursor = body.Cursor
	}
	res.Cursor = poll.WriteCursor(cur)
	if len(list) >= pageLimit {
		res.Next = []poll.Request{p.request(cur)}
	}
	return res, nil
}

// startOf is the cursor that a request was made with.
func startOf(a poll.Answer) (alertCursor, error) {
	cur, err := poll.ReadCursor[alertCursor](a.Cursor)
	if err != nil {
		return cur, err
	}
	_, text, _ := strings.Cut(a.Ref, "&start=")
	text, given, _ := strings.Cut(text, "&cursor=")
	start, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return cur, fmt.Errorf("%.200q was not asked for", a.Ref)
	}
	if given, err = url.QueryUnescape(given); err != nil {
		return cur, fmt.Errorf("%.200q was not asked for", a.Ref)
	}
	cur.Start, cur.Cursor = start, given
	return cur, nil
}

// transfer makes the record; nil for what moves nothing, such as a lock of tokens.
func (t *alert) transfer() (*schemas.Transfer, error) {
	switch t.Type {
	case "transfer", "mint", "burn":
	default:
		return nil, nil
	}
	amount, err := t.Amount.Decimal()
	if err != nil {
		return nil, fmt.Errorf("amount: %w", err)
	}
	usd, err := t.USD.Decimal()
	if err != nil {
		return nil, fmt.Errorf("amount_usd: %w", err)
	}
	if t.Chain == "" || t.Symbol == "" || t.Hash == "" || amount == nil || amount.Sign() < 0 || !isSeconds(t.Timestamp) {
		return nil, fmt.Errorf("%w: it must have blockchain, symbol, hash, timestamp and amount", poll.ErrShape)
	}
	asset, chain := strings.ToUpper(t.Symbol), strings.ToLower(t.Chain)
	out := &schemas.Transfer{
		Meta:  &schemas.Meta{Venue: chain, Symbol: asset},
		Chain: chain, Asset: asset, TxHash: hexOf(chain, t.Hash), From: hexOf(chain, t.From.Address), To: hexOf(chain, t.To.Address), Amount: amount,
		FromOwner: t.From.owner(), ToOwner: t.To.owner(), FromKind: t.From.kind(), ToKind: t.To.kind(),
	}
	out.Meta.Id = cmp.Or(string(t.ID), out.TxHash+":"+out.From+":"+out.To)
	if usd != nil {
		out.UsdValue, out.PriceTime = usd, t.Timestamp*1e9
	}
	switch t.Type {
	case "mint":
		out.FromKind = schemas.AddressKind_ADDRESS_KIND_TREASURY
	case "burn":
		out.ToKind = schemas.AddressKind_ADDRESS_KIND_TREASURY
	}
	return out, nil
}

func (e alertEnd) owner() string {
	if owner := strings.ToLower(e.Owner); owner != "unknown" {
		return owner
	}
	return ""
}

func (e alertEnd) kind() schemas.AddressKind {
	if e.owner() == "" && (e.Type == "" || e.Type == "unknown") {
		return schemas.AddressKind_ADDRESS_KIND_UNSPECIFIED
	}
	return kindOf(e.Type)
}

// hexOf puts 0x before hex on the chains that write it so; Whale Alert leaves it out.
func hexOf(chain, text string) string {
	if text == "" || strings.HasPrefix(text, "0x") || chain != "ethereum" && chain != "polygon" {
		return text
	}
	return "0x" + strings.ToLower(text)
}
