package status

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/okx"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// All bodies are written by hand in the documented shapes: no recorded incidents are to be had.

func at(text string) schemas.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return poll.Time(t)
}

func poller(t testing.TB) *Poller {
	t.Helper()
	p, err := New(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// venue looks at one job again and again.
type venue struct {
	t      *testing.T
	p      *Poller
	job    string
	cursor []byte
	ref    string // of the next answer, empty for the job's own
	next   []string
	said   []schemas.Time
}

func (v *venue) look(now, body string) string {
	v.t.Helper()
	if err := v.p.Refusal([]byte(body)); err != nil {
		v.t.Fatal(err)
	}
	res, err := v.p.Decode(poll.Answer{Job: v.job, Ref: v.ref, At: at(now), Body: []byte(body), Cursor: v.cursor})
	if err != nil {
		v.t.Fatal(err)
	}
	v.cursor, v.next, v.said = res.Cursor, nil, nil
	for _, r := range res.Next {
		v.next = append(v.next, strings.TrimPrefix(r.Ref, "https://status.coinbase.com"))
	}
	var lines []string
	for _, r := range res.Records {
		v.said = append(v.said, r.Said)
		s := r.Message.(*schemas.VenueStatus)
		s.Meta.Source, s.Meta.EventTime = "status", int64(at(now))
		if err := schemas.Validate(s); err != nil {
			v.t.Fatal(err)
		}
		line := s.Scope + " " + s.State
		if s.Starts != 0 {
			line += " from " + schemas.Time(s.Starts).String()
		}
		if s.Ends != 0 {
			line += " to " + schemas.Time(s.Ends).String()
		}
		lines = append(lines, line+" ["+s.Description+"]")
	}
	return strings.Join(lines, "; ")
}

func (v *venue) want(now, body, want string) {
	v.t.Helper()
	if got := v.look(now, body); got != want {
		v.t.Errorf("%s\ngot  %s\nwant %s", now, got, want)
	}
}

const (
	calm = `{"page":{"id":"x","name":"Coinbase"},"status":{"indicator":"none","description":"All Systems Operational"},
		"components":[{"id":"1","name":"API","status":"operational","group":false}],"incidents":[],"scheduled_maintenances":[]}`
	broken = `{"status":{"indicator":"major","description":"Partial System Outage"},
		"components":[{"name":"API","status":"major_outage","group":false},{"name":"Websites","status":"major_outage","group":true},{"name":"Login","status":"operational"}],
		"incidents":[{"id":"abc","name":"Delayed trading","status":"investigating","impact":"critical","created_at":"2026-01-10T10:01:00.000Z","started_at":"2026-01-10T10:00:00.000Z",
			"incident_updates":[{"id":"u1","status":"investigating","body":"We are looking\ninto it.","created_at":"2026-01-10T10:01:00.000Z","display_at":"2026-01-10T10:01:00.000Z"}]},
			{"id":"note","name":"New fees","status":"monitoring","impact":"none","created_at":"2026-01-10T09:00:00.000Z","incident_updates":[]}],
		"scheduled_maintenances":[]}`
	watched = `{"status":{"indicator":"minor","description":"Minor Service Outage"},"components":[{"name":"API","status":"degraded_performance"}],
		"incidents":[{"id":"abc","name":"Delayed trading","status":"monitoring","impact":"critical","created_at":"2026-01-10T10:01:00.000Z","started_at":"2026-01-10T10:00:00.000Z",
			"incident_updates":[{"status":"monitoring","body":"Fixed.","created_at":"2026-01-10T11:00:00.000Z","display_at":"2026-01-10T11:00:00.000Z"},
				{"status":"investigating","body":"We are looking into it.","created_at":"2026-01-10T10:01:00.000Z"}]}],
		"scheduled_maintenances":[{"id":"m1","name":"Upgrade","status":"scheduled","impact":"maintenance","created_at":"2026-01-10T10:30:00.000Z",
			"scheduled_for":"2026-01-12T02:00:00.000Z","scheduled_until":"2026-01-12T03:00:00.000Z","incident_updates":[]}]}`
)

// An incident from its beginning to its end, as a page tells it; what is told again is no record.
func TestPage(t *testing.T) {
	v := &venue{t: t, p: poller(t), job: "page/coinbase"}
	v.want("2026-01-10T09:59:00Z", calm, "all online [All Systems Operational]")
	v.want("2026-01-10T10:00:00Z", calm, "")
	v.want("2026-01-10T10:02:00Z", broken, "all degraded [Partial System Outage]; component/API down [major outage]; "+
		"incident/abc down from 2026-01-10T10:00:00Z [Delayed trading (investigating 2026-01-10T10:01:00.000Z): We are looking into it.]")
	v.want("2026-01-10T10:03:00Z", broken, "")
	v.want("2026-01-10T11:01:00Z", watched, "all degraded [Minor Service Outage]; component/API degraded [degraded performance]; "+
		"incident/abc down from 2026-01-10T10:00:00Z [Delayed trading (monitoring 2026-01-10T11:00:00.000Z): Fixed.]; "+
		"maintenance/m1 maintenance from 2026-01-12T02:00:00Z to 2026-01-12T03:00:00Z [Upgrade]")
	// What lasts is told again every six hours, so that it is not taken for stale.
	v.want("2026-01-10T17:00:00Z", watched, "")
	if got := v.look("2026-01-10T17:01:00Z", watched); strings.Count(got, ";") != 3 {
		t.Errorf("after six hours: %s, want all four again", got)
	}
	// What has left the summary is asked for: the end that the page states is told, not the look that saw it.
	v.want("2026-01-10T18:00:00Z", calm, "all online [All Systems Operational]; component/API online [no longer listed: degraded performance]")
	if want := []string{"/api/v2/incidents.json", "/api/v2/scheduled-maintenances.json"}; !slices.Equal(v.next, want) {
		t.Errorf("asks for %q, want %q", v.next, want)
	}
	v.ref = "https://status.coinbase.com/api/v2/incidents.json"
	v.want("2026-01-10T18:00:01Z", incidents, "incident/abc online from 2026-01-10T10:00:00Z to 2026-01-10T17:20:00Z [Delayed trading (resolved 2026-01-10T17:20:00.000Z): Over.]")
	if v.said[0] != at("2026-01-10T17:20:00Z") {
		t.Errorf("said at %v, want the stated end", v.said[0])
	}
	// One that was deleted is on no list.
	v.ref = "https://status.coinbase.com/api/v2/scheduled-maintenances.json"
	v.want("2026-01-10T18:00:02Z", `{"scheduled_maintenances":[]}`, "maintenance/m1 online [no longer listed: Upgrade]")
	v.ref = ""
	v.want("2026-01-11T18:00:00Z", calm, "")
}

const incidents = `{"page":{"id":"x"},"incidents":[
	{"id":"later","name":"Another","status":"resolved","impact":"minor","created_at":"2026-01-10T17:30:00.000Z","resolved_at":"2026-01-10T17:40:00.000Z","incident_updates":[]},
	{"id":"abc","name":"Delayed trading","status":"resolved","impact":"critical","created_at":"2026-01-10T10:01:00.000Z","started_at":"2026-01-10T10:00:00.000Z","resolved_at":"2026-01-10T17:20:00.000Z",
	"incident_updates":[{"status":"resolved","body":"Over.","created_at":"2026-01-10T17:20:00.000Z","display_at":"2026-01-10T17:20:00.000Z"}]}]}`

// An end that was asked for in vain, as of a page that has no such list, is told at the next look.
func TestPageWithoutLists(t *testing.T) {
	v := &venue{t: t, p: poller(t), job: "page/coinbase"}
	v.look("2026-01-10T10:02:00Z", broken)
	v.look("2026-01-10T18:00:00Z", calm)
	v.want("2026-01-10T18:01:00Z", calm, "incident/abc online [no longer listed: Delayed trading (investigating 2026-01-10T10:01:00.000Z): We are looking into it.]")
	if len(v.next) != 0 {
		t.Errorf("asks again for %q", v.next)
	}
}

// An announced maintenance that its call lists as completed is over at the end that it states; one that was never told is not.
func TestCompletedMaintenance(t *testing.T) {
	v := &venue{t: t, p: poller(t), job: "api/bybit"}
	row := func(id, state, end string) string {
		return `{"id":"` + id + `","title":"Upgrade","state":"` + state + `","begin":"1751254200000","end":"` + end + `","env":1}`
	}
	list := func(rows ...string) string {
		return `{"retCode":0,"result":{"list":[` + strings.Join(rows, ",") + `]}}`
	}
	v.look("2025-06-30T03:31:00Z", list(row("a", "ongoing", "1751254500000")))
	v.want("2025-06-30T03:41:00Z", list(row("a", "completed", "1751254800000"), row("b", "completed", "1751254800000")),
		"maintenance/a online from 2025-06-30T03:30:00Z to 2025-06-30T03:40:00Z [Upgrade (completed)]")
	if v.said[0] != at("2025-06-30T03:40:00Z") {
		t.Errorf("said at %v, want the stated end", v.said[0])
	}
	v.want("2025-06-30T03:42:00Z", list(row("a", "completed", "1751254800000")), "")
}

// Where the trading engine speaks, the page does not speak for the whole venue.
func TestPageBesideAPI(t *testing.T) {
	v := &venue{t: t, p: poller(t), job: "page/kraken"}
	v.want("2026-01-10T09:59:00Z", calm, "page online [All Systems Operational]")
}

func TestAPIs(t *testing.T) {
	for _, c := range []struct{ venue, body, want string }{
		{"binance", `{"status":0,"msg":"normal"}`, "all online [normal]"},
		{"binance", `{"status":1,"msg":"system_maintenance"}`, "all maintenance [system_maintenance]"},
		{"kraken", `{"error":[],"result":{"status":"online","timestamp":"2023-07-06T18:52:00Z","upcoming_maintenance":[],"emergency":[]}}`, "all online [online]"},
		{"kraken", `{"error":[],"result":{"status":"cancel_only","timestamp":"2023-07-06T18:52:00Z"}}`, "all degraded [cancel only]"},
		{
			"kraken", `{"error":[],"result":{"status":"maintenance","upcoming_maintenance":[{"event_id":21,"title":"Scheduled Maintenance - Website","expected_start_utc":"2026-05-11T09:00:00Z","expected_end_utc":"2026-05-11T10:00:00Z","affected_services":["spot_trading"]}],"emergency":[{"event_id":7,"title":"Matching delayed","affected_services":["spot_ws"]}]}}`,
			"all maintenance [maintenance]; emergency/7 degraded [Matching delayed: spot_ws]; maintenance/21 maintenance from 2026-05-11T09:00:00Z to 2026-05-11T10:00:00Z [Scheduled Maintenance - Website: spot_trading]",
		},
		{
			"bybit", `{"retCode":0,"retMsg":"","result":{"list":[{"id":"4d95","title":"t06","state":"completed","begin":"1751596902000","end":"1751597011000","href":"","serviceTypes":[2,3],"product":[1,2],"uidSuffix":[],"maintainType":1,"env":1},{"id":"19bb","title":"Upgrade","state":"ongoing","begin":"1751254200000","end":"1751254500000","serviceTypes":[1]}]}}`,
			"maintenance/19bb maintenance from 2025-06-30T03:30:00Z to 2025-06-30T03:35:00Z [Upgrade (ongoing)]",
		},
		{
			"okx", `{"code":"0","data":[{"begin":"1672823400000","end":"1672823520000","href":"","preOpenBegin":"","scheDesc":"","serviceType":"8","state":"scheduled","maintType":"1","env":"1","system":"unified","title":"Trading account WebSocket system upgrade"},{"begin":"1","end":"2","serviceType":"5","state":"canceled","title":"x"}],"msg":""}`,
			"maintenance/1672823400000-8 maintenance from 2023-01-04T09:10:00Z to 2023-01-04T09:12:00Z [Trading account WebSocket system upgrade (scheduled)]",
		},
		// What only the demo trading has is not the venue's; 1 is production.
		{"bybit", `{"retCode":0,"result":{"list":[{"id":"demo","title":"Demo","state":"ongoing","begin":"1751254200000","end":"1751254500000","env":2},{"id":"19bb","title":"Upgrade","state":"ongoing","begin":"1751254200000","end":"1751254500000","env":1}]}}`, "maintenance/19bb maintenance from 2025-06-30T03:30:00Z to 2025-06-30T03:35:00Z [Upgrade (ongoing)]"},
		{"okx", `{"code":"0","data":[{"begin":"1672823400000","end":"1672823520000","serviceType":"8","state":"ongoing","env":"2","title":"Demo"}],"msg":""}`, ""},
		{"okx", `{"code":"0","data":[],"msg":""}`, ""},
		{"deribit", `{"jsonrpc":"2.0","id":1,"result":{"locked":false}}`, "all online []"},
		{"deribit", `{"jsonrpc":"2.0","id":55,"result":{"locked_currencies":["BTC","ETH"],"locked":true}}`, "all down [locked: BTC, ETH]"},
		{"deribit", `{"jsonrpc":"2.0","result":{"locked":"partial","locked_indices":["sol_usdc"]}}`, "all degraded [locked: sol_usdc]"},
	} {
		v := &venue{t: t, p: poller(t), job: "api/" + c.venue}
		v.want("2026-01-10T09:59:00Z", c.body, c.want)
		v.want("2026-01-10T10:00:00Z", c.body, "")
	}
}

// One maintenance of OKX, told by its stream and by its status call, is one scope in one state with one window and text.
func TestOKXNamesAMaintenanceOnce(t *testing.T) {
	for state, want := range map[string]string{"scheduled": "maintenance", "ongoing": "maintenance", "pre_open": "maintenance", "completed": "online", "canceled": "online"} {
		row := `{"begin":"1672823400000","end":"1672825980000","serviceType":"5","state":"` + state + `","env":"1","title":"Upgrade","ts":"1672826038470"}`
		spec, err := okx.Defaults().Spec()
		if err != nil {
			t.Fatal(err)
		}
		out := &sourcetest.Memory{}
		m := venuetest.Machine(t, spec, out)
		venuetest.Run(t, m, []capture.Frame{
			{Kind: capture.Connect, Conn: "okx/1", At: 1672826038470e6},
			{Kind: capture.Receive, Conn: "okx/1", At: 1672826038470e6, Data: []byte(`{"arg":{"channel":"status"},"data":[` + row + `]}`)},
		})
		told := sourcetest.Of[*schemas.VenueStatus](out)
		if len(told) != 1 || told[0].State != want || told[0].Meta.Symbol != "ALL" {
			t.Fatalf("%s: the stream tells %v", state, told)
		}
		res, err := poller(t).Decode(poll.Answer{Job: "api/okx", At: 1672826038470e6, Body: []byte(`{"code":"0","data":[` + row + `]}`)})
		if err != nil {
			t.Fatal(err)
		}
		if want == "online" { // over: the call tells it only of one that it told before
			if len(res.Records) != 0 {
				t.Errorf("%s: the call tells %v", state, res.Records)
			}
			continue
		}
		polled := res.Records[0].Message.(*schemas.VenueStatus)
		if told[0].Scope != polled.Scope || told[0].State != polled.State || told[0].Description != polled.Description ||
			told[0].Starts != polled.Starts || told[0].Ends != polled.Ends || told[0].Meta.Symbol != polled.Meta.Symbol {
			t.Errorf("%s: the stream tells %v, the call %v", state, told[0], polled)
		}
	}
}

// A state that is not understood is not told, and an API's error is none.
func TestNothingInvented(t *testing.T) {
	p := poller(t)
	for _, c := range []struct{ job, body string }{
		{"api/binance", `{"status":2,"msg":"?"}`},
		{"api/binance", `{}`},
		{"api/kraken", `{"error":[],"result":{"status":"reduced"}}`},
		{"api/kraken", `{"error":[]}`},
		{"api/bybit", `{"retCode":0,"result":{"list":[{"id":"1","state":"paused"}]}}`},
		{"api/bybit", `{"retCode":0}`},
		{"api/okx", `{"code":"0"}`},
		{"api/deribit", `{"result":{}}`},
		{"api/nowhere", `{}`},
		{"page/coinbase", `{"status":{"indicator":"purple"}}`},
		{"page/coinbase", `{"page":{}}`},
		{"page/coinbase", `<html>`},
	} {
		if res, err := p.Decode(poll.Answer{Job: c.job, At: at("2026-01-10T09:59:00Z"), Body: []byte(c.body)}); err == nil {
			t.Errorf("%s %s: %d records and no error", c.job, c.body, len(res.Records))
		}
	}
	for _, body := range []string{
		`{"retCode":10006,"retMsg":"Too many visits!"}`, `{"code":"50011","msg":"Too Many Requests","data":[]}`, `{"code":-1003,"msg":"Too much request weight used"}`,
		`{"error":["EGeneral:Temporary lockout"]}`, `{"error":{"code":10028,"message":"too_many_requests"}}`,
	} {
		if p.Refusal([]byte(body)) == nil {
			t.Errorf("%s is a refusal", body)
		}
	}
}

// The whole way: records are on the venue's key, none is late or ahead of its source's time, and the source's own health is
// not a venue's.
func TestThroughTheSource(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/page"):
			_, _ = fmt.Fprint(w, broken)
		case strings.HasSuffix(r.URL.Path, "SystemStatus"):
			_, _ = fmt.Fprint(w, `{"error":[],"result":{"status":"online"}}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer s.Close()
	cfg := Defaults()
	cfg.Pages, cfg.APIs, cfg.Addresses = []string{"coinbase=" + s.URL + "/page"}, []string{"kraken", "okx"}, map[string]string{"kraken": s.URL, "okx": s.URL}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	metrics := poll.NewMetrics(nil)
	src, err := poll.New(p, poll.Options{Config: poll.Defaults(), Client: poll.NewClient(poll.Defaults(), metrics), Once: true, Metrics: metrics, Shared: sources.NewMetrics(nil)})
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	if err := src.Run(t.Context(), out); err == nil || !strings.Contains(err.Error(), "1 of 3 jobs came to nothing: api/okx: ") {
		t.Fatalf("ends with %v, want the refusal of okx named", err)
	}
	if late := out.Late(); len(late) > 0 {
		t.Errorf("late: %v", late[0])
	}
	byVenue := map[string]int{}
	var ticked schemas.Time
	for _, e := range out.Entries() {
		switch m := e.Message.(type) {
		case *schemas.Tick:
			ticked = schemas.Time(m.Time)
		case *schemas.VenueStatus:
			byVenue[e.Key]++
			if ahead := schemas.TimeOf(m).Sub(ticked); ahead > 2*time.Second {
				t.Errorf("%s is %v ahead of its source's time", m.Scope, ahead)
			}
		case *schemas.FeedHealth:
			if e.Key != "status" {
				t.Errorf("health under %s", e.Key)
			}
		}
	}
	if byVenue["coinbase"] != 3 || byVenue["kraken"] != 1 || byVenue["okx"] != 0 {
		t.Errorf("records %v, want 3 of coinbase, 1 of kraken, none of okx, which refuses", byVenue)
	}
}

func FuzzDecode(f *testing.F) {
	p := poller(f)
	for _, body := range []string{calm, broken, watched} {
		f.Add("page/coinbase", []byte(body), []byte(`{"told":{"incident/abc":{"state":"down","at":1}},"n":3}`))
	}
	f.Add("api/kraken", []byte(`{"error":[],"result":{"status":"online","upcoming_maintenance":[{"event_id":1,"expected_start_utc":"2026-05-11T09:00:00Z"}]}}`), []byte(nil))
	f.Add("page/coinbase", []byte(incidents), []byte(`{"told":{"incident/abc":{"state":"down","at":1}},"asked":["incident/abc"],"n":3}`))
	f.Add("api/okx", []byte(`{"code":"0","data":[{"begin":"1672823400000","state":"ongoing"}]}`), []byte(nil))
	f.Fuzz(func(t *testing.T, job string, body, state []byte) {
		_ = p.Refusal(body)
		ref := ""
		if strings.Contains(string(body), "resolved_at") {
			ref = "https://status.coinbase.com/api/v2/incidents.json"
		}
		res, err := p.Decode(poll.Answer{Job: job, Ref: ref, At: at("2026-01-10T09:59:00Z"), Body: body, Cursor: state})
		if err != nil && len(res.Records) > 0 {
			t.Fatal("records beside an error")
		}
		ids := map[string]bool{}
		for _, r := range res.Records {
			m := schemas.MetaOf(r.Message)
			if ids[m.Id] {
				t.Fatalf("id %s twice", m.Id)
			}
			ids[m.Id] = true
		}
	})
}
