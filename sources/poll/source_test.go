package poll

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answering serves requests without a socket, so that waits can pass in no time.
type answering func(*http.Request) http.HandlerFunc

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	f(r)(w, r)
	return w.Result(), nil
}

// past hands a run what the one before saved.
func past(out *sourcetest.Memory, published ...schemas.Message) func(context.Context, string, []schemas.Topic) (Past, error) {
	return func(context.Context, string, []schemas.Topic) (Past, error) {
		last := map[string]*schemas.PollState{}
		var p Past
		for _, s := range sourcetest.Of[*schemas.PollState](out) {
			last[s.Job] = s
		}
		for _, tick := range sourcetest.Of[*schemas.Tick](out) {
			p.Ticked = max(p.Ticked, schemas.Time(tick.Time))
		}
		for _, s := range last {
			p.States = append(p.States, s)
		}
		for _, m := range published {
			p.Published = append(p.Published, identity(schemas.MacroObservations, m))
		}
		return p, nil
	}
}

// A restart goes on where the run before ended: it asks only what is due, and publishes only what is new. Time on the topic
// does not go back.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := items("a", "b")
		asked := 0
		o := options()
		o.Client.http.Transport = answering(func(*http.Request) http.HandlerFunc { asked++; return says(body) })
		p := &fake{name: "fake", url: "http://fake.test", jobs: []string{"job"}}
		out := &sourcetest.Memory{}
		o.Past = past(out)
		runOnce(t, p, o, out)
		if ids(out) != "a b" || asked != 1 {
			t.Fatalf("%q in %d requests, want a b in one", ids(out), asked)
		}
		time.Sleep(30 * time.Minute)
		runOnce(t, p, o, out)
		if ids(out) != "a b" || asked != 1 {
			t.Errorf("%q in %d requests; the job was not due", ids(out), asked)
		}
		// Its health goes on from the last answer, and a job that is no longer asked for has none.
		health := sourcetest.Of[*schemas.FeedHealth](out)
		if h := health[len(health)-1]; !h.Connected || time.Duration(h.GetSilentNs()) < 30*time.Minute {
			t.Errorf("health %v, want connected and silent for half an hour", h)
		}
		before := len(health)
		runOnce(t, &fake{name: "fake", url: "http://fake.test", jobs: nil}, o, out)
		if health = sourcetest.Of[*schemas.FeedHealth](out); len(health) != before {
			t.Errorf("a job that is not asked for has health: %v", health[before:])
		}
		time.Sleep(time.Hour)
		body = items("a", "b", "c")
		runOnce(t, p, o, out)
		if ids(out) != "a b c" || asked != 2 {
			t.Errorf("%q in %d requests, want a b c in two", ids(out), asked)
		}
		// Killed after publishing d and before saving: what the topic holds is not published again.
		time.Sleep(2 * time.Hour)
		body = items("a", "b", "c", "d", "e")
		d := &schemas.MacroObservation{Meta: &schemas.Meta{Id: "d"}, Region: "US"}
		o.Past = past(out, d)
		runOnce(t, p, o, out)
		if ids(out) != "a b c e" {
			t.Errorf("%q, want a b c e: d is on the topic", ids(out))
		}
		time.Sleep(2 * time.Hour)
		o.Past = past(out)
		runOnce(t, p, o, out)
		if ids(out) != "a b c e" {
			t.Errorf("%q, want nothing new: the state has taken d over", ids(out))
		}
	})
}

// History is told in its order over all jobs, at its own times and behind Ticks; what comes later is at its receipt.
func TestHistoryComesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(27 * 365 * 24 * time.Hour) // from 2000, where the bubble's clock starts, to 2026
		bodies := map[string]string{
			"/one": `{"items":[{"id":"2024","at":1704067200,"value":"1"},{"id":"2010","at":1262304000,"value":"1"}]}`,
			"/two": `{"items":[{"id":"2012","at":1325376000,"value":"1"}]}`,
		}
		o := options()
		o.Client.http.Transport = answering(func(r *http.Request) http.HandlerFunc { return says(bodies[r.URL.Path]) })
		p := &fake{name: "fake", url: "http://fake.test", jobs: []string{"one", "two"}}
		out := &sourcetest.Memory{}
		o.Past = past(out)
		runOnce(t, p, o, out)
		var got []string
		for _, m := range sourcetest.Of[*schemas.MacroObservation](out) {
			got = append(got, schemas.Time(m.Meta.EventTime).String()+" "+m.Meta.TimeSource.String()+fmt.Sprint(" ", m.Meta.Flags))
		}
		const exchange = " TIME_SOURCE_EXCHANGE 4"
		if want := []string{"2010-01-01T00:00:00Z" + exchange, "2012-01-01T00:00:00Z" + exchange, "2024-01-01T00:00:00Z" + exchange}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		// Learned later, it is known from then on.
		time.Sleep(2 * time.Hour)
		bodies["/two"] = `{"items":[{"id":"2012","at":1325376000,"value":"1"},{"id":"2011","at":1293840000,"value":"1"}]}`
		runOnce(t, p, o, out)
		all := sourcetest.Of[*schemas.MacroObservation](out)
		last := all[len(all)-1].Meta
		if last.Id != "2011" || now().Sub(schemas.Time(last.EventTime)) > 3*time.Second || last.TimeSource != schemas.TimeSource_TIME_SOURCE_RECEIPT {
			t.Errorf("%v: what is learned later has the time of its receipt", last)
		}
	})
}

