package schemas

import "math"

const at = int64(1723161255123000000)

func meta() *Meta {
	return &Meta{Source: "test", Venue: "binance", Symbol: "BTC-USDT", Id: "1", EventTime: at, ReceiveTime: at}
}

func dec(text string) *Decimal {
	d, err := ParseDecimal([]byte(text))
	if err != nil {
		panic(err)
	}
	return d
}

//go:fix inline

// samples is one valid record of every type that stands on a topic.
func samples() []Message {
	return []Message{
		sampleTrade(),
		&Tick{Source: "test", Time: at, Partition: 1, Partitions: 8},
		&Gap{Meta: meta(), Channel: "trades", From: at - 1, To: at, Cause: "sequence", Missing: new(uint64(3))},
		&Quote{Meta: meta(), BidPrice: dec("1.0"), BidQuantity: dec("2"), AskPrice: dec("1.1"), AskQuantity: dec("3")},
		&BookSnapshot{Meta: meta(), Bids: []*Level{{Price: dec("2"), Quantity: dec("1")}, {Price: dec("1.9"), Quantity: dec("1")}}, Asks: []*Level{{Price: dec("2.1"), Quantity: dec("1")}}, Depth: 20, Bands: []*DepthBand{
			{BasisPoints: 10, BidQuantity: dec("0"), AskQuantity: dec("0"), BidComplete: true, AskComplete: true},
			{BasisPoints: 500, BidQuantity: dec("2"), AskQuantity: dec("1"), AskComplete: true, BidCapped: dec("1.25")},
		}},
		&Bar{Meta: meta(), Start: at - 60e9, End: at, Open: dec("1"), High: dec("2"), Low: dec("0.5"), Close: dec("1.5"), Volume: dec("10"), Turnover: dec("12"), Trades: 3},
		&Funding{Meta: meta(), Rate: dec("-0.0001"), IntervalSeconds: 28800, NextTime: at, Kind: FundingKind_FUNDING_KIND_CURRENT, Asset: "BTC"},
		&OpenInterest{Meta: meta(), Quantity: dec("100"), Unit: QuantityUnit_QUANTITY_UNIT_BASE, Asset: "BTC"},
		&Liquidation{Meta: meta(), PositionSide: Side_SIDE_BUY, OrderSide: Side_SIDE_SELL, Price: dec("10"), Quantity: dec("1"), Asset: "BTC"},
		&Mark{Meta: meta(), MarkPrice: dec("10"), IndexPrice: dec("10.1"), Asset: "BTC"},
		&OptionQuote{Meta: meta(), Underlying: "BTC", Strike: dec("60000"), Expiry: at, Right: OptionRight_OPTION_RIGHT_CALL, MarkIv: new(0.65)},
		&Transfer{Meta: meta(), Chain: "ethereum", Asset: "USDT", TxHash: "0x1", Amount: dec("600321.88"), UsdValue: dec("600321.88"), PriceTime: at, GrossAmount: dec("700000")},
		&FeedHealth{Meta: meta(), Channel: "trades", Records: 7, Connected: true, OthersAlive: true},
		&VenueStatus{Meta: meta(), State: "online", Scope: "all", Reporter: "status_page"},
		&Earnings{Meta: meta(), PeriodEnd: "2022-09-30", Basis: EarningsBasis_EARNINGS_BASIS_STREET, EpsActual: dec("1.29"), EpsEstimate: dec("1.27")},
		&FundamentalFact{Meta: meta(), Concept: "us-gaap/EarningsPerShareDiluted", PeriodEnd: "2022-09-30", Filed: "2022-10-28", Value: dec("1.29")},
		&MacroObservation{Meta: meta(), Series: "CPIAUCSL", Region: "US", Date: "2022-09-01", Value: dec("296.761"), Vintage: "2022-10-13"},
		&Article{Meta: meta(), Title: "t", FirstSeenAt: at},
		&Event{
			Id: "ab", Detector: "price_anomaly", DetectorVersion: 1, Type: "price_anomaly", Severity: High, Status: Open, DedupKey: "cd", Key: "binance:BTC-USDT",
			EventTime: at, Description: "d", Evidence: &Evidence{Value: new(5.2), Legs: []string{"absolute"}, Measures: []*Measure{{Name: "change_pct", Value: 5.2, Unit: "percent"}}},
			Position: &Position{Topic: "market.trades", Partition: 3, Offset: 77}, Source: "test",
		},
		&Analysis{Meta: meta(), Worker: "technical", Score: new(7.5), Coverage: 1},
		&PollState{Source: "edgar", Job: "company/AAPL", Polled: at, Ticked: at, Cursor: []byte("{}"), Seen: []uint64{1, 2}},
		&Heartbeat{Instance: "tapewatch-0", Time: at, Components: []*Component{{Kind: "watchdog", Name: "price_anomaly", State: "healthy"}}},
		&Trial{Study: "s", Start: 1, End: 2},
		&TrialResult{Study: "s", State: "complete"},
	}
}

