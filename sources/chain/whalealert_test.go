package chain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// alerts is written by hand in the documented shape.
const alerts = `{"result":"success","cursor":"2bc7e46-2bc7e46-5c66c0a7","count":4,"transactions":[
	{"blockchain":"ethereum","symbol":"usdt","id":"710406265","transaction_type":"transfer","hash":"D1E52138","from":{"address":"46705dff","owner":"Huobi","owner_type":"exchange"},
	 "to":{"address":"c1b5915f","owner":"","owner_type":"unknown"},"timestamp":1789999800,"amount":1000000,"amount_usd":997749.6,"transaction_count":1},
	{"blockchain":"tron","symbol":"usdt","id":"2","transaction_type":"mint","hash":"ab","from":{"address":"T1","owner":"tether treasury","owner_type":"other"},
	 "to":{"address":"T2","owner":"unknown","owner_type":"unknown"},"timestamp":1789999860,"amount":500000000.25,"amount_usd":500000000},
	{"blockchain":"ethereum","symbol":"x","id":"3","transaction_type":"lock","hash":"cd","timestamp":1789999870,"amount":1,"amount_usd":1},
	{"blockchain":"bitcoin","symbol":"btc","id":4,"transaction_type":"transfer","hash":"ef","from":{"address":"1a"},"to":{"address":"1b","owner":"binance","owner_type":"exchange"},
	 "timestamp":1789999880,"amount":12.5}]}`

func whales(t testing.TB) *WhaleAlert {
	t.Helper()
	cfg := WhaleAlertDefaults()
	cfg.Key = secret.New("hunter2")
	p, err := NewWhaleAlert(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhaleAlert(t *testing.T) {
	p := whales(t)
	var asked []string
	got, cur := quiet(t, p, nil, func(r poll.Request) string {
		asked = append(asked, r.Ref)
		if v := r.Header["X-WA-API-KEY"]; v.Reveal() != "hunter2" || strings.Contains(r.Ref, "hunter2") {
			t.Error("the key must be in the header, and nowhere else")
		}
		return alerts
	})
	if want := []string{"https://api.whale-alert.io/v1/transactions?min_value=500000&limit=100&start=1789999400"}; !slices.Equal(asked, want) {
		t.Errorf("requests %q, want %q", asked, want)
	}
	var told []string
	for _, r := range got {
		told = append(told, fmt.Sprintf("%s %s %s %s(%s %d)>%s(%s %d) %s $%s %s", r.Meta.Id, r.Chain, r.Asset, r.From, r.FromOwner, r.FromKind, r.To, r.ToOwner, r.ToKind, r.Amount.Text(), r.UsdValue.Text(), r.TxHash))
	}
	want := []string{
		"710406265 ethereum USDT 0x46705dff(huobi 1)>0xc1b5915f( 0) 1000000 $997749.6 0xd1e52138",
		"2 tron USDT T1(tether treasury 3)>T2( 0) 500000000.25 $500000000 ab",
		"4 bitcoin BTC 1a( 0)>1b(binance 1) 12.5 $ ef",
	}
	if !slices.Equal(told, want) {
		t.Errorf("records\n%s, want\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if got[2].UsdValue != nil || got[2].PriceTime != 0 || got[0].PriceTime != 1789999800e9 {
		t.Error("a value that is not told must be absent, and one that is must have its time")
	}

	// The next look goes on with the service's cursor; an old start is left for a newer one, within what the plan allows.
	for wait, want := range map[time.Duration]string{
		time.Minute:      "start=1789999400&cursor=2bc7e46-2bc7e46-5c66c0a7",
		25 * time.Minute: fmt.Sprintf("start=%d", 1789999880-600),
		5 * time.Hour:    fmt.Sprintf("start=%d", 1790000000+5*3600-3600),
	} {
		r, err := p.Ask(p.Jobs()[0], cur, receipt.Add(wait))
		if err != nil || !strings.HasSuffix(r.Ref, want) {
			t.Errorf("after %v: request %s, error %v: want %s", wait, r.Ref, err, want)
		}
	}
}

// A full page leads to the next, with its cursor.
func TestWhaleAlertPages(t *testing.T) {
	p := whales(t)
	page := func(from, n int, cursor string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"blockchain":"tron","symbol":"usdt","id":"%d","transaction_type":"transfer","hash":"%d","timestamp":1789999800,"amount":1}`, from+i, from+i))
		}
		return fmt.Sprintf(`{"result":"success","cursor":%q,"count":%d,"transactions":[%s]}`, cursor, n, strings.Join(list, ","))
	}
	var asked []string
	got, _ := quiet(t, p, nil, func(r poll.Request) string {
		_, q, _ := strings.Cut(r.Ref, "start=")
		asked = append(asked, q)
		switch len(asked) {
		case 1:
			return page(0, 100, "a b")
		case 2:
			return page(100, 100, "c")
		}
		return `{"result":"success","cursor":"c","count":0}`
	})
	if want := []string{"1789999400", "1789999400&cursor=a+b", "1789999400&cursor=c"}; !slices.Equal(asked, want) || len(got) != 200 {
		t.Errorf("requests %q with %d records, want %q with 200", asked, len(got), want)
	}
}

func TestWhaleAlertFaults(t *testing.T) {
	p := whales(t)
	for body, want := range map[string]string{
		`{"result":"error","message":"invalid api_key"}`:                    "error: invalid api_key",
		`{"result":"success"}`:                                              "count is missing",
		`{"result":"success","count":2,"transactions":[]}`:                  "count is 2 with 0 transactions",
		`{"result":"success","count":1,"transactions":[{}]}`:                "they must agree",
		`{"result":"success","cursor":"c","count":0,"transactions":"none"}`: "unexpected shape",
	} {
		if _, _, _, err := turn(t, p, nil, func(poll.Request) string { return body }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", body, err, want)
		}
	}
	for field, body := range map[string]string{
		"amount":     `"blockchain":"tron","symbol":"usdt","hash":"1","timestamp":1789999800,"amount":"many"`,
		"amount_usd": `"blockchain":"tron","symbol":"usdt","hash":"1","timestamp":1789999800,"amount":1,"amount_usd":"x"`,
		"hash":       `"blockchain":"tron","symbol":"usdt","timestamp":1789999800,"amount":1`,
		"timestamp":  `"blockchain":"tron","symbol":"usdt","hash":"1","amount":1`,
	} {
		records, bad, _, err := turn(t, p, nil, func(poll.Request) string {
			return `{"result":"success","cursor":"c","count":1,"transactions":[{"transaction_type":"transfer","id":"9",` + body + `}]}`
		})
		if err != nil || len(records) > 0 || len(bad) != 1 || !strings.Contains(bad[0].Error(), field) {
			t.Errorf("%s: %d records, bad %v, error %v", field, len(records), bad, err)
		}
	}
}
