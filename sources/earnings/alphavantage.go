package earnings

import (
	"fmt"
	"net/url"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sources/poll"
)

func (p *Poller) alphaVantage(symbol string) poll.Request {
	ref := p.cfg.URL + "/query?" + url.Values{"function": {"EARNINGS"}, "symbol": {symbol}}.Encode()
	return poll.Request{Ref: ref, URL: secret.New(ref + "&apikey=" + url.QueryEscape(p.cfg.Key.Reveal())), PerMinute: p.cfg.PerMinute}
}

// decodeAlphaVantage reads all quarters of a ticker. Every value is a string.
func (p *Poller) decodeAlphaVantage(a poll.Answer, cur cursor) (poll.Result, error) {
	var body struct {
		Quarters *[]struct {
			End       string    `json:"fiscalDateEnding"`
			Reported  string    `json:"reportedDate"`
			Actual    poll.Text `json:"reportedEPS"`
			Estimate  poll.Text `json:"estimatedEPS"`
			PartOfDay string    `json:"reportTime"`
		} `json:"quarterlyEarnings"`
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	if body.Quarters == nil {
		return poll.Result{}, poll.Missing("quarterlyEarnings")
	}
	quarters := map[string]told{}
	var bad []error
	for _, q := range *body.Quarters {
		t, err := tolds(q.Actual, q.Estimate, "", "")
		if err == nil && q.Reported != "" && q.Reported != "None" {
			t.Announced, err = announced(q.Reported, q.PartOfDay)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("quarter of %q: %w", q.End, err))
			continue
		}
		if t.Actual != "" || t.Estimate != "" {
			quarters[q.End] = t
		}
	}
	return p.tell(a, cur, quarters, bad), nil
}
