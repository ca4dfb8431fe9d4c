package status

import (
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/sources/poll"
)

// summaryPath is that of the present state, pageLists those of what was, newest first.
const summaryPath = "/api/v2/summary.json"

var pageLists = []struct{ prefix, path string }{
	{"incident/", "/api/v2/incidents.json"},
	{"maintenance/", "/api/v2/scheduled-maintenances.json"},
}

// summary is /api/v2/summary.json of a page of Atlassian's make.
type summary struct {
	Status *struct {
		Indicator   string `json:"indicator"`
		Description string `json:"description"`
	} `json:"status"`
	Components []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Group  bool   `json:"group"`
	} `json:"components"`
	Incidents    []incident `json:"incidents"`
	Maintenances []incident `json:"scheduled_maintenances"`
}

// incident is one that is not over, or a maintenance. Entries change afterwards; the updates say when.
type incident struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Status         string `json:"status"`
	Impact         string `json:"impact"`
	CreatedAt      string `json:"created_at"`
	StartedAt      string `json:"started_at"`
	ScheduledFor   string `json:"scheduled_for"`
	ScheduledUntil string `json:"scheduled_until"`
	ResolvedAt     string `json:"resolved_at"`
	Updates        []struct {
		Status    string `json:"status"`
		Body      string `json:"body"`
		CreatedAt string `json:"created_at"`
		DisplayAt string `json:"display_at"`
	} `json:"incident_updates"`
}

// text is the name, and the latest update with its own time.
func (i incident) text() string {
	text, latest := i.Name, ""
	for _, u := range i.Updates {
		at := u.DisplayAt
		if at == "" {
			at = u.CreatedAt
		}
		if at > latest {
			latest = at
			text = i.Name + " (" + u.Status + " " + at + "): " + u.Body
		}
	}
	return clip(text)
}

// begun is when an incident began.
func (i incident) begun() int64 {
	if at := moment(i.StartedAt); at != 0 {
		return at
	}
	return moment(i.CreatedAt)
}

// decodeEnds reads a list of what was, and ends what the summary has left out and the list says is over. All else stays.
func decodeEnds(a poll.Answer, cur *cursor) (map[string]report, error) {
	var list struct {
		Incidents    *[]incident `json:"incidents"`
		Maintenances *[]incident `json:"scheduled_maintenances"`
	}
	if err := poll.Decode(a.Body, &list); err != nil {
		return nil, err
	}
	now := map[string]report{}
	for scope, told := range cur.Told {
		now[scope] = told.report
	}
	for i, was := range []*[]incident{list.Incidents, list.Maintenances} {
		if !strings.HasSuffix(a.Ref, pageLists[i].path) {
			continue
		}
		if was == nil {
			return nil, poll.Missing(strings.TrimSuffix(pageLists[i].prefix, "/") + "s")
		}
		end := func(scope string) bool {
			if !strings.HasPrefix(scope, pageLists[i].prefix) {
				return false
			}
			at := slices.IndexFunc(*was, func(e incident) bool { return pageLists[i].prefix+e.ID == scope })
			if at < 0 { // deleted: it is no longer listed
				delete(now, scope)
				return true
			}
			e := (*was)[at]
			ended := moment(e.ResolvedAt)
			if ended == 0 && !slices.Contains([]string{"resolved", "postmortem", "completed"}, e.Status) {
				return true // the summary and the list are of two moments
			}
			r := report{State: online, Text: e.text(), Starts: e.begun(), Ends: ended, Said: ended}
			if planned := moment(e.ScheduledFor); planned != 0 {
				r.Starts = planned
			}
			now[scope] = r
			return true
		}
		cur.Asked = slices.DeleteFunc(cur.Asked, end)
	}
	return now, nil
}

func decodePage(body []byte, whole string) (map[string]report, error) {
	var s summary
	if err := poll.Decode(body, &s); err != nil {
		return nil, err
	}
	if s.Status == nil || s.Status.Indicator == "" {
		return nil, poll.Missing("status.indicator")
	}
	state := map[string]string{"none": online, "minor": degraded, "major": degraded, "critical": down, "maintenance": maintenance}[s.Status.Indicator]
	if state == "" {
		return nil, poll.Missing("a known status.indicator instead of " + clip(s.Status.Indicator))
	}
	now := map[string]report{whole: {State: state, Text: clip(s.Status.Description)}}
	for _, c := range s.Components {
		state := map[string]string{
			"degraded_performance": degraded, "partial_outage": degraded, "major_outage": down, "under_maintenance": maintenance,
		}[c.Status]
		if state != "" && !c.Group && c.Name != "" {
			now["component/"+clip(c.Name)] = report{State: state, Text: strings.ReplaceAll(c.Status, "_", " ")}
		}
	}
	for _, i := range s.Incidents {
		state := map[string]string{"minor": degraded, "major": degraded, "critical": down, "maintenance": maintenance}[i.Impact]
		if state == "" || i.Status == "resolved" || i.Status == "postmortem" {
			continue // a notice without impact, or over
		}
		now["incident/"+i.ID] = report{State: state, Text: i.text(), Starts: i.begun()}
	}
	for _, i := range s.Maintenances {
		if i.Status != "completed" {
			now["maintenance/"+i.ID] = report{State: maintenance, Text: i.text(), Starts: moment(i.ScheduledFor), Ends: moment(i.ScheduledUntil)}
		}
	}
	return now, nil
}
