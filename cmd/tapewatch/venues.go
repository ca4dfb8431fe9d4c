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
	section venue.Settings
	common  *venue.Config
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
		{"binance", "Binance's spot market.", &c.Binance, &c.Binance.Config},
		{"binance_usdm", "Binance's USD-margined futures.", &c.BinanceUSDM, &c.BinanceUSDM.Config},
		{"coinbase", "Coinbase by Advanced Trade.", &c.Coinbase, &c.Coinbase.Config},
		{"coinbase_exchange", "Coinbase by Exchange.", &c.CoinbaseExchange, &c.CoinbaseExchange.Config},
		{"kraken", "Kraken's spot market.", &c.Kraken, &c.Kraken.Config},
		{"bybit", "Bybit's spot market.", &c.Bybit, &c.Bybit.Config},
		{"bybit_linear", "Bybit's USDT and USDC margined perpetuals.", &c.BybitLinear, &c.BybitLinear.Config},
		{"okx", "OKX: spot, swaps and dated futures.", &c.OKX, &c.OKX.Config},
		{"deribit", "Deribit's options, futures and perpetual contracts.", &c.Deribit, &c.Deribit.Config},
		{"kraken_futures", "Kraken's futures and perpetual contracts.", &c.KrakenFutures, &c.KrakenFutures.Config},
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
		if path != "" {
			before := v.common.Play
			defer func() { v.common.Play = before }()
			v.common.Play = path
		}
		return venue.New(v.section, p.log, p.metrics.sources)
	})
}
