package main

import (
	"context"

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
	make func(s *settings) (poll.Poller, error)
}

func pollMakers() []pollMaker {
	return []pollMaker{
		{"edgar", func(s *settings) (poll.Poller, error) { return edgar.New(s.EDGAR, s.Poll.UserAgent) }},
		{"fred", func(s *settings) (poll.Poller, error) { return fred.New(s.FRED) }},
		{"earnings", func(s *settings) (poll.Poller, error) { return earnings.New(s.Earnings) }},
		{"bitcoin", func(s *settings) (poll.Poller, error) { return chain.NewBitcoin(s.Bitcoin) }},
		{"ethereum", func(s *settings) (poll.Poller, error) { return chain.NewEthereum(s.Ethereum) }},
		{"whalealert", func(s *settings) (poll.Poller, error) { return chain.NewWhaleAlert(s.WhaleAlert) }},
		{"news", func(s *settings) (poll.Poller, error) { return news.New(s.News) }},
		{"status", func(s *settings) (poll.Poller, error) { return status.New(s.Status) }},
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
