// Package fred polls FRED and ALFRED of the Federal Reserve Bank of St. Louis: macroeconomic series with their vintages.
//
// Shape: https://fred.stlouisfed.org/docs/api/fred/series_observations.html. A key is free; about 120 requests a minute.
package fred

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Config is the FRED source.
type Config struct {
	Key       secret.Secret `koanf:"key" doc:"API key, free at fred.stlouisfed.org."`
	Series    []string      `koanf:"series" doc:"Series to follow, each ID:REGION:UNIT, such as UNRATE:US:percent. The region keys the topic. Where the service has no vintages (ALFRED), as of SP500, a value is known from when it is first seen."`
	Vintages  string        `koanf:"vintages_from" doc:"Day from which revisions are told apart, YYYY-MM-DD: what was public by then is one vintage of that day. The service takes at most 2000 vintages a request."`
	From      string        `koanf:"observations_from" doc:"First day of the observations, YYYY-MM-DD."`
	Every     time.Duration `koanf:"every" doc:"Time between two looks at a series."`
	PerMinute int           `koanf:"per_minute" doc:"Requests a minute, at most; the service allows 120."`
	URL       string        `koanf:"url" doc:"Address of the service."`
}

// Defaults follow prices, work, output, rates and fear in the United States.
func Defaults() Config {
	return Config{
		Series: []string{
			"CPIAUCSL:US:index", "PCEPILFE:US:index", "UNRATE:US:percent", "PAYEMS:US:thousand persons", "ICSA:US:persons", "GDPC1:US:billion 2017 USD",
			"INDPRO:US:index", "FEDFUNDS:US:percent", "DGS10:US:percent", "DGS2:US:percent", "T10Y2Y:US:percent",
			"VIXCLS:US:percent", "DCOILWTICO:US:USD/barrel", "DTWEXBGS:US:index",
		},
		Vintages: "2024-01-01", From: "2015-01-01", Every: time.Hour, PerMinute: 60, URL: "https://api.stlouisfed.org/fred",
	}
}

var seriesID = regexp.MustCompile(`^[A-Z0-9_]{1,50}$`)

// Validate checks the settings.
func (c Config) Validate() error {
	seen := map[string]bool{}
	for _, text := range c.Series {
		s, err := readSeries(text)
		if err != nil {
			return err
		}
		if seen[s.id] {
			return fmt.Errorf("fred.series names %s twice", s.id)
		}
		seen[s.id] = true
	}
	if len(c.Series) == 0 {
		return errors.New("fred.series is empty: it must name at least one series")
	}
	for name, day := range map[string]string{"vintages_from": c.Vintages, "observations_from": c.From} {
		if _, err := poll.Day(day, time.UTC); err != nil {
			return fmt.Errorf("fred.%s: %w", name, err)
		}
	}
	if c.PerMinute < 1 || c.PerMinute > 120 {
		return fmt.Errorf("fred.per_minute is %d: it must lie between 1 and 120", c.PerMinute)
	}
	return poll.Interval("fred.every", c.Every)
}

// series is one entry of the configuration.
type series struct{ id, region, unit string }

func readSeries(text string) (series, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || !seriesID.MatchString(parts[0]) || parts[1] == "" || parts[2] == "" {
		return series{}, fmt.Errorf("fred.series has %q: each must be ID:REGION:UNIT, such as UNRATE:US:percent", text)
	}
	return series{parts[0], parts[1], parts[2]}, nil
}
