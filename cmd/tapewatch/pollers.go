package main

import (
	"context"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/chain"
	"github.com/tapewatch/tapewatch/sources/earnings"
	"github.com/tapewatch/tapewatch/sources/edgar"
	"github.com/tapewatch/tapewatch/sources/fred"
	"github.com/tapewatch/tapewatch/sources/news"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/status"
)

// pollMaker makes the poller of one service from the settings.
type pollMaker struct {
	name string
	// key is the setting that a service wants to be asked with, empty for none; fill sets it to something where it is empty, so that
	// what the service has can be listed without.
	key  string
	fill func(s *settings)
	make func(s *settings) (poll.Poller, error)
}

// ready says whether the poller's key is set.
func (m pollMaker) ready(s *settings) bool {
	_, err := m.make(s)
	return err == nil || m.key == ""
}

// describe makes the poller with any key.
func (m pollMaker) describe(s *settings) (poll.Poller, error) {
	filled := *s
	if m.fill != nil && !m.ready(s) {
		m.fill(&filled)
	}
	return m.make(&filled)
}

func pollMakers() []pollMaker {
	return []pollMaker{
		{
			name: "edgar", key: "poll.user_agent", fill: func(s *settings) { s.Poll.UserAgent = "you@example.com" },
			make: func(s *settings) (poll.Poller, error) { return edgar.New(s.EDGAR, s.Poll.UserAgent) },
		},
		{
			name: "fred", key: "fred.key", fill: func(s *settings) { s.FRED.Key = secret.New("key") },
			make: func(s *settings) (poll.Poller, error) { return fred.New(s.FRED) },
		},
		{
			name: "earnings", key: "earnings.key", fill: func(s *settings) { s.Earnings.Key = secret.New("key") },
			make: func(s *settings) (poll.Poller, error) { return earnings.New(s.Earnings) },
		},
		{name: "bitcoin", make: func(s *settings) (poll.Poller, error) { return chain.NewBitcoin(s.Bitcoin) }},
		{
			name: "ethereum", key: "ethereum.url", fill: func(s *settings) { s.Ethereum.URL = secret.New("http://localhost:8545") },
			make: func(s *settings) (poll.Poller, error) { return chain.NewEthereum(s.Ethereum) },
		},
		{
			name: "whalealert", key: "whalealert.key", fill: func(s *settings) { s.WhaleAlert.Key = secret.New("key") },
			make: func(s *settings) (poll.Poller, error) { return chain.NewWhaleAlert(s.WhaleAlert) },
		},
		{name: "news", make: func(s *settings) (poll.Poller, error) { return news.New(s.News) }},
		{name: "status", make: func(s *settings) (poll.Poller, error) { return status.New(s.Status) }},
	}
}

// pollSources are the makers of all polling sources.
func pollSources() []sourceMaker {
	var out []sourceMaker
	for _, m := range pollMakers() {
		out = append(out, sourceMaker{m.name, func(p *process) (sources.Source, error) { return p.polled(m) }})
	}
	return out
}

// polls says that a source is one of those that are asked.
func polls(name string) bool {
	for _, m := range pollMakers() {
		if m.name == name {
			return true
		}
	}
	return false
}

// polled makes a polling source, or plays recordings in its place.
func (p *process) polled(m pollMaker) (sources.Source, error) {
	s := p.app.settings
	return p.played(func(path string) (sources.Source, error) {
		poller, err := m.make(s)
		if err != nil {
			return nil, err
		}
		o := poll.Options{
			Config: s.Poll, Client: p.pollClient(), Once: s.pollOnce, Play: path,
			Metrics: p.metrics.poll, Shared: p.metrics.sources, Log: p.log,
		}
		if s.Poll.Remember {
			o.Past = p.pollPast
		}
		return poll.New(poller, o)
	})
}

// pollPast finds where the last run of a source ended.
func (p *process) pollPast(ctx context.Context, source string, topics []schemas.Topic) (poll.Past, error) {
	types, err := p.app.schemaTypes(ctx)
	if err != nil {
		return poll.Past{}, err
	}
	return poll.KafkaPast(p.app.settings.Kafka, types)(ctx, source, topics)
}
