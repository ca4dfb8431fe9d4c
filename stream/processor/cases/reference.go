package cases

import (
	"fmt"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// reference makes the records of derivatives, chains and companies; nil when the kind is none of them.
//
//	12:00:00 earnings us:AAPL period=2023-12-31 basis=street actual=2.18 estimate=2.10 estimates=28 sd=0.03 price=187.4
//	08:00:00 funding binance:BTC-USDT-PERP rate=0.0012 interval=28800 next=16:00:00 kind=settled cap=0.00375
//	08:00:00 interest binance:BTC-USDT-PERP qty=90000
//	08:00:00 mark binance:BTC-USDT-PERP price=61345.12
//	08:00:00 transfer ethereum:USDT tx=0x1 log=3 height=10 from=0xa to=0xb to_owner=binance to_kind=exchange amount=2000000 usd=2000000
func reference(kind string, meta *schemas.Meta, at schemas.Time, a *arguments) schemas.Message {
	asset, _, _ := strings.Cut(meta.Symbol, "-")
	switch kind {
	case "earnings":
		meta.Flags = uint32(a.uint("flags"))
		return &schemas.Earnings{
			Meta: meta, PeriodEnd: a.values["period"], Basis: schemas.EarningsBasis(a.enum(schemas.EarningsBasis_value, "EARNINGS_BASIS_", "basis")),
			EpsActual: a.decimal("actual"), EpsEstimate: a.decimal("estimate"), RevenueActual: a.decimal("revenue"), RevenueEstimate: a.decimal("revenue_estimate"),
			Estimates: uint32(a.uint("estimates")), EstimateSd: a.decimal("sd"), Price: a.decimal("price"), Correction: a.values["correction"] == "true",
			AnnouncedAt: a.time("announced"),
		}
	case "funding":
		return &schemas.Funding{
			Meta: meta, Asset: asset, Rate: a.decimal("rate"), IntervalSeconds: uint32(a.uint("interval")), NextTime: a.time("next"), Cap: a.decimal("cap"),
			Kind: schemas.FundingKind(a.enum(schemas.FundingKind_value, "FUNDING_KIND_", "kind")),
		}
	case "interest":
		return &schemas.OpenInterest{Meta: meta, Asset: asset, Quantity: a.decimal("qty"), Unit: schemas.QuantityUnit(max(a.enum(schemas.QuantityUnit_value, "QUANTITY_UNIT_", "unit"), 2)), Multiplier: a.decimal("multiplier")}
	case "mark":
		return &schemas.Mark{Meta: meta, Asset: asset, MarkPrice: a.decimal("price")}
	case "transfer":
		return transfer(meta, at, a)
	}
	return nil
}

func transfer(meta *schemas.Meta, at schemas.Time, a *arguments) schemas.Message {
	m := &schemas.Transfer{
		Meta: meta, Chain: meta.Venue, Asset: meta.Symbol, TxHash: a.values["tx"], Height: a.uint("height"), TxIndex: uint32(a.uint("index")), From: a.values["from"], To: a.values["to"],
		Amount: a.decimal("amount"), UsdValue: a.decimal("usd"), UsdVolume_24H: a.decimal("volume24h"), Retracted: a.values["retracted"] == "true",
		FromOwner: a.values["from_owner"], ToOwner: a.values["to_owner"], FromKind: schemas.AddressKind(a.enum(schemas.AddressKind_value, "ADDRESS_KIND_", "from_kind")),
		ToKind: schemas.AddressKind(a.enum(schemas.AddressKind_value, "ADDRESS_KIND_", "to_kind")), PriceTime: a.time("price_time"),
	}
	if m.TxHash == "" {
		m.TxHash = "0x" + meta.Id
	}
	if m.Amount == nil {
		m.Amount = m.UsdValue
	}
	if _, ok := a.values["log"]; ok {
		m.LogIndex = new(uint32(a.uint("log")))
	}
	if m.PriceTime == 0 {
		m.PriceTime = int64(at)
	}
	return m
}

// enum reads a value of an enumeration by the end of its name; 0 when the word is absent.
func (a *arguments) enum(values map[string]int32, prefix, name string) int32 {
	word, ok := a.values[name]
	v, known := values[prefix+strings.ToUpper(word)]
	if ok && !known {
		a.err = fmt.Errorf("%s: %q is not known", name, word)
	}
	return v
}
