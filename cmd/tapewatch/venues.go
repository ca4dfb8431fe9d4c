package main

import (
	"slices"

	"github.com/tapewatch/tapewatch/internal/config"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/binance"
	"github.com/tapewatch/tapewatch/sources/bybit"
	"github.com/tapewatch/tapewatch/sources/coinbase"
	"github.com/tapewatch/tapewatch/sources/deribit"
	"github.com/tapewatch/tapewatch/sources/kraken"
	"github.com/tapewatch/tapewatch/sources/krakenfutures"
	"github.com/tapewatch/tapewatch/sources/okx"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// connector is a market that sources.use can name.
type connector struct {
	// name is that of the source, and of its section in the settings.
	name, doc string
	// section is the whole of the settings, common the part that every connector has.
	section any
	common  *venue.Config
	// spec describes the market as it is configured.
	spec func() (*venue.Spec, error)
	make func(p *process) (sources.Source, error)
}

// venuesConfig holds the settings of every connector.
type venuesConfig struct {
	Binance, BinanceUSDM       binance.Config
	Coinbase, CoinbaseExchange coinbase.Config
	Bybit, BybitLinear         bybit.Config
	Kraken                     kraken.Config
	OKX                        okx.Config
	Deribit                    deribit.Config
	KrakenFutures              krakenfutures.Config
}

func venuesDefaults() venuesConfig {
	return venuesConfig{
		Binance: binance.Defaults(), BinanceUSDM: binance.FuturesDefaults(),
		Coinbase: coinbase.Defaults(), CoinbaseExchange: coinbase.ExchangeDefaults(),
		Bybit: bybit.Defaults(), BybitLinear: bybit.LinearDefaults(),
		Kraken: kraken.Defaults(), OKX: okx.Defaults(),
		Deribit:       deribit.Defaults(),
		KrakenFutures: krakenfutures.Defaults(),
	}
}

// connectors lists the markets.
func (c *venuesConfig) connectors() []connector {
	return []connector{
		{"binance", "Binance's spot market.", &c.Binance, &c.Binance.Config, func() (*venue.Spec, error) { return binance.NewSpec(c.Binance) }, func(p *process) (sources.Source, error) {
			return binance.New(c.Binance, p.log, p.metrics.sources)
		}},
		{"binance_usdm", "Binance's USD-margined futures.", &c.BinanceUSDM, &c.BinanceUSDM.Config, func() (*venue.Spec, error) { return binance.NewSpec(c.BinanceUSDM) }, func(p *process) (sources.Source, error) {
			return binance.New(c.BinanceUSDM, p.log, p.metrics.sources)
		}},
		{"coinbase", "Coinbase by Advanced Trade.", &c.Coinbase, &c.Coinbase.Config, func() (*venue.Spec, error) { return coinbase.NewSpec(c.Coinbase) }, func(p *process) (sources.Source, error) {
			return coinbase.New(c.Coinbase, p.log, p.metrics.sources)
		}},
		{"coinbase_exchange", "Coinbase by Exchange.", &c.CoinbaseExchange, &c.CoinbaseExchange.Config, func() (*venue.Spec, error) { return coinbase.NewSpec(c.CoinbaseExchange) }, func(p *process) (sources.Source, error) {
			return coinbase.New(c.CoinbaseExchange, p.log, p.metrics.sources)
		}},
		{"kraken", "Kraken's spot market.", &c.Kraken, &c.Kraken.Config, func() (*venue.Spec, error) { return kraken.NewSpec(c.Kraken) }, func(p *process) (sources.Source, error) {
			return kraken.New(c.Kraken, p.log, p.metrics.sources)
		}},
		{"bybit", "Bybit's spot market.", &c.Bybit, &c.Bybit.Config, func() (*venue.Spec, error) { return bybit.NewSpec(c.Bybit) }, func(p *process) (sources.Source, error) {
			return bybit.New(c.Bybit, p.log, p.metrics.sources)
		}},
		{"bybit_linear", "Bybit's USDT and USDC margined perpetuals.", &c.BybitLinear, &c.BybitLinear.Config, func() (*venue.Spec, error) { return bybit.NewSpec(c.BybitLinear) }, func(p *process) (sources.Source, error) {
			return bybit.New(c.BybitLinear, p.log, p.metrics.sources)
		}},
		{"okx", "OKX: spot, swaps and dated futures.", &c.OKX, &c.OKX.Config, func() (*venue.Spec, error) { return okx.NewSpec(c.OKX) }, func(p *process) (sources.Source, error) {
			return okx.New(c.OKX, p.log, p.metrics.sources)
		}},
		{"deribit", "Deribit's options, futures and perpetual contracts.", &c.Deribit, &c.Deribit.Config, func() (*venue.Spec, error) { return deribit.NewSpec(c.Deribit) }, func(p *process) (sources.Source, error) {
			return deribit.New(c.Deribit, p.log, p.metrics.sources)
		}},
		{"kraken_futures", "Kraken's futures and perpetual contracts.", &c.KrakenFutures, &c.KrakenFutures.Config, func() (*venue.Spec, error) { return krakenfutures.NewSpec(c.KrakenFutures) }, func(p *process) (sources.Source, error) {
			return krakenfutures.New(c.KrakenFutures, p.log, p.metrics.sources)
		}},
	}
}

// connector finds a market by the name of its source.
func (c *venuesConfig) connector(name string) (connector, bool) {
	all := c.connectors()
	i := slices.IndexFunc(all, func(v connector) bool { return v.name == name })
	if i < 0 {
		return connector{}, false
	}
	return all[i], true
}

// addTo adds a section for every market.
func (c *venuesConfig) addTo(t *config.Tree) {
	for _, v := range c.connectors() {
		t.Add(v.name, v.doc, v.section)
	}
}

// source makes a market's source, or plays captures in its place.
func (v connector) source(p *process) (sources.Source, error) {
	return p.played(func(path string) (sources.Source, error) {
		if path == "" {
			return v.make(p)
		}
		before := v.common.Play
		defer func() { v.common.Play = before }()
		v.common.Play = path
		return v.make(p)
	})
}
