package chain

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// run does one turn of a poller over HTTP and returns what was published.
func run(t *testing.T, p poll.Poller, past poll.Past) *sourcetest.Memory {
	t.Helper()
	cfg := poll.Defaults()
	cfg.BackoffMax, cfg.Timeout, cfg.Attempts = time.Second, 5*time.Second, 1
	m := poll.NewMetrics(nil)
	s, err := poll.New(p, poll.Options{
		Config: cfg, Client: poll.NewClient(cfg, m), Once: true, Metrics: m, Shared: sources.NewMetrics(nil),
		Past: func(context.Context, string, []schemas.Topic) (poll.Past, error) { return past, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Run(ctx, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The recorded blocks through the source, over HTTP, with a restart between them: transfers have the block's time, the second
// run goes on where the first ended, and a reorganisation found by a third takes the second block back.
func TestEthereumSource(t *testing.T) {
	n := recorded(t)
	n.tip = firstBlock
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v3/hunter2" {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, n.answer(poll.Request{Body: body}))
	}))
	defer server.Close()
	p := ethereum(t, func(c *EthereumConfig) {
		c.URL, c.PerMinute, c.MinUSD = secret.New(server.URL+"/v3/hunter2"), 60_000, 26_000
	})
	past := func(out *sourcetest.Memory) poll.Past {
		states := sourcetest.Of[*schemas.PollState](out)
		if len(states) != 1 {
			t.Fatalf("%d states were saved, want 1", len(states))
		}
		states[0].Polled -= int64(time.Minute) // the next turn is due
		return poll.Past{States: states}
	}
	first := run(t, p, poll.Past{})
	n.tip++
	second := run(t, p, past(first))
	n.blocks[hexQuantity(firstBlock+2)] = map[string]any{
		"number": hexQuantity(firstBlock + 2), "hash": hashOf(2), "parentHash": hashOf(1), "timestamp": hexQuantity(1683030023), "transactions": []any{},
	}
	n.tip++
	third := run(t, p, past(second))

	a, b, c := sourcetest.Of[*schemas.Transfer](first), sourcetest.Of[*schemas.Transfer](second), sourcetest.Of[*schemas.Transfer](third)
	if len(a) == 0 || len(b) == 0 || len(b) != len(c) {
		t.Fatalf("%d, %d and %d transfers: want some of each block, and the second block's again", len(a), len(b), len(c))
	}
	for _, r := range a {
		if r.Meta.EventTime != 1683029999e9 || r.Retracted {
			t.Errorf("transfer %v: its time must be the block's", r)
		}
	}
	for i, r := range c {
		if !r.Retracted || r.TxHash != b[i].TxHash || r.Meta.Id == b[i].Meta.Id || b[i].Retracted || r.Meta.EventTime < b[i].Meta.EventTime {
			t.Errorf("transfer %v must take %v back", r, b[i])
		}
	}
	if i := slices.IndexFunc(b, func(r *schemas.Transfer) bool { return r.Asset == "USDT" && r.Amount.Text() == "600321.88" }); i < 0 {
		t.Error("the largest transfer is missing")
	}
}

// The address of a node holds a key: no error and no name of a request tells it.
func TestNodeKeyStaysSecret(t *testing.T) {
	p := ethereum(t, nil)
	req, err := p.Ask(p.Jobs()[0], nil, receipt)
	if err != nil || strings.Contains(req.Ref, "127.0.0.1") {
		t.Errorf("request %q, error %v", req.Ref, err)
	}
	c := EthereumDefaults()
	c.URL = secret.New("ftp://hunter2")
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") || errors.Unwrap(err) != nil {
		t.Errorf("error %v: it must not tell the address", err)
	}
}

// The transfers that are kept are bounded; a block without them is still recognised.
func TestCursorIsBounded(t *testing.T) {
	c := &cursor{Started: true}
	for i := range 40 {
		c.Pending = &pending{block: block{header: header{Height: uint64(i), Hash: hashOf(i), Seconds: 1_700_000_000}}}
		big := &schemas.Transfer{Meta: &schemas.Meta{Id: strings.Repeat("x", 30<<10)}}
		if err := c.Pending.add([]*schemas.Transfer{big}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.done(32); err != nil {
			t.Fatal(err)
		}
	}
	with := 0
	for _, b := range c.Known {
		with += len(b.Transfers)
	}
	if len(c.Known) != 32 || with != 8 || len(c.Known[31].Transfers) != 1 || len(poll.WriteCursor(c)) > 1<<20 {
		t.Errorf("%d blocks, %d of them with transfers, %d bytes: want 32, the last 8", len(c.Known), with, len(poll.WriteCursor(c)))
	}
}
