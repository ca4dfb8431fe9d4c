package binance

import (
	"log/slog"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// venue is the Meta.venue of both markets: their symbols differ.
const venue = "binance"

// sourceName is the configured name, or that of the market.
func (c Config) sourceName() string {
	if c.Name != "" {
		return c.Name
	}
	return venue + "." + c.Market
}

// topics are those that the source's keys live on.
func (c Config) topics() []schemas.Topic {
	topics := []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks}
	if c.Market == USDM {
		topics = append(topics, schemas.MarketDerivatives)
	}
	return append(topics, schemas.VenuesStatus)
}

func newCore(c Config, p sources.Publisher, metrics *sources.Metrics, log *slog.Logger) *feed.Core {
	clock := feed.DefaultClock()
	clock.Delay = c.TickDelay
	return feed.NewCore(feed.Options{
		Source: c.sourceName(), Venue: venue, Clock: clock, Topics: c.topics(), Publisher: p, Metrics: metrics, Log: log,
	})
}
