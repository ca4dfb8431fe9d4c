package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/stream"
)

const (
	// liveWindow is how far back health is looked for: every source tells it once a minute at least.
	liveWindow = 5 * time.Minute
	// staleAfter is how long a stream may tell no health.
	staleAfter = 90 * time.Second
	// silentAfter is how long a stream of a market may have no record.
	silentAfter = time.Minute
	// everything is the symbol of the health of what is asked and not listened to: nothing new is no silence there.
	everything = "all"
)

// shownStream is how a stream of a running cluster is, as `feeds list --live` prints it.
type shownStream struct {
	Source  string `json:"source"`
	Venue   string `json:"venue"`
	Channel string `json:"channel"`
	Symbol  string `json:"symbol"`
	// State is live, silent, down, stale or absent.
	State string `json:"state"`
	// AgeSeconds is how long ago the last health was written; null where none was.
	AgeSeconds *float64 `json:"age_seconds"`
	// SilentSeconds is how long nothing had come by then; null where nothing ever did.
	SilentSeconds *float64 `json:"silent_seconds"`
	// Records are those of the last report: a second's, of a polled source its step's.
	Records    uint32 `json:"records"`
	Gaps       uint32 `json:"gaps"`
	Reconnects uint32 `json:"reconnects"`
	Proof      string `json:"proof"`
	Recorded   string `json:"recorded"`
}

// liveFeeds prints the last health of every stream, and the streams that the settings want and that have none.
func (a *app) liveFeeds(ctx context.Context, rows []shownFeed) error {
	streams, err := a.lastHealth(ctx)
	if err != nil {
		return err
	}
	wanted, err := a.settings.wantedStreams()
	if err != nil {
		return err
	}
	for _, w := range wanted {
		if _, ok := streams[w.id()]; !ok {
			w.State = "absent"
			streams[w.id()] = w
		}
	}
	all := slices.SortedFunc(maps.Values(streams), func(a, b *shownStream) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Symbol, b.Symbol))
	})
	l := listing{head: []string{"SOURCE", "CHANNEL", "SYMBOL", "STATE", "AGE", "SILENT", "RECORDS", "GAPS", "RECONNECTS", "PROOF", "RECORDED"}, data: all}
	for _, s := range all {
		s.Proof = "none"
		if i := slices.IndexFunc(rows, func(r shownFeed) bool { return r.name == s.Source && r.Channel == s.Channel }); i >= 0 {
			s.Proof, s.Recorded = rows[i].Proof, rows[i].Recorded
		}
		l.row(s.Source, s.Channel, s.Symbol, s.State, seconds(s.AgeSeconds), seconds(s.SilentSeconds), s.Records, s.Gaps, s.Reconnects, s.Proof, orDash(s.Recorded))
	}
	return a.print(l)
}

// seconds prints a time in seconds, - where there is none.
func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return strconv.FormatFloat(*s, 'f', 1, 64) + "s"
}

// streamID names a stream.
type streamID struct{ source, channel, symbol string }

func (s *shownStream) id() streamID { return streamID{s.Source, s.Channel, s.Symbol} }

// lastHealth reads the last health of every stream of the cluster. Its age is that of the record: recordings have health of their
// own times.
func (a *app) lastHealth(ctx context.Context) (map[streamID]*shownStream, error) {
	types, err := a.schemaTypes(ctx)
	if err != nil {
		return nil, err
	}
	topic := schemas.VenuesStatus
	r := rangeFlags{from: "@-" + liveWindow.String(), to: "end", partition: -1}
	all, err := r.spans(ctx, a, topic)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	dec := schemas.Decoder{SchemaType: types}
	out := map[streamID]*shownStream{}
	for _, num := range slices.Sorted(maps.Keys(all)) {
		err := stream.ReadRange(ctx, a.settings.Kafka, a.settings.Kafka.Topic(topic.Name), num, all[num].from, all[num].to, func(rec *kgo.Record) error {
			typ, content := headerOf(topic, rec)
			m, err := dec.Decode(typ, content, rec.Value)
			if h, ok := m.(*schemas.FeedHealth); ok && err == nil { // what cannot be read is a matter of the dead letters
				s := healthOf(h, now.Sub(rec.Timestamp))
				out[s.id()] = s
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading the health of the feeds: %w", err)
		}
	}
	return out, nil
}

// healthOf is what a health record of an age says.
func healthOf(h *schemas.FeedHealth, age time.Duration) *shownStream {
	s := &shownStream{
		Source: h.Meta.GetSource(), Venue: h.Meta.GetVenue(), Channel: h.Channel, Symbol: h.Meta.GetSymbol(), State: "live",
		AgeSeconds: new(max(age, 0).Seconds()), Records: h.Records, Gaps: h.Gaps, Reconnects: h.Reconnects,
	}
	if h.SilentNs != nil {
		s.SilentSeconds = new(time.Duration(*h.SilentNs).Seconds())
	}
	switch {
	case age > staleAfter:
		s.State = "stale"
	case !h.Connected:
		s.State = "down"
	case s.Symbol == everything:
	case h.SilentNs == nil || time.Duration(*h.SilentNs) > silentAfter:
		s.State = "silent"
	}
	return s
}

// wantedStreams are those that the used sources would have by the settings.
func (s *settings) wantedStreams() ([]*shownStream, error) {
	var out []*shownStream
	for _, v := range s.Venues.connectors() {
		if !slices.Contains(s.Sources.Use, v.name) {
			continue
		}
		spec, err := v.section.Spec()
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", v.name, err)
		}
		for _, c := range spec.Connections {
			frames := []capture.Frame{{Kind: capture.Connect, URL: c.URL}}
			for _, request := range c.Send {
				frames = append(frames, capture.Frame{Kind: capture.Send, Data: request})
			}
			for _, f := range frames {
				for _, st := range spec.Streams(f) {
					if symbol, err := spec.Canonical(st.Symbol); err == nil {
						out = append(out, &shownStream{Source: cmp.Or(v.common.Name, spec.SourceName()), Venue: spec.Venue, Channel: st.Channel, Symbol: symbol})
					}
				}
			}
		}
	}
	for _, m := range pollMakers() {
		if !slices.Contains(s.Sources.Use, m.name) {
			continue
		}
		p, err := m.describe(s)
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", m.name, err)
		}
		for _, j := range p.Jobs() {
			out = append(out, &shownStream{Source: m.name, Venue: p.Venue(), Channel: j.Stream, Symbol: everything})
		}
	}
	return out, nil
}
