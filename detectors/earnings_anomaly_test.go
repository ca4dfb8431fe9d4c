package detectors

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

func init() {
	generators["earnings_anomaly"] = announcements
	others["earnings_anomaly"] = map[string]string{
		"threshold_pct": `25`, "check_interval": `"7m"`, "min_surprise": `0.2`, "floor_eps": `1`, "strict": `true`, "open_for": `"1h"`, "max_age": `"1h"`,
	}
	broken["earnings_anomaly"] = map[string]string{
		"threshold_pct": `0`, "check_interval": `"30s"`, "min_surprise": `-1`, "floor_eps": `0`, "open_for": `"0s"`, "max_age": `"1m"`,
	}
	samples[schemas.ReferenceEquities.Name] = struct {
		fresh func() func(seq uint64, at schemas.Time) schemas.Message
		every time.Duration
	}{sampleEarnings, time.Hour}
}

// sampleEarnings is a company whose quarters, here a day long, meet the consensus.
func sampleEarnings() func(seq uint64, at schemas.Time) schemas.Message {
	m := &schemas.Earnings{
		Meta: &schemas.Meta{Source: "s", Venue: "us", Symbol: "AAPL"}, Basis: schemas.EarningsBasis_EARNINGS_BASIS_STREET,
		EpsActual: schemas.NewDecimal(0, -2), EpsEstimate: schemas.NewDecimal(150, -2),
	}
	var periods [64]string
	for i := range periods {
		periods[i] = t0.Add(time.Duration(i) * 24 * time.Hour).UTC().Format(time.DateOnly)
	}
	return func(seq uint64, at schemas.Time) schemas.Message {
		m.Meta.Sequence, m.Meta.EventTime = seq, int64(at)
		m.PeriodEnd = periods[seq/24%64]
		m.EpsActual.Mantissa = 150 + int64(seq/24%3)
		return m
	}
}

// announcements makes three companies that report each day: surprises, misses, sign flips, zero consensus, both bases, corrections,
// records told again, other feeds, gaps and late ones.
func announcements(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	seq := 0
	say := func(at schemas.Time, i, period int, basis schemas.EarningsBasis, actual, estimate float64, correction bool) *schemas.Earnings {
		seq++
		m := &schemas.Earnings{
			Meta: &schemas.Meta{
				Source: "test", Venue: "us", Symbol: fmt.Sprintf("S%d", i), Id: strconv.Itoa(seq), EventTime: int64(at), ReceiveTime: int64(at),
			},
			PeriodEnd: t0.Add(time.Duration(period-700) * 24 * time.Hour).UTC().Format(time.DateOnly), Basis: basis,
			EpsActual: cents(actual), EpsEstimate: cents(estimate), Correction: correction,
		}
		if r.IntN(3) == 0 {
			m.Price, m.Estimates, m.EstimateSd = cents(20+100*r.Float64()), uint32(r.IntN(9)), cents(0.05)
			m.RevenueActual, m.RevenueEstimate = cents(1000*r.Float64()), cents(500)
		}
		out = append(out, m)
		return m
	}
	for minute := 0; minute < hours*60; minute += 5 {
		at := t0.Add(time.Duration(minute) * time.Minute)
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at)})
		for i := range 3 {
			if r.IntN(6) > 0 {
				continue
			}
			period := minute / 180
			when, basis := at.Add(time.Duration(r.IntN(50))*time.Second), schemas.EarningsBasis(1+r.IntN(2))
			estimate := 0.5*float64(i) + 0.1*r.NormFloat64()
			actual := estimate + 0.03*r.NormFloat64()
			switch r.IntN(8) {
			case 0:
				actual = -estimate
			case 1:
				actual += 0.6 * r.NormFloat64()
			case 2:
				estimate = 0
			case 3:
				when = when.Add(-time.Duration(r.IntN(300)) * time.Minute)
			}
			m := say(when, i, period, basis, actual, estimate, false)
			switch r.IntN(6) {
			case 0:
				out = append(out, m)
			case 1:
				say(when.Add(time.Second), i, period, basis, actual+0.4*r.NormFloat64(), estimate, true)
			case 2:
				say(when.Add(time.Second), i, period, basis, estimate, estimate, r.IntN(2) == 0).Meta.Source = "other"
			case 3:
				out = append(out, &schemas.Gap{Meta: &schemas.Meta{Source: "test", Venue: "us", Symbol: fmt.Sprintf("S%d", i), EventTime: int64(when)}, Channel: "all", Cause: "disconnect"})
			}
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(time.Duration(hours+100) * time.Hour))})
}

// cents rounds to whole cents.
func cents(v float64) *schemas.Decimal {
	if v < 0 {
		return schemas.NewDecimal(int64(v*100-0.5), -2)
	}
	return schemas.NewDecimal(int64(v*100+0.5), -2)
}

func TestDayNumber(t *testing.T) {
	for day := range 40000 {
		at := time.Unix(0, 0).UTC().AddDate(0, 0, day)
		if got := dayNumber(at.Format(time.DateOnly)); got != int32(day) {
			t.Fatalf("%v is day %d, want %d", at, got, day)
		}
	}
}

// The window of two years is kept by period, whatever the order of arrival.
func TestQuartersKeepTheNewest(t *testing.T) {
	var q quarters
	for _, p := range rand.New(rand.NewPCG(1, 1)).Perm(40) {
		if a, fresh := q.find(int32(p)); a != nil {
			if !fresh {
				t.Fatalf("period %d is not fresh", p)
			}
			a.period = int32(p)
		}
	}
	for k := range q.list {
		if want := int32(31 + k); q.list[k].period != want {
			t.Errorf("entry %d is period %d, want %d", k, q.list[k].period, want)
		}
	}
}

// A restatement of two years and a new quarter within three days: the announcement that makes room for the new one ends its event.
func TestRestatementsAreResolved(t *testing.T) {
	b := newBench(t, "earnings_anomaly", "ACME", `{}`)
	at := t0
	say := func(quarter int, actual int64, correction bool) {
		b.to(at)
		b.record(&schemas.Earnings{
			Meta:      &schemas.Meta{Source: "x", Venue: "us", Symbol: "ACME", Id: fmt.Sprint(quarter, actual), EventTime: int64(at)},
			PeriodEnd: t0.Add(time.Duration(quarter*90-100) * 24 * time.Hour).UTC().Format(time.DateOnly), Basis: schemas.EarningsBasis_EARNINGS_BASIS_STREET,
			EpsActual: schemas.NewDecimal(actual, -2), EpsEstimate: schemas.NewDecimal(100, -2), Correction: correction,
		})
	}
	for quarter := range remembered + 1 {
		at = at.Add(90 * 24 * time.Hour)
		say(quarter, 101, false)
	}
	at = at.Add(90 * 24 * time.Hour)
	for quarter := range remembered + 1 {
		say(quarter, 50, true)
	}
	at = at.Add(time.Hour)
	say(remembered+1, 40, false)
	b.to(at.Add(100 * 24 * time.Hour))
	open, opened := map[string]string{}, 0
	for _, e := range b.events {
		switch e.Status {
		case schemas.Open:
			open[e.DedupKey] = e.Description
			opened++
		case schemas.Resolved:
			delete(open, e.DedupKey)
		}
	}
	if opened != remembered+2 {
		t.Errorf("%d events opened: want %d", opened, remembered+2)
	}
	for _, text := range open {
		t.Errorf("never resolved: %s", text)
	}
}
