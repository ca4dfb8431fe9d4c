package earnings

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

const (
	calendarPath = "/calendar/earnings"
	quartersPath = "/stock/earnings"
)

// The calendar is asked for a month back, as far as the free plan has it, and a quarter ahead.
const (
	calendarBack  = 30 * 24 * time.Hour
	calendarAhead = 95 * 24 * time.Hour
)

func (p *Poller) calendar(symbol string, now schemas.Time) poll.Request {
	day := func(d time.Duration) string { return now.Add(d).UTC().Format(time.DateOnly) }
	return p.finnhub(calendarPath, url.Values{"symbol": {symbol}, "from": {day(-calendarBack)}, "to": {day(calendarAhead)}})
}

func (p *Poller) finnhub(path string, query url.Values) poll.Request {
	return poll.Request{
		Ref: p.cfg.URL + path + "?" + query.Encode(), PerMinute: p.cfg.PerMinute,
		Header: map[string]secret.Secret{"X-Finnhub-Token": p.cfg.Key},
	}
}

// decodeCalendar keeps when quarters are announced, and asks for the quarters.
func (p *Poller) decodeCalendar(a poll.Answer, cur cursor) (poll.Result, error) {
	var body struct {
		Calendar *[]struct {
			Symbol, Date, Hour             string
			Year, Quarter                  int
			EPSActual, EPSEstimate         poll.Text
			RevenueActual, RevenueEstimate poll.Text
		} `json:"earningsCalendar"`
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	if body.Calendar == nil {
		return poll.Result{}, poll.Missing("earningsCalendar")
	}
	symbol := strings.TrimPrefix(a.Job, jobPrefix)
	var res poll.Result
	cur.Calendar = map[string]told{}
	for _, e := range *body.Calendar {
		if e.Symbol != symbol {
			continue
		}
		t, err := tolds(e.EPSActual, e.EPSEstimate, e.RevenueActual, e.RevenueEstimate)
		if err == nil {
			t.Announced, err = announced(e.Date, e.Hour)
		}
		if err != nil {
			res.Bad = append(res.Bad, fmt.Errorf("%s, calendar of %s: %w", symbol, e.Date, err))
			continue
		}
		cur.Calendar[fiscal(e.Year, e.Quarter)] = t
	}
	res.Cursor = poll.WriteCursor(cur)
	res.Next = []poll.Request{p.finnhub(quartersPath, url.Values{"symbol": {symbol}})}
	res.Next[0].Fresh, res.Partial = true, true // each is of use only together with the other
	return res, nil
}

func tolds(actual, estimate, revenueActual, revenueEstimate poll.Text) (t told, err error) {
	for _, f := range []struct {
		to   *string
		text poll.Text
	}{{&t.Actual, actual}, {&t.Estimate, estimate}, {&t.RevenueActual, revenueActual}, {&t.RevenueEstimate, revenueEstimate}} {
		var bad error
		if *f.to, bad = number(f.text); bad != nil {
			err = bad
		}
	}
	return t, err
}

func fiscal(year, quarter int) string { return fmt.Sprintf("%dQ%d", year, quarter) }

// decodeFinnhub reads the last quarters, each with the last day of its period, and joins the calendar to them.
func (p *Poller) decodeFinnhub(a poll.Answer, cur cursor) (poll.Result, error) {
	var body []struct {
		Actual, Estimate poll.Text
		Period           string
		Year, Quarter    int
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	quarters := map[string]told{}
	latest, latestAt := "", 0
	var bad []error
	for _, q := range body {
		t, err := tolds(q.Actual, q.Estimate, "", "")
		if err == nil {
			_, err = poll.Day(q.Period, newYork)
		}
		if err == nil && (q.Quarter < 1 || q.Quarter > 4) {
			err = fmt.Errorf("quarter is %d: it must lie between 1 and 4", q.Quarter)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("quarter of %q: %w", q.Period, err))
			continue
		}
		name := fiscal(q.Year, q.Quarter)
		quarters[q.Period] = t.over(cur.Calendar[name])
		delete(cur.Calendar, name)
		if q.Period > latest {
			latest, latestAt = q.Period, 4*q.Year+q.Quarter
		}
	}
	if latest == "" {
		return poll.Result{}, errors.Join(append(bad, fmt.Errorf("%w: no quarter that can be read", poll.ErrShape))...)
	}
	// What the calendar has beyond is a quarter to come: its period ends as many quarters after the latest.
	for name, t := range cur.Calendar { // into a map: the order plays no part
		var year, quarter int
		if _, err := fmt.Sscanf(name, "%dQ%d", &year, &quarter); err == nil {
			if after := 4*year + quarter - latestAt; after > 0 && after <= 4 {
				quarters[monthsAfter(latest, 3*after)] = t
			}
		}
	}
	return p.tell(a, cur, quarters, bad), nil
}

// monthsAfter is the last day of the month so many months later.
func monthsAfter(day string, months int) string {
	t, err := poll.Day(day, time.UTC)
	if err != nil {
		return day
	}
	return time.Date(t.Year(), t.Month()+time.Month(months)+1, 0, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}