// broken pairs an invalid record with what its error must name.
func broken() map[string]Message {
	m := meta()
	m.EventTime = 12
	noSymbol := meta()
	noSymbol.Symbol = ""
	return map[string]Message{
		"Trade.meta is absent":                           &Trade{},
		"Trade.meta.event_time is 12":                    &Trade{Meta: m},
		`Trade.meta.symbol is ""`:                        &Trade{Meta: noSymbol},
		"Trade.price is absent":                          &Trade{Meta: meta(), Quantity: dec("1")},
		"Trade.quantity is -1":                           &Trade{Meta: meta(), Price: dec("1"), Quantity: dec("-1")},
		"Trade.taker_side is 9":                          &Trade{Meta: meta(), Price: dec("1"), Quantity: dec("1"), TakerSide: 9},
		`Tick.source is ""`:                              &Tick{Time: at},
		"Tick.time is 5":                                 &Tick{Source: "s", Time: 5},
		"Tick.partition is 3":                            &Tick{Source: "s", Time: at, Partition: 3, Partitions: 3},
		`Gap.channel is "x"`:                             &Gap{Meta: meta(), Channel: "x", Cause: "c"},
		"Gap.to is 1":                                    &Gap{Meta: meta(), Channel: "book", Cause: "c", From: 2, To: 1},
		"Quote.bid_price is 3":                           &Quote{Meta: meta(), BidPrice: dec("3"), AskPrice: dec("2")},
		"BookSnapshot.bids[0].price is 3":                &BookSnapshot{Meta: meta(), Bids: []*Level{{Price: dec("3"), Quantity: dec("1")}}, Asks: []*Level{{Price: dec("3"), Quantity: dec("1")}}},
		"BookSnapshot.asks[0].quantity is 0":             &BookSnapshot{Meta: meta(), Asks: []*Level{{Price: dec("3"), Quantity: dec("0")}}},
		"BookSnapshot.bands[0].basis_points is 0":        &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BidQuantity: dec("1"), AskQuantity: dec("1")}}},
		"BookSnapshot.bands[1].basis_points is 10":       &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1")}, {BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1")}}},
		"BookSnapshot.bands[0].basis_points is 5001":     &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 5001, BidQuantity: dec("1"), AskQuantity: dec("1")}}},
		"BookSnapshot.bands[0].bid_quantity is absent":   &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, AskQuantity: dec("1")}}},
		"BookSnapshot.bands[0].ask_quantity is -1":       &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("-1")}}},
		"BookSnapshot.bands[1].bid_quantity is 0.9":      &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1")}, {BasisPoints: 20, BidQuantity: dec("0.9"), AskQuantity: dec("1")}}},
		"BookSnapshot.bands[1].ask_complete is true":     &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1")}, {BasisPoints: 20, BidQuantity: dec("1"), AskQuantity: dec("1"), AskComplete: true}}},
		"BookSnapshot.bands[0].bid_capped is 1.5":        &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1"), BidCapped: dec("1.5")}}},
		"BookSnapshot.bands[0].ask_capped is -1":         &BookSnapshot{Meta: meta(), Bands: []*DepthBand{{BasisPoints: 10, BidQuantity: dec("1"), AskQuantity: dec("1"), AskCapped: dec("-1")}}},
		"BookSnapshot.bids[1].price is 3":                &BookSnapshot{Meta: meta(), Bids: []*Level{{Price: dec("2"), Quantity: dec("1")}, {Price: dec("3"), Quantity: dec("1")}}},
		"Bar.end is":                                     &Bar{Meta: meta(), Start: at, End: at, Volume: dec("1")},
		"Bar.high is 1":                                  &Bar{Meta: meta(), Start: at - 1, End: at, Volume: dec("1"), High: dec("1"), Low: dec("2")},
		"Bar.close is 9":                                 &Bar{Meta: meta(), Start: at - 1, End: at, Volume: dec("1"), High: dec("2"), Low: dec("1"), Close: dec("9")},
		"Bar.volume is absent":                           &Bar{Meta: meta(), Start: at - 1, End: at},
		"Funding.rate is absent":                         &Funding{Meta: meta(), Asset: "BTC"},
		"OpenInterest.unit is QUANTITY_UNIT_UNSPECIFIED": &OpenInterest{Meta: meta(), Quantity: dec("1"), Asset: "BTC"},
		"Liquidation.position_side is SIDE_UNSPECIFIED":  &Liquidation{Meta: meta(), Quantity: dec("1"), Asset: "BTC"},
		`Mark.asset is ""`:                               &Mark{Meta: meta(), MarkPrice: dec("1")},
		"OptionQuote.mark_iv is":                         &OptionQuote{Meta: meta(), Underlying: "BTC", Strike: dec("1"), Expiry: at, Right: OptionRight_OPTION_RIGHT_PUT, MarkIv: new(math.NaN())},
		"Transfer.price_time is 0":                       &Transfer{Meta: meta(), Chain: "c", Asset: "a", TxHash: "x", Amount: dec("1"), UsdValue: dec("1")},
		`FeedHealth.channel is ""`:                       &FeedHealth{Meta: meta()},
		`VenueStatus.state is "up"`:                      &VenueStatus{Meta: meta(), State: "up", Reporter: "probe"},
		`Earnings.period_end is "2022-13-01"`:            &Earnings{Meta: meta(), PeriodEnd: "2022-13-01", Basis: 1},
		"FundamentalFact.value is absent":                &FundamentalFact{Meta: meta(), Concept: "c", PeriodEnd: "2022-09-30", Filed: "2022-10-28"},
		`MacroObservation.region is ""`:                  &MacroObservation{Meta: meta(), Series: "s", Date: "2022-09-01"},
		"Article.first_seen_at is 0":                     &Article{Meta: meta(), Title: "t"},
		"Event.evidence is absent":                       &Event{Id: "a", Detector: "d", Type: "t", DedupKey: "k", Severity: Low, Status: Open, EventTime: at},
		`Event.severity is "huge"`:                       &Event{Id: "a", Detector: "d", Type: "t", DedupKey: "k", Severity: "huge", Status: Open, EventTime: at, Evidence: &Evidence{}},
		"Analysis.coverage is 2":                         &Analysis{Meta: meta(), Worker: "w", Coverage: 2},
		`PollState.job is ""`:                            &PollState{Source: "edgar"},
		`Heartbeat.instance is ""`:                       &Heartbeat{},
		"Trial.end is 0":                                 &Trial{Study: "s"},
		`TrialResult.state is ""`:                        &TrialResult{Study: "s"},
	}
}
