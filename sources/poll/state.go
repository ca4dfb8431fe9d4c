package poll

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// Past is what the runs before left of a source.
type Past struct {
	// States are the jobs' last states.
	States []*schemas.PollState
	// Published are the identities (Identity) of the records that were published after them.
	Published []uint64
	// Ticked is the source's time on its data topics, 0 when it has none.
	Ticked schemas.Time
}

// opening is the first frame of a run: what it starts from. Without it a recording would not play back alike.
type opening struct {
	Jobs      []string `json:"jobs"`
	States    []string `json:"states,omitempty"`
	Published []uint64 `json:"published,omitempty"`
	Ticked    int64    `json:"ticked,omitempty"`
}

// openingFrame makes the first frame of a run. jobs are those that are due at once.
func openingFrame(source string, at schemas.Time, jobs []string, past Past) (capture.Frame, error) {
	o := opening{Jobs: slices.Sorted(slices.Values(jobs)), Published: past.Published, Ticked: int64(past.Ticked)}
	for _, s := range past.States {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
		if err != nil {
			return capture.Frame{}, fmt.Errorf("encoding the state of %s: %w", s.GetJob(), err)
		}
		o.States = append(o.States, base64.StdEncoding.EncodeToString(raw))
	}
	data, err := json.Marshal(o)
	if err != nil {
		return capture.Frame{}, fmt.Errorf("encoding the start of %s: %w", source, err)
	}
	return capture.Frame{Kind: capture.Connect, Conn: source, At: at, URL: source, Data: data}, nil
}

// start begins a run.
func (m *machine) start(f capture.Frame) error {
	var o opening
	if err := json.Unmarshal(f.Data, &o); err != nil {
		return fmt.Errorf("reading the start of %s: %w", m.poller.Name(), err)
	}
	for _, text := range o.States {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("reading the state of a job: %w", err)
		}
		s := &schemas.PollState{}
		if err := proto.Unmarshal(raw, s); err != nil {
			return fmt.Errorf("reading the state of a job: %w", err)
		}
		m.restore(s)
	}
	for _, k := range o.Published {
		m.tail[k] = true
	}
	m.ticked = max(m.ticked, schemas.Time(o.Ticked))
	for _, name := range o.Jobs {
		m.first[m.job(name).Name] = true
	}
	m.started = true
	return nil
}

// restore takes up the state of a job. One that is no longer asked for is known by what it published, and has no health; of the
// others the health goes on from the last answer.
func (m *machine) restore(s *schemas.PollState) {
	j := m.jobs[s.GetJob()]
	switch {
	case j == nil:
		j = &job{Job: Job{Name: s.GetJob(), Stream: streamOf(s.GetJob())}}
		m.jobs[s.GetJob()] = j
	case s.GetPolled() != 0:
		m.health.answered(j.Stream, schemas.Time(s.GetPolled()))
	}
	j.polled, j.cursor, j.begun = schemas.Time(s.GetPolled()), s.GetCursor(), s.GetPolled() != 0
	j.memory.restore(s.GetSeen())
	m.ticked = max(m.ticked, schemas.Time(s.GetTicked()))
}

// state is what a restart needs of a job.
func (m *machine) state(j *job) *schemas.PollState {
	return &schemas.PollState{
		Source: m.poller.Name(), Job: j.Name, Polled: int64(j.polled), Ticked: int64(m.ticked), Cursor: j.cursor, Seen: j.memory.list(),
	}
}

// stateOrder sorts states by job.
func stateOrder(a, b *schemas.PollState) int { return strings.Compare(a.GetJob(), b.GetJob()) }
