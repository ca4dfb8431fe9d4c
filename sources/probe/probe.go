// Package probe asks venues for their time, as anybody may: an independent look from outside that tells "they are down" from
// "we are down". Every round asks all of them at once. A venue that does not answer while another one does is down;
// when none answers as it should, be it that our network is down or that a proxy answers for all, the fault is ours, and nothing is
// said of them.
//
// Calls: Binance GET /api/v3/time, Bybit /v5/market/time, Coinbase Exchange /time, Deribit public/test, Kraken /0/public/Time,
// Kraken Futures /derivatives/api/v3/instruments/{symbol}/status, OKX /api/v5/public/time. None needs a key.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// target is a call that is cheap for the venue and says that it works.
type target struct {
	venue, scope  string
	address, path string
	// holds is what every answer has.
	holds string
}

var targets = map[string]target{
	"binance":        {"binance", "all", "https://api.binance.com", "/api/v3/time", `"serverTime"`},
	"bybit":          {"bybit", "all", "https://api.bybit.com", "/v5/market/time", `"timeNano"`},
	"coinbase":       {"coinbase", "all", "https://api.exchange.coinbase.com", "/time", `"epoch"`},
	"deribit":        {"deribit", "all", "https://www.deribit.com", "/api/v2/public/test", `"version"`},
	"kraken":         {"kraken", "all", "https://api.kraken.com", "/0/public/Time", `"unixtime"`},
	"kraken_futures": {"kraken", "futures", "https://futures.kraken.com", "/derivatives/api/v3/instruments/PF_XBTUSD/status", `"serverTime"`},
	"okx":            {"okx", "all", "https://www.okx.com", "/api/v5/public/time", `"ts"`},
}

// finding is what one call of a round came to.
type finding struct {
	target
	// status is that of the answer, 0 when none came: then err says why.
	status int
	took   time.Duration
	right  bool // the body is what the venue documents
	err    error
}

// maxBody is more than any answer has.
const maxBody = 64 << 10

// ask makes one call. It is not tried again: the next round is soon.
func ask(ctx context.Context, client *http.Client, agent string, t target) (f finding) {
	f.target = t
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.address+t.path, http.NoBody)
	if err != nil {
		f.err = fmt.Errorf("making the request: %w", err)
		return f
	}
	req.Header.Set("User-Agent", agent)
	began := now()
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // it repeats the address
			err = u.Err
		}
		f.err = fmt.Errorf("requesting: %w", err)
		return f
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		f.err = fmt.Errorf("reading the answer: %w", err)
		return f
	}
	f.status, f.took, f.right = resp.StatusCode, now().Sub(began), bytes.Contains(body, []byte(t.holds))
	return f
}

// well says that the venue answers as it should.
func (f *finding) well() bool { return f.status == http.StatusOK && f.right }

// ours says that it is we who cannot see: no venue is well.
func ours(round []finding) bool {
	return !slices.ContainsFunc(round, func(f finding) bool { return f.well() })
}

// refuses says that the venue answers, and does not want to be asked by us: that is no state of the venue.
func (f *finding) refuses() bool {
	switch f.status {
	case http.StatusTooManyRequests, http.StatusTeapot, http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return true
	}
	return false
}

// said fills what the finding says of the venue.
func (f *finding) said(v *schemas.VenueStatus) {
	v.Reporter, v.Scope, v.State, v.Description = "probe", f.scope, "online", ""
	v.HttpStatus, v.ResponseNs = nil, nil
	if f.status == 0 {
		v.State, v.Description = "down", f.err.Error()
		return
	}
	v.HttpStatus, v.ResponseNs = new(uint32(f.status)), new(uint64(f.took))
	switch {
	case f.status != http.StatusOK:
		v.State, v.Description = "down", fmt.Sprintf("answers %d %s", f.status, http.StatusText(f.status))
	case !f.right:
		v.State, v.Description = "degraded", "answers something else than its time"
	}
}
