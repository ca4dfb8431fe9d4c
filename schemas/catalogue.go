package schemas

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// KeyKind says what a topic's records are keyed by.
type KeyKind string

// The kinds of key.
const (
	KeyVenueSymbol KeyKind = "venue:symbol"
	KeyPair        KeyKind = "asset pair"
	KeyBasket      KeyKind = "basket"
	KeyAsset       KeyKind = "base asset"
	KeyUnderlying  KeyKind = "underlying"
	KeyChainAsset  KeyKind = "chain:asset"
	KeyVenue       KeyKind = "venue"
	KeySymbol      KeyKind = "symbol"
	KeyRegion      KeyKind = "region"
	KeyEvent       KeyKind = "event key"
	KeyStudy       KeyKind = "study"
	KeyInstance    KeyKind = "instance"
	KeySource      KeyKind = "as the source"
	KeyScope       KeyKind = "scope"
	KeyProcessor   KeyKind = "processor key"
	KeyJob         KeyKind = "source/job"
)

// Topic is one entry of the catalogue.
type Topic struct {
	// Name without the configured prefix.
	Name string
	Key  KeyKind
	// Types are the short names of the record types; the first is the one that a record without a ce_type header has.
	Types []string
	// Partitions is the default count; fixed once created.
	Partitions int32
	// Retention of a deleted-by-time topic; 0 for a compacted one.
	Retention time.Duration
	// Compacted topics keep the last record of each key.
	Compacted bool
	// Lean topics are so fast that records of the first type carry no headers at all (docs/adr).
	Lean    bool
	Summary string
}

// DefaultPartitions is the partition count of the catalogue's keyed topics.
const DefaultPartitions = 8

const day = 24 * time.Hour

// Topics of DESIGN section 4, in reading order.
var (
	MarketTrades      = Topic{Name: "market.trades", Key: KeyVenueSymbol, Types: []string{"Trade", "Tick", "Gap"}, Retention: 90 * day, Lean: true, Summary: "Every trade."}
	MarketQuotes      = Topic{Name: "market.quotes", Key: KeyVenueSymbol, Types: []string{"Quote", "Tick", "Gap"}, Retention: 7 * day, Lean: true, Summary: "Best bid and offer."}
	MarketCrossquotes = Topic{Name: "market.crossquotes", Key: KeyPair, Types: []string{"Quote", "Tick", "Gap"}, Retention: 7 * day, Lean: true, Summary: "Quotes of every venue, by asset pair."}
	MarketBooks       = Topic{Name: "market.books", Key: KeyVenueSymbol, Types: []string{"BookSnapshot", "Tick", "Gap"}, Retention: 30 * day, Lean: true, Summary: "Top of the book and the depth by distance from the mid, conflated."}
	MarketBars        = Topic{Name: "market.bars", Key: KeyVenueSymbol, Types: []string{"Bar", "Tick", "Gap"}, Retention: 365 * day, Lean: true, Summary: "Bars of 1 s, 1 m, 1 h and 1 d."}
	MarketBaskets     = Topic{Name: "market.baskets", Key: KeyBasket, Types: []string{"Bar", "Tick", "Gap"}, Retention: 365 * day, Lean: true, Summary: "Bars of each member of a basket."}
	MarketDerivatives = Topic{Name: "market.derivatives", Key: KeyAsset, Types: []string{"Mark", "Funding", "OpenInterest", "Liquidation", "Tick", "Gap"}, Retention: 365 * day, Summary: "Funding, open interest, liquidations and marks of every venue."}
	MarketOptions     = Topic{Name: "market.options", Key: KeyUnderlying, Types: []string{"OptionQuote", "Tick", "Gap"}, Retention: 30 * day, Summary: "Option quotes with volatilities and greeks."}
	ChainTransfers    = Topic{Name: "chain.transfers", Key: KeyChainAsset, Types: []string{"Transfer", "Tick", "Gap"}, Retention: 90 * day, Summary: "Large transfers on chains."}
	VenuesStatus      = Topic{Name: "venues.status", Key: KeyVenue, Types: []string{"FeedHealth", "VenueStatus", "Tick", "Gap"}, Retention: 90 * day, Summary: "Health of feeds, state of venues."}
	ReferenceEquities = Topic{Name: "reference.equities", Key: KeySymbol, Types: []string{"Earnings", "FundamentalFact", "Bar", "Tick", "Gap"}, Retention: 3650 * day, Summary: "Earnings, filed facts and daily bars."}
	MacroObservations = Topic{Name: "macro.observations", Key: KeyRegion, Types: []string{"MacroObservation", "Tick", "Gap"}, Retention: 3650 * day, Summary: "Macroeconomic series with vintages."}
	NewsArticles      = Topic{Name: "news.articles", Key: KeySymbol, Types: []string{"Article", "Tick", "Gap"}, Retention: 30 * day, Summary: "Articles, one record per linked symbol."}
	AnalysisResults   = Topic{Name: "analysis.results", Key: KeySymbol, Types: []string{"Analysis", "Tick"}, Retention: 30 * day, Summary: "What the analysis workers publish."}
	Events            = Topic{Name: "events", Key: KeyEvent, Types: []string{"Event", "Tick"}, Retention: 365 * day, Summary: "Anomalies: opened, updated, resolved."}
	EventsScopes      = Topic{Name: "events.scopes", Key: KeyScope, Types: []string{"Event", "Tick"}, Retention: 30 * day, Summary: "Events by the asset and by the market that they concern."}
	DeadLetters       = Topic{Name: "dlq", Key: KeySource, Retention: 7 * day, Summary: "Records that could not be processed, as they came."}
	JobsTrials        = Topic{Name: "jobs.trials", Key: KeyStudy, Types: []string{"Trial"}, Retention: 30 * day, Summary: "Back-test trials to run."}
	JobsResults       = Topic{Name: "jobs.results", Key: KeyStudy, Types: []string{"TrialResult"}, Retention: 90 * day, Summary: "Results of trials."}
	SourcesState      = Topic{Name: "state.sources", Key: KeyJob, Types: []string{"PollState"}, Compacted: true, Summary: "What polling sources remember."}
	Health            = Topic{Name: "health", Key: KeyInstance, Types: []string{"Heartbeat"}, Compacted: true, Summary: "Signs of life of every process."}
)

