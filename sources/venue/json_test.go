package venue

import (
	"testing"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
)

func TestTimes(t *testing.T) {
	const want = schemas.Time(1_618_678_142_557_535_000)
	var j JSON
	for _, c := range []struct {
		raw  string
		want schemas.Time // -1 is an error
	}{
		{`"2021-04-17T16:49:02.557535Z"`, want},
		{`"2021-04-17T18:49:02.557535+02:00"`, want},
		{`"2021-04-17T16:49:02.557535001Z"`, want + 1},
		{`"2021-04-17T16:49:02Z"`, 1_618_678_142_000_000_000},
		{`""`, 0},
		{`null`, 0},
		{`"1970-01-01T00:00:00Z"`, 0},
		{`"2021-04-17 16:49:02"`, -1},
		{`"1980-04-17T16:49:02Z"`, -1},
		{`"9999-04-17T16:49:02Z"`, -1},
		{`"0001-01-01T00:00:00Z"`, 0},
	} {
		got, err := Stamp(fastjson.MustParse(`{"t":`+c.raw+`}`), "t")
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("Stamp %s: %v, %v, want %v", c.raw, got, err, c.want)
		}
	}
	for _, c := range []struct {
		raw  string
		want schemas.Time
	}{
		{`"1618678142.557535"`, want},
		{`1618678142.557535`, want},
		{`"1618678142"`, 1_618_678_142_000_000_000},
		{`"0"`, 0},
		{`"1618678142557"`, -1},
		{`"16186781425575350"`, -1},
		{`"-5"`, 0},
		{`"1e9"`, -1},
		{`"x"`, -1},
		{`[]`, -1},
	} {
		got, err := j.Seconds(fastjson.MustParse(c.raw), "t")
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("Seconds %s: %v, %v, want %v", c.raw, got, err, c.want)
		}
	}
}

func TestPair(t *testing.T) {
	if base, quote, err := Pair("1INCH/USD", "/"); base != "1INCH" || quote != "USD" || err != nil {
		t.Error(base, quote, err)
	}
	for _, s := range []string{"", "BTC", "BTC-", "-USD", "btc-USD", "BTC-USD-PERP", "BTC USD", "AAAAAAAAAAAAAAAAAAAAA-USD"} {
		if _, _, err := Pair(s, "-"); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// A rate is kept as written while it fits, and rounded to 15 decimals when it does not.
func TestRate(t *testing.T) {
	for in, want := range map[string]string{
		`{"r":0.000135046879166667}`: "0.000135046879166667", `{"r":-3.429315625e-06}`: "-0.000003429315625",
		`{"r":1.234567890123456e-06}`: "0.000001234567890", `{"r":-1.234567890123456e-06}`: "-0.000001234567890", `{"r":1e-30}`: "0.000000000000000",
		`{"r":null}`: "", `{}`: "", `{"r":1e30}`: "error", `{"r":"1.234567890123456e-06"}`: "error", `{"r":[1]}`: "error",
	} {
		var j JSON
		v, err := j.Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		got := "error"
		if r, err := j.Rate(v, "r"); err == nil {
			if got = ""; r.Set {
				got = r.Decimal().Text()
			}
		}
		if got != want {
			t.Errorf("%s gives %s, want %s", in, got, want)
		}
	}
}
