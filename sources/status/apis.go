package status

import (
	"fmt"
	"strings"

	"github.com/tapewatch/tapewatch/sources/okx"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// api is a venue's status call.
type api struct {
	address, path string
	decode        func([]byte) (map[string]report, error)
}

var apis = map[string]api{
	"binance": {"https://api.binance.com", "/sapi/v1/system/status", decodeBinance},
	"bybit":   {"https://api.bybit.com", "/v5/system/status", decodeBybit},
	"deribit": {"https://www.deribit.com", "/api/v2/public/status", decodeDeribit},
	"kraken":  {"https://api.kraken.com", "/0/public/SystemStatus", decodeKraken},
	"okx":     {"https://www.okx.com", "/api/v5/system/status", decodeOKX},
}

// unknown is a value that no documentation has: a state that is not understood is not told.
func unknown(field string, value any) error {
	return fmt.Errorf("%w: %s is %.40q, which is not documented", poll.ErrShape, field, fmt.Sprint(value))
}

// decodeBinance: 0 normal, 1 maintenance.
func decodeBinance(body []byte) (map[string]report, error) {
	var r struct {
		Status poll.Text `json:"status"`
		Text   string    `json:"msg"`
	}
	if err := poll.Decode(body, &r); err != nil {
		return nil, err
	}
	state := map[poll.Text]string{"0": online, "1": maintenance}[r.Status]
	if state == "" {
		return nil, unknown("status", r.Status)
	}
	return map[string]report{all: {State: state, Text: clip(r.Text)}}, nil
}

// decodeKraken: the trading engine's mode, what is announced within three days, and emergencies.
func decodeKraken(body []byte) (map[string]report, error) {
	type event struct {
		ID       poll.Text `json:"event_id"`
		Title    string    `json:"title"`
		Starts   string    `json:"expected_start_utc"`
		Ends     string    `json:"expected_end_utc"`
		Services []string  `json:"affected_services"`
	}
	var r struct {
		Result *struct {
			Status    string  `json:"status"`
			Upcoming  []event `json:"upcoming_maintenance"`
			Emergency []event `json:"emergency"`
		} `json:"result"`
	}
	if err := poll.Decode(body, &r); err != nil {
		return nil, err
	}
	if r.Result == nil {
		return nil, poll.Missing("result")
	}
	state := map[string]string{"online": online, "maintenance": maintenance, "cancel_only": degraded, "post_only": degraded}[r.Result.Status]
	if state == "" {
		return nil, unknown("result.status", r.Result.Status)
	}
	now := map[string]report{all: {State: state, Text: strings.ReplaceAll(r.Result.Status, "_", " ")}}
	for _, e := range r.Result.Upcoming {
		now["maintenance/"+string(e.ID)] = report{State: maintenance, Text: clip(e.Title + ": " + strings.Join(e.Services, ", ")), Starts: moment(e.Starts), Ends: moment(e.Ends)}
	}
	for _, e := range r.Result.Emergency {
		now["emergency/"+string(e.ID)] = report{State: degraded, Text: clip(e.Title + ": " + strings.Join(e.Services, ", "))}
	}
	return now, nil
}

// work is an announced maintenance of Bybit or OKX.
type work struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	State   string    `json:"state"`
	Begin   poll.Text `json:"begin"`
	End     poll.Text `json:"end"`
	Service poll.Text `json:"serviceType"`
	Env     poll.Text `json:"env"`
}

// production is the env of what is no demo trading, at Bybit as at OKX.
const production = "1"

// works tells what is scheduled, under way, or over. name gives the scope.
func works(list []work, name func(work) string) (map[string]report, error) {
	now := map[string]report{}
	for _, w := range list {
		if w.Env != "" && w.Env != production {
			continue
		}
		r := report{State: maintenance, Text: clip(w.Title + " (" + w.State + ")"), Starts: millis(w.Begin), Ends: millis(w.End)}
		switch strings.ToLower(w.State) {
		case "scheduled", "ongoing", "pre_open":
		case "completed": // end is when it came true
			r.State, r.Said, r.over = online, r.Ends, true
		case "canceled", "cancelled":
			r.State, r.over = online, true
		default:
			return nil, unknown("state", w.State)
		}
		now[name(w)] = r
	}
	return now, nil
}

func decodeBybit(body []byte) (map[string]report, error) {
	var r struct {
		Result *struct {
			List []work `json:"list"`
		} `json:"result"`
	}
	if err := poll.Decode(body, &r); err != nil {
		return nil, err
	}
	if r.Result == nil {
		return nil, poll.Missing("result")
	}
	return works(r.Result.List, func(w work) string { return "maintenance/" + w.ID })
}

func decodeOKX(body []byte) (map[string]report, error) {
	var r struct {
		Data *[]work `json:"data"`
	}
	if err := poll.Decode(body, &r); err != nil {
		return nil, err
	}
	if r.Data == nil {
		return nil, poll.Missing("data")
	}
	return works(*r.Data, func(w work) string { return okx.Maintenance(string(w.Begin), string(w.Service)) })
}

// decodeDeribit: whether trading is locked in no, some or all currencies.
func decodeDeribit(body []byte) (map[string]report, error) {
	var r struct {
		Result *struct {
			Locked     poll.Text `json:"locked"`
			Indices    []string  `json:"locked_indices"`
			Currencies []string  `json:"locked_currencies"`
		} `json:"result"`
	}
	if err := poll.Decode(body, &r); err != nil {
		return nil, err
	}
	if r.Result == nil {
		return nil, poll.Missing("result")
	}
	state := map[poll.Text]string{"false": online, "partial": degraded, "true": down}[r.Result.Locked]
	if state == "" {
		return nil, unknown("result.locked", r.Result.Locked)
	}
	text := ""
	if state != online {
		text = clip("locked: " + strings.Join(append(r.Result.Currencies, r.Result.Indices...), ", "))
	}
	return map[string]report{all: {State: state, Text: text}}, nil
}
