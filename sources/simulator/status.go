package simulator

import (
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// status makes the health of the feeds, once a second, and what the venues say of themselves, once a minute and when it changes.
// It also takes venues down: every part is silent for one that is down.
type status struct {
	*Market
	plan    plan
	streams []*stream
	outage  outage
}

// stream is one channel of one instrument at one venue.
type stream struct {
	venue           int
	symbol, channel string
	in              *instrument // nil for the heartbeats of a venue
	last            schemas.Time
	silent          uint64
	out             schemas.FeedHealth
}

// outage is the one in hand.
type outage struct {
	kind             string
	venue            int
	in               *instrument // of a halt
	start, end       schemas.Time
	connected, beats bool // what stays
}

// Kinds of outage.
const (
	outageSilence    = "outage_silence"    // no data, but heartbeats
	outageDisconnect = "outage_disconnect" // no connection
	outageBeats      = "outage_heartbeat"  // neither data nor heartbeats, on an open connection
	outageAnnounced  = "maintenance"
	symbolHalt       = "symbol_silence"
)

// healthStreams bounds the instruments whose feed is watched.
const healthStreams = 64

func newStatus(m *Market) *status {
	s := &status{Market: m, plan: newPlan(m, planOutage, m.cfg.RareAnomaliesPerDay)}
	for venue := range venueCount {
		s.add(venue, "ALL", "heartbeat", nil)
	}
	for i, in := range m.items[:min(len(m.items), healthStreams)] {
		if m.cfg.has(schemas.MarketTrades) {
			s.add(0, in.symbol, "trades", in)
		}
		if i < crossListed && m.cfg.has(schemas.MarketQuotes) {
			for venue := 1; venue < venueCount; venue++ {
				s.add(venue, in.symbol, "quotes", in)
			}
		}
	}
	return s
}

func (s *status) add(venue int, symbol, channel string, in *instrument) {
	one := &stream{venue: venue, symbol: symbol, channel: channel, in: in}
	one.out = schemas.FeedHealth{Meta: s.meta(venue, symbol, 0), Channel: channel}
	one.out.Meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	s.streams = append(s.streams, one)
}

func (s *status) perSecond() float64 { return float64(len(s.streams)) + venueCount/60.0 }

func (s *status) second(now schemas.Time, put Put) error {
	end := now.Add(time.Second)
	for _, one := range s.streams {
		if err := put(schemas.VenuesStatus, s.health(one, end)); err != nil {
			return err
		}
	}
	for venue := range venueCount {
		if due(end, time.Minute, venue) {
			if err := put(schemas.VenuesStatus, s.state(venue, end, "")); err != nil {
				return err
			}
		}
	}
	return s.change(end, put)
}

// health says how a stream was in the second that ends at end.
func (s *status) health(one *stream, end schemas.Time) schemas.Message {
	o := &one.out
	o.Meta.EventTime, o.Meta.ReceiveTime = int64(end), int64(end)
	o.Meta.Id = one.symbol + "/" + one.channel + "/" + strconv.FormatInt(int64(end)/1e9, 10)
	down := s.down[one.venue]
	o.Connected, o.OthersAlive = !down || s.outage.connected, true
	switch {
	case one.in == nil && (!down || s.outage.beats):
		o.Records = 1
	case one.in == nil || down:
		o.Records = 0
	case one.channel == "trades":
		o.Records = one.in.count
	default:
		o.Records = one.in.seen[one.venue]
	}
	if o.Records > 0 {
		one.last = end
	}
	if one.last > 0 {
		one.silent = uint64(end.Sub(one.last))
		o.SilentNs = &one.silent
	}
	return o
}

// state is what a venue says of itself.
func (s *status) state(venue int, at schemas.Time, occasion string) schemas.Message {
	v := &schemas.VenueStatus{Meta: s.stamp(venue, "ALL", at), State: "online", Scope: "all", Reporter: "status_page"}
	v.Meta.Id = occasion + v.Meta.Id
	o := &s.outage
	if o.kind == "" || o.venue != venue || o.kind != outageAnnounced {
		return v
	}
	v.Starts, v.Ends, v.Description = int64(o.start), int64(o.end), "scheduled maintenance"
	if at >= o.start && at < o.end {
		v.State = "maintenance"
	}
	return v
}

// change begins and ends outages.
func (s *status) change(at schemas.Time, put Put) error {
	o := &s.outage
	if o.kind == "" {
		if !s.plan.begins(at) {
			return nil
		}
		s.begin(at)
		if o.kind == outageAnnounced {
			return put(schemas.VenuesStatus, s.state(o.venue, at, "announced/"))
		}
	}
	switch {
	case at < o.start:
	case at >= o.end:
		s.apply(false)
		ended := *o
		o.kind = ""
		if ended.kind == outageAnnounced {
			return put(schemas.VenuesStatus, s.state(ended.venue, at, "ended/"))
		}
	default:
		s.apply(true)
	}
	return nil
}

func (s *status) apply(down bool) {
	if s.outage.in != nil {
		s.outage.in.halted = down
		return
	}
	s.down[s.outage.venue] = down
}

func (s *status) begin(at schemas.Time) {
	p := &s.plan
	o := outage{venue: p.below(venueCount), start: at, connected: true}
	o.end = at.Add(time.Duration(240+p.below(480)) * time.Second)
	l := Label{Detector: "exchange_outage", Size: 1}
	switch p.turn(5) {
	case 0:
		o.kind, o.beats = outageSilence, true
	case 1:
		o.kind, o.connected = outageDisconnect, false
	case 2:
		o.kind = outageBeats
	case 3:
		o.kind, o.connected = outageAnnounced, false
		o.start, o.end = o.start.Add(5*time.Minute), o.end.Add(5*time.Minute)
	default:
		o.kind, o.venue, o.in = symbolHalt, 0, s.items[p.below(min(len(s.items), healthStreams))]
		o.end = o.end.Add(10 * time.Minute)
		l.Symbol, l.Size = o.in.symbol, 1/float64(len(s.items))
	}
	s.outage = o
	p.next = o.end.Add(p.wait(p.perDay))
	l.Kind, l.Key, l.Venue = o.kind, s.venues[o.venue], s.venues[o.venue]
	s.label(l.span(o.start, o.end))
}