// Catalogue returns every fixed topic; state and checkpoint topics follow the registered processors (StateTopic, CheckpointTopic).
func Catalogue() []Topic {
	all := []Topic{
		MarketTrades, MarketQuotes, MarketCrossquotes, MarketBooks, MarketBars, MarketBaskets, MarketDerivatives, MarketOptions,
		ChainTransfers, VenuesStatus, ReferenceEquities, MacroObservations, NewsArticles, AnalysisResults, Events, EventsScopes, DeadLetters,
		JobsTrials, JobsResults, SourcesState, Health,
	}
	for i := range all {
		all[i].Partitions = DefaultPartitions
		if all[i].Name == Health.Name || all[i].Name == SourcesState.Name {
			all[i].Partitions = 1
		}
	}
	return all
}

// CheckpointTopic is the topic of a processor's checkpoints; it has the partition count of the processor's input and is kept as long.
func CheckpointTopic(processor string, input Topic) Topic {
	return Topic{
		Name: "checkpoints." + processor, Key: KeyProcessor, Types: []string{"KeyState", "Marker"}, Partitions: DefaultPartitions,
		Retention: input.Retention, Summary: "The whole state of " + processor + ", once a day of its time and at each change of configuration.",
	}
}

// StateTopic is the topic of a processor's snapshots; it has the partition count of the processor's input.
func StateTopic(processor string) Topic {
	return Topic{
		Name: "state." + processor, Key: KeyProcessor, Types: []string{"KeyState", "Marker"}, Partitions: DefaultPartitions, Compacted: true,
		Summary: "Snapshots of " + processor + ".",
	}
}

// TopicByName finds a fixed topic of the catalogue.
func TopicByName(name string) (Topic, error) {
	for _, t := range Catalogue() {
		if t.Name == name {
			return t, nil
		}
	}
	return Topic{}, fmt.Errorf("topic %q is not in the catalogue: see `tapewatch topics list`", name)
}

// Has reports whether the topic carries a record type.
func (t Topic) Has(typeName string) bool {
	return slices.Contains(t.Types, typeName)
}

// KeyOf returns the record key that a message has on the topic. Ticks have none: they go to every partition.
func (t Topic) KeyOf(m Message) string {
	if key, ok := ownKey(t.Key, m); ok {
		return key
	}
	meta := MetaOf(m)
	switch t.Key {
	case KeyVenueSymbol, KeyChainAsset:
		if meta == nil {
			return ""
		}
		return meta.Venue + ":" + meta.Symbol
	case KeyVenue:
		return meta.GetVenue()
	default:
	}
	// A Gap on a topic of another key names that key as its symbol.
	return meta.GetSymbol()
}

// ownKey returns the key of messages that carry it in a field of their own.
func ownKey(kind KeyKind, m Message) (string, bool) {
	switch m := m.(type) {
	case *Quote:
		return m.GetPair(), kind == KeyPair
	case *Bar:
		return m.GetBasket(), kind == KeyBasket
	case *Transfer:
		return m.GetChain() + ":" + m.GetAsset(), kind == KeyChainAsset
	case *OptionQuote:
		return m.GetUnderlying(), kind == KeyUnderlying
	case *MacroObservation:
		return m.GetRegion(), kind == KeyRegion
	case *Event:
		if kind == KeyScope {
			return m.GetScope(), true
		}
		return m.GetKey(), true
	case *Heartbeat:
		return m.GetInstance(), true
	case *PollState:
		return m.GetSource() + "/" + m.GetJob(), true
	case interface{ GetAsset() string }:
		return m.GetAsset(), kind == KeyAsset
	case interface{ GetStudy() string }:
		return m.GetStudy(), true
	}
	return "", false
}

// KeyMatches reports whether a record key is the one that KeyOf gives, without building it where records are many.
func (t *Topic) KeyMatches(key []byte, m Message) bool {
	if t.Key == KeyVenueSymbol {
		meta := MetaOf(m)
		n := len(meta.GetVenue())
		return len(key) == n+1+len(meta.GetSymbol()) && string(key[:n]) == meta.GetVenue() && key[n] == ':' && string(key[n+1:]) == meta.GetSymbol()
	}
	return string(key) == t.KeyOf(m)
}

// Carries reports whether a message's type belongs on the topic.
func (t *Topic) Carries(m Message) bool {
	switch m.(type) {
	case *Trade:
		return t.Types[0] == "Trade"
	case *Bar:
		return t.Types[0] == "Bar" || t.Has("Bar")
	}
	return t.Has(TypeOf(m))
}

func newOf(d protoreflect.MessageDescriptor) (Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("finding the Go type of %s: %w", d.FullName(), err)
	}
	return t.New().Interface(), nil
}
