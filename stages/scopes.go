package stages

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func init() {
	processor.Register(processor.Spec[scopesConfig]{
		Name:     "scopes",
		Kind:     processor.Stage,
		Summary:  "Events keyed by each asset that they concern and by the whole market, so that the alarms of many keys meet.",
		Version:  1,
		Input:    schemas.Events,
		Output:   schemas.EventsScopes,
		Step:     time.Second,
		Defaults: scopesConfig{MinSeverity: schemas.Medium, Money: []string{"USD", "USDT", "USDC", "FDUSD", "DAI", "EUR", "GBP", "JPY", "KRW"}},
		New:      func(c scopesConfig, _ processor.Key) processor.Processor { return &scopes{cfg: c} },
	})
}

// ofIncidents is the detector whose events are not grouped: they are the groups.
const ofIncidents = "incidents"

// scopesConfig is the configuration of scopes.
type scopesConfig struct {
	MinSeverity string   `koanf:"min_severity" json:"min_severity" doc:"Least severity that is passed on: low, medium, high or critical. What ends an episode is, whatever it was."`
	Money       []string `koanf:"money" json:"money" doc:"Assets that others are priced in: an event of a pair is not about them."`
}

// Validate checks the settings.
func (c scopesConfig) Validate() error {
	if schemas.SeverityRank(c.MinSeverity) == 0 {
		return fmt.Errorf("scopes.min_severity is %q: it must be low, medium, high or critical", c.MinSeverity)
	}
	return nil
}

// scopes has no state: what it passes on depends on the event alone.
type scopes struct{ cfg scopesConfig }

func (s *scopes) OnRecord(rec schemas.Record, emit processor.Emit) {
	e, ok := rec.Message.(*schemas.Event)
	if !ok || e.Detector == ofIncidents {
		return
	}
	if e.Status != schemas.Resolved && schemas.SeverityRank(e.Severity) < schemas.SeverityRank(s.cfg.MinSeverity) {
		return
	}
	// Evidence and description stay with the event itself, to which the id leads.
	out := &schemas.Event{
		Id: e.Id, Detector: e.Detector, DetectorVersion: e.DetectorVersion, Type: e.Type, Severity: e.Severity, Status: e.Status, DedupKey: e.DedupKey,
		Key: e.Key, Venue: e.Venue, Symbol: e.Symbol, Assets: s.concerned(e), EventTime: e.EventTime, Evidence: &schemas.Evidence{}, Position: e.Position,
		ConfigHash: e.ConfigHash, Source: e.Source,
	}
	for _, asset := range out.Assets {
		out.Scope = schemas.ScopeAsset + asset
		emit(out)
	}
	out.Scope = schemas.ScopeMarket
	emit(out)
}

// concerned are the assets that an event is about: those that are not money, each once, or all when there is only money, as of a
// transfer of a stablecoin.
func (s *scopes) concerned(e *schemas.Event) []string {
	all := slices.Compact(slices.Sorted(slices.Values(e.Assets)))
	all = slices.DeleteFunc(all, func(a string) bool { return a == "" })
	goods := slices.DeleteFunc(slices.Clone(all), func(a string) bool { return slices.Contains(s.cfg.Money, a) })
	if len(goods) == 0 {
		return all
	}
	return goods
}

func (*scopes) OnTime(schemas.Time, processor.Emit) {}

const scopesLayout = 1

func (*scopes) AppendState(dst []byte) []byte { return append(dst, scopesLayout) }

func (*scopes) RestoreState(src []byte) error {
	if len(src) != 1 || src[0] != scopesLayout {
		return fmt.Errorf("state of scopes is % x: it must be its layout alone, %d", src, scopesLayout)
	}
	return nil
}
