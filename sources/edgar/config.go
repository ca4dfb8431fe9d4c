// Package edgar polls SEC EDGAR: the facts that US companies file, as they were first filed, and their filings as news.
//
// Shapes: https://www.sec.gov/search-filings/edgar-application-programming-interfaces. No key; the SEC asks for a User-Agent
// with a mail address and at most 10 requests a second, and answers a breach with 403 and a block.
package edgar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/sources/poll"
)

// Config is the EDGAR source.
type Config struct {
	Companies []string      `koanf:"companies" doc:"Tickers to follow, each with its CIK after a colon where known (AAPL:320193); without it the CIK is looked up once."`
	Concepts  []string      `koanf:"concepts" doc:"Facts to publish, taxonomy/concept as in companyfacts."`
	Forms     []string      `koanf:"forms" doc:"Forms whose filings are published as articles. Amendments (10-K/A) go with their form."`
	Every     time.Duration `koanf:"every" doc:"Time between two looks at a company's list of filings; its facts are asked for only after a new filing."`
	PerMinute int           `koanf:"per_minute" doc:"Requests a minute to each of the two hosts, at most; the SEC allows 600 in all."`
	DataURL   string        `koanf:"data_url" doc:"Address of data.sec.gov."`
	FilesURL  string        `koanf:"files_url" doc:"Address of www.sec.gov."`
}

// Defaults follow five large companies by their statements.
func Defaults() Config {
	return Config{
		Companies: []string{"AAPL:320193", "MSFT:789019", "NVDA:1045810", "GOOGL:1652044", "AMZN:1018724"},
		Concepts: []string{
			"us-gaap/EarningsPerShareDiluted", "us-gaap/EarningsPerShareBasic", "us-gaap/WeightedAverageNumberOfDilutedSharesOutstanding",
			"us-gaap/RevenueFromContractWithCustomerExcludingAssessedTax", "us-gaap/Revenues", "us-gaap/SalesRevenueNet",
			"us-gaap/GrossProfit", "us-gaap/OperatingIncomeLoss", "us-gaap/NetIncomeLoss", "us-gaap/InterestExpense",
			"us-gaap/Assets", "us-gaap/AssetsCurrent", "us-gaap/Liabilities", "us-gaap/LiabilitiesCurrent", "us-gaap/StockholdersEquity",
			"us-gaap/LongTermDebt", "us-gaap/CashAndCashEquivalentsAtCarryingValue", "us-gaap/NetCashProvidedByUsedInOperatingActivities",
			"us-gaap/PaymentsToAcquirePropertyPlantAndEquipment", "dei/EntityCommonStockSharesOutstanding",
		},
		Forms: []string{"8-K", "10-Q", "10-K", "20-F", "6-K"}, Every: 10 * time.Minute, PerMinute: 300,
		DataURL: "https://data.sec.gov", FilesURL: "https://www.sec.gov",
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	seen := map[string]bool{}
	for _, text := range c.Companies {
		co, err := readCompany(text)
		if err != nil {
			return err
		}
		if seen[co.symbol] {
			return fmt.Errorf("edgar.companies names %s twice", co.symbol)
		}
		seen[co.symbol] = true
	}
	for _, concept := range c.Concepts {
		if taxonomy, name, ok := strings.Cut(concept, "/"); !ok || taxonomy == "" || name == "" {
			return fmt.Errorf("edgar.concepts has %q: each must be taxonomy/concept, such as us-gaap/NetIncomeLoss", concept)
		}
	}
	switch {
	case len(c.Companies) == 0:
		return errors.New("edgar.companies is empty: it must name at least one ticker")
	case len(c.Concepts) == 0:
		return errors.New("edgar.concepts is empty: it must name at least one")
	case c.PerMinute < 1 || c.PerMinute > 600:
		return fmt.Errorf("edgar.per_minute is %d: it must lie between 1 and 600", c.PerMinute)
	}
	return poll.Interval("edgar.every", c.Every)
}

// company is one entry of companies.
type company struct {
	symbol string
	cik    uint64 // 0 until it is looked up
}

func readCompany(text string) (company, error) {
	symbol, number, _ := strings.Cut(text, ":")
	c := company{symbol: strings.ToUpper(symbol)}
	if symbol == "" || strings.ContainsAny(symbol, "/ ") {
		return c, fmt.Errorf("edgar.companies has %q: each must be a ticker, or TICKER:CIK", text)
	}
	if number != "" {
		var err error
		if c.cik, err = strconv.ParseUint(number, 10, 34); err != nil || c.cik == 0 {
			return c, fmt.Errorf("edgar.companies has %q: the CIK must be a number of at most ten digits", text)
		}
	}
	return c, nil
}
