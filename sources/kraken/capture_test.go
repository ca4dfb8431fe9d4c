package kraken

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// recording is of v1, ten pairs at depth 1000, of 2021-04-17.
var recording = venuetest.Recording{File: "cryptofeed-v3/KRAKEN.jsonl.zst", Spec: spec()}

// spec is the market without any symbol, as deep as the recording: it takes what comes.
func spec() *venue.Spec {
	cfg := Defaults()
	cfg.Symbols, cfg.Depth = nil, 1000
	s, err := cfg.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// counts are those of expected_counts.json, where cryptofeed decoded the recording: l2_book 4,279 = 4,269 updates applied +
// 10 snapshots, ticker 18, trades 10. Every update has a checksum, and it is right; snapshots of v1 have none. The one
// status is that of the system, which each of the three connections says; 92 heartbeats and 30 acknowledgements are notes.
var counts = venuetest.Totals{Applied: 4269, Snapshots: 10, Checked: 4269, Quotes: 18, Trades: 10, Statuses: 1}

func TestRecordingGivesKnownCounts(t *testing.T) {
	m, out := venuetest.Play(t, recording)
	if diff := cmp.Diff(counts, venuetest.Measure(m, out)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if figures := m.Figures(); len(figures) != 10 || figures[1].Symbol != "BTC-CHF" {
		t.Errorf("instruments %v, want 10, BTC-CHF among them for XBT/CHF", figures)
	}
}

func TestLaws(t *testing.T) { venuetest.Laws(t, recording) }

// Every level of the recording, as text to a number and back.
func TestLevelsRoundTrip(t *testing.T) {
	rows := 0
	var d decoder
	var p fastjson.Parser
	for _, f := range venuetest.Read(t, recording.File) {
		if !isBook(f) {
			continue
		}
		events, err := d.Message(f.Data)
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		v, err := p.ParseBytes(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, side := range [][]book.Level{events[0].Asks, events[0].Bids} {
			for _, l := range side {
				got = append(got, l.Price.Decimal().Text(), l.Quantity.Decimal().Text())
			}
		}
		for _, keys := range [][2]string{{"as", "a"}, {"bs", "b"}} {
			for _, part := range v.GetArray() {
				for _, key := range keys {
					for _, row := range part.GetArray(key) {
						want = append(want, string(row.GetStringBytes("0")), string(row.GetStringBytes("1")))
						rows++
					}
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s\ngot  %q\nwant %q", f.Data, got, want)
		}
	}
	if rows != 11_745 {
		t.Errorf("%d rows, want 11,745", rows)
	}
}

// isBook tells books of v1.
func isBook(f capture.Frame) bool {
	return f.Kind == capture.Receive && bytes.HasPrefix(f.Data, []byte("[")) && bytes.Contains(f.Data, []byte(`"book-1000"`))
}

// One digit of one level is another: that very frame fails its checksum, which is one gap and one request; no other
// instrument is touched. Only levels among the ten best are proved: a digit further down shows when it comes up there.
func TestFlippedDigitFailsThatFrame(t *testing.T) {
	frames := venuetest.Read(t, recording.File)
	whole, wholeOut := venuetest.Fed(t, recording.Spec, frames)
	random := rand.New(rand.NewPCG(1, 2))
	proved := provedLevels(t, frames)
	if len(proved) < 1000 {
		t.Fatalf("%d levels among the ten best, want most of 4,269 updates to have one", len(proved))
	}
	for range 40 {
		at := proved[random.IntN(len(proved))]
		raw := flip(t, frames[at.frame].Data, at, random)
		broken := slices.Clone(frames)
		broken[at.frame].Data = raw

		out := &sourcetest.Memory{}
		var asked []string
		m := venuetest.Machine(t, recording.Spec, out, venue.Hands{Recover: func(_, symbol string) { asked = append(asked, symbol) }})
		venuetest.Run(t, m, broken[:at.frame])
		if n := venuetest.Measure(m, out).Mismatched; n != 0 {
			t.Fatalf("%d mismatches ahead of frame %d", n, at.frame)
		}
		venuetest.Run(t, m, broken[at.frame:at.frame+1])
		if n := venuetest.Measure(m, out).Mismatched; n != 1 || !slices.Equal(asked, []string{at.pair}) {
			t.Fatalf("frame %d: %d mismatches, asked for %v, want %s\nwas %s\nis  %s", at.frame, n, asked, at.pair, frames[at.frame].Data, raw)
		}
		venuetest.Run(t, m, broken[at.frame+1:])
		if err := m.Finish(); err != nil {
			t.Fatal(err)
		}
		gaps := sourcetest.Of[*schemas.Gap](out)
		if len(gaps) != 1 || gaps[0].Cause != "checksum" || gaps[0].Channel != "book" || gaps[0].Meta.VenueSymbol != at.pair {
			t.Fatalf("gaps %v, want one of the book of %s", gaps, at.pair)
		}
		for i, f := range m.Figures() {
			if want := whole.Figures()[i]; f.Symbol != gaps[0].Meta.Symbol && f.Book != want.Book {
				t.Errorf("%s: %+v, want %+v as without the flip", f.Symbol, f.Book, want.Book)
			}
		}
		others := func(e sourcetest.Entry) bool {
			return e.Type == "BookSnapshot" && schemas.MetaOf(e.Message).GetVenueSymbol() != at.pair
		}
		if out.Digest(others) != wholeOut.Digest(others) {
			t.Errorf("books of others than %s differ from the run without the flip", at.pair)
		}
	}
}

// place is a level in a frame: the part with the key, the row, and 0 for its price, 1 for its quantity.
type place struct {
	frame, part, row, column int
	key, pair                string
}

// provedLevels lists the prices and quantities that the checksum of their frame covers.
func provedLevels(t *testing.T, frames []capture.Frame) (out []place) {
	t.Helper()
	var p fastjson.Parser
	m := venuetest.Machine(t, recording.Spec, &sourcetest.Memory{})
	for i, f := range frames {
		venuetest.Run(t, m, frames[i:i+1])
		if !isBook(f) || bytes.Contains(f.Data, []byte(`"as"`)) {
			continue
		}
		v, err := p.ParseBytes(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		parts := v.GetArray()
		pair := current(string(parts[len(parts)-1].GetStringBytes()))
		symbol, err := canonical(pair)
		if err != nil {
			t.Fatal(err)
		}
		b, _, _ := m.Book(symbol)
		best := map[string]bool{}
		bids, asks := b.Depth()
		for n := range min(10, bids) {
			best[b.Bid(n).Price.Decimal().Text()] = true
		}
		for n := range min(10, asks) {
			best[b.Ask(n).Price.Decimal().Text()] = true
		}
		for n, part := range parts[1 : len(parts)-2] {
			for _, key := range []string{"a", "b"} {
				for k, row := range part.GetArray(key) {
					if best[string(row.GetStringBytes("0"))] {
						out = append(out, place{i, n + 1, k, 0, key, pair}, place{i, n + 1, k, 1, key, pair})
					}
				}
			}
		}
	}
	return out
}

// flip changes one digit of a level.
func flip(t *testing.T, raw []byte, at place, random *rand.Rand) []byte {
	t.Helper()
	v, err := fastjson.ParseBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	text := string(v.GetStringBytes(strconv.Itoa(at.part), at.key, strconv.Itoa(at.row), strconv.Itoa(at.column)))
	changed := []byte(text)
	for {
		i := random.IntN(len(changed))
		if d := byte('0' + random.IntN(10)); changed[i] != '.' && changed[i] != d {
			changed[i] = d
			break
		}
	}
	from, to := mustJSON(t, text), mustJSON(t, string(changed))
	// A row may hold the text twice, never ahead of its place: price before quantity, rows in order.
	row := v.Get(strconv.Itoa(at.part), at.key, strconv.Itoa(at.row)).MarshalTo(nil)
	old := row
	if at.column == 0 {
		row = bytes.Replace(row, from, to, 1)
	} else if i := bytes.IndexByte(row, ','); i >= 0 {
		row = append(slices.Clone(row[:i]), bytes.Replace(row[i:], from, to, 1)...)
	}
	return bytes.Replace(raw, old, row, 1)
}

func mustJSON(t *testing.T, s string) []byte {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkPlayback(b *testing.B) {
	venuetest.Benchmark(b, spec(), venuetest.Read(b, recording.File))
}

// 20,000 messages of one trade each, one every 5 ms.
func BenchmarkTrades(b *testing.B) {
	at := schemas.Time(1_700_000_000_000_000_000)
	frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: at}}
	for n := range 20_000 {
		at = at.Add(5 * time.Millisecond)
		frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at.Add(20 * time.Millisecond), Data: fmt.Appendf(nil,
			`{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":%d,"timestamp":%q}]}`, 4665906+n, at)})
	}
	venuetest.Benchmark(b, spec(), frames)
}
