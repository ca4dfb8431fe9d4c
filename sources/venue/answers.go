package venue

import "github.com/tapewatch/tapewatch/sources/capture"

// listing is what the quantities of an instrument count.
type listing struct {
	multiplier Optional
	inverse    bool
}

// answer takes the body of a GET.
func (m *Machine) answer(f capture.Frame) error {
	events, err := m.decode(func() ([]Event, error) { return m.decoder.Answer(f.URL, f.Data) })
	if err != nil {
		m.unanswered(f)
		return m.undecodable(err, events, append([]byte(f.URL+" "), f.Data...), f)
	}
	if err := m.events(events, f); err != nil || !m.unlisted[f.URL] {
		return err
	}
	if delete(m.unlisted, f.URL); len(m.unlisted) == 0 {
		m.hands.Listed()
	}
	return nil
}

// unanswered asks again for the book whose answer could not be read.
func (m *Machine) unanswered(f capture.Frame) {
	for _, in := range m.order {
		if in.request.wanted && m.spec.Recover != nil && m.spec.Recover(in.venueSymbol).Get == f.URL {
			in.request.done()
			m.recover(in)
		}
	}
}

// listed notes what an instrument's quantities count.
func (m *Machine) listed(e *Event) {
	l := listing{e.Multiplier, e.Inverse}
	m.listings[string(e.Symbol)] = l
	if in := m.instruments[string(e.Symbol)]; in != nil {
		in.multiplier, in.inverse = l.multiplier, l.inverse
	}
}

// relist asks again for the lists of contracts that have not come: the fetcher sees to it that an answer comes, but not that it
// can be read.
func (m *Machine) relist() {
	for _, g := range m.spec.Gets {
		if m.unlisted[g.URL] {
			m.hands.Get(g.URL)
		}
	}
}