// Records at their own times in order, future and past ones, over random turns: never late, never ahead of the receipt, each
// identity once.
func TestTimeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out := &sourcetest.Memory{}
		lag := time.Duration(rapid.SampledFrom([]int{0, 0, 120}).Draw(t, "lag")) * time.Second
		o := options()
		m := newMachine(&fake{name: "fake", url: "u", jobs: []string{"a", "b"}, lag: lag}, out, o.Metrics, o.Shared, nil)
		clock := schemas.Time(1_704_067_200_000_000_000)
		open, err := openingFrame("fake", clock, []string{"a", "b"}, Past{})
		if err != nil {
			t.Fatal(err)
		}
		frames := []capture.Frame{open}
		fresh := map[string]bool{}
		for range rapid.IntRange(1, 12).Draw(t, "frames") {
			clock += schemas.Time(rapid.Int64Range(1, 90_000_000_000).Draw(t, "step"))
			f := capture.Frame{Kind: capture.HTTP, Conn: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "job"), At: clock}
			if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
				f.Kind = capture.Close
			} else {
				var items []string
				for range rapid.IntRange(0, 4).Draw(t, "n") {
					id := strconv.Itoa(rapid.IntRange(0, 30).Draw(t, "id"))
					fresh[id] = true
					at := int64(clock)/1e9 + rapid.Int64Range(-400, 100).Draw(t, "said")
					items = append(items, fmt.Sprintf(`{"id":%q,"at":%d,"value":"1"}`, id, at))
				}
				f.Data = []byte(`{"items":[` + strings.Join(items, ",") + "]}")
			}
			frames = append(frames, f)
		}
		for _, f := range frames {
			if _, err := m.Frame(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Finish(); err != nil {
			t.Fatal(err)
		}
		if late := out.Late(); len(late) > 0 {
			t.Fatalf("late: %v", late[0])
		}
		seen := map[string]bool{}
		ticked := schemas.Time(0)
		for _, e := range out.Entries() {
			if e.Topic != schemas.MacroObservations.Name {
				continue
			}
			at := schemas.TimeOf(e.Message)
			if e.Type == "Tick" {
				if at <= ticked {
					t.Fatalf("tick %v after %v", at, ticked)
				}
				ticked = at
				continue
			}
			meta := schemas.MetaOf(e.Message)
			if seen[meta.Id] {
				t.Fatalf("%s is published twice", meta.Id)
			}
			seen[meta.Id] = true
			if at > ticked.Add(2*time.Second) || ticked == 0 {
				t.Fatalf("a record at %v, %v ahead of its source's time: a processor would not take it", at, at.Sub(ticked))
			}
		}
		if len(seen) != len(fresh) {
			t.Fatalf("%d identities published of %d", len(seen), len(fresh))
		}
	})
}

// What an answer still holds is never forgotten, however much came and went.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m memory
		keep := uint64(1)
		for range rapid.IntRange(1, 6).Draw(t, "turns") {
			m.turn++
			m.add([]uint64{keep})
			n := rapid.IntRange(0, 4000).Draw(t, "others")
			for i := range n {
				m.add([]uint64{uint64(m.turn)<<32 | uint64(i)})
			}
			list := m.list()
			if len(list) > keepGone+n+1 {
				t.Fatalf("%d identities after a turn of %d", len(list), n+1)
			}
			var again memory
			again.restore(list)
			if !again.has(keep) || !m.has(keep) {
				t.Fatal("what the last answer held is forgotten")
			}
		}
	})
}

// One job whose address fails at all times costs the others on its host nothing: they have every turn, and the one is asked again
// with growing waits.
func TestOneJobDoesNotHoldUpTheOthers(t *testing.T) {
	for _, broken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex // guards asked
			asked := map[string]int{}
			o := options()
			o.Once = false
			o.Client.http.Transport = answering(func(r *http.Request) http.HandlerFunc {
				mu.Lock()
				defer mu.Unlock()
				asked[r.URL.Path]++
				if r.URL.Path == "/bad" && broken {
					return fails(http.StatusServiceUnavailable)
				}
				return says(items(r.URL.Path))
			})
			src, err := New(&fake{name: "fake", url: "http://fake.test", jobs: []string{"a", "b", "bad"}}, o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			out := &sourcetest.Memory{}
			if err := src.Run(ctx, out); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, path := range []string{"/a", "/b"} { // every hour, or up to a tenth earlier
				if n := asked[path]; n < 24 || n > 28 {
					t.Errorf("broken %v: %s was asked %d times in a day", broken, path, n)
				}
			}
			if n := asked["/bad"]; broken && (n < 24 || n > 200) {
				t.Errorf("the address that fails was asked %d times in a day", n)
			}
			if want := 3 - map[bool]int{true: 1}[broken]; len(sourcetest.Of[*schemas.MacroObservation](out)) != want {
				t.Errorf("broken %v: %q published, want %d", broken, ids(out), want)
			}
		})
	}
}
