package cases

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/schemas"
)

// origin is the moment that times count from: Monday, 2024-01-01 00:00 UTC.
const origin = schemas.Time(1704067200e9)

type timed struct {
	at schemas.Time
	m  schemas.Message
}

// parse reads the records section.
func parse(text string) ([]schemas.Message, error) {
	var all []timed
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		got, err := parseLine(line, len(all))
		if err != nil {
			return nil, fmt.Errorf("reading record line %d: %w", i+1, err)
		}
		all = append(all, got...)
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	out := make([]schemas.Message, len(all))
	for i := range all {
		out[i] = all[i].m
	}
	return out, nil
}

func parseLine(line string, n int) ([]timed, error) {
	if line[0] == '{' {
		return parseJSON(line)
	}
	f := strings.Fields(line)
	if len(f) < 2 {
		return nil, fmt.Errorf("%q: it must be TIME KIND …", line)
	}
	first, last, isRange := strings.Cut(f[0], "..")
	from, err := parseTime(first)
	if err != nil {
		return nil, err
	}
	args, kind, key := arguments{values: map[string]string{}}, "", ""
	for _, w := range f[1:] {
		switch k, v, ok := strings.Cut(w, "="); {
		case ok:
			args.values[k] = v
		case kind == "":
			kind = w
		default:
			key = w
		}
	}
	to, every := from, time.Second
	if isRange {
		if to, err = parseTime(last); err != nil {
			return nil, err
		}
		if every, err = time.ParseDuration(args.take("every")); err != nil || every <= 0 {
			return nil, fmt.Errorf("%q: a range needs every=DURATION", line)
		}
	}
	seed, _ := strconv.ParseUint(args.take("seed"), 10, 64)
	args.rng = rand.New(rand.NewPCG(seed, 0))
	var out []timed
	for at := from; at <= to; at = at.Add(every) {
		m, err := message(kind, key, at, n+len(out)+1, &args)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if args.err != nil {
			return nil, fmt.Errorf("%q: %w", line, args.err)
		}
		when := at
		if v := args.values["arrives"]; v != "" { // later in the log than its own time
			if when, err = parseTime(v); err != nil {
				return nil, err
			}
		}
		out = append(out, timed{when, m})
	}
	return out, nil
}

// parseTime reads H:MM:SS[.fraction]; hours may pass 24.
func parseTime(s string) (schemas.Time, error) {
	p := strings.Split(s, ":")
	if len(p) != 3 {
		return 0, fmt.Errorf("time %q: it must be HH:MM:SS", s)
	}
	h, err1 := strconv.Atoi(p[0])
	m, err2 := strconv.Atoi(p[1])
	sec, err3 := strconv.ParseFloat(p[2], 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return 0, fmt.Errorf("time %q: it must be HH:MM:SS", s)
	}
	return origin.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec*1e9+0.5)), nil
}

// arguments are the name=value words of a line.
type arguments struct {
	values map[string]string
	rng    *rand.Rand
	err    error
}

func (a *arguments) take(name string) string {
	v := a.values[name]
	delete(a.values, name)
	return v
}

// decimal reads x or x~r.
func (a *arguments) decimal(name string) *schemas.Decimal {
	v, ok := a.values[name]
	if !ok {
		return nil
	}
	base, spread, jitter := strings.Cut(v, "~")
	d, err := schemas.ParseDecimal([]byte(base))
	if err != nil {
		a.err = fmt.Errorf("%s: %w", name, err)
		return nil
	}
	if jitter {
		r, err := strconv.ParseFloat(spread, 64)
		if err != nil {
			a.err = fmt.Errorf("%s: spread %q is not a number", name, spread)
			return nil
		}
		d.Mantissa = int64(float64(d.Mantissa*1000) * (1 + r*(2*a.rng.Float64()-1)))
		d.Exponent -= 3
	}
	return d
}

func (a *arguments) time(name string) int64 {
	v := a.values[name]
	if v == "" {
		return 0
	}
	t, err := parseTime(v)
	if err != nil {
		a.err = fmt.Errorf("%s: %w", name, err)
	}
	return int64(t)
}

func (a *arguments) uint(name string) uint64 {
	v, ok := a.values[name]
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		a.err = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

func (a *arguments) source() string {
	if v := a.values["source"]; v != "" {
		return v
	}
	return "test"
}

func message(kind, key string, at schemas.Time, n int, a *arguments) (schemas.Message, error) {
	if kind == "tick" {
		return &schemas.Tick{Source: a.source(), Time: int64(at)}, nil
	}
	venue, symbol, ok := strings.Cut(key, ":")
	if !ok {
		return nil, fmt.Errorf("key %q: it must be venue:symbol", key)
	}
	meta := &schemas.Meta{Source: a.source(), Venue: venue, Symbol: symbol, EventTime: int64(at), ReceiveTime: int64(at), Id: a.values["id"], Sequence: a.uint("seq")}
	if meta.Id == "" {
		meta.Id = strconv.Itoa(n)
	}
	switch kind {
	case "trade":
		side := schemas.Side(schemas.Side_value["SIDE_"+strings.ToUpper(a.values["side"])])
		return &schemas.Trade{Meta: meta, Price: a.decimal("price"), Quantity: a.decimal("qty"), TakerSide: side, Fills: uint32(a.uint("fills"))}, nil
	case "quote":
		return &schemas.Quote{
			Meta: meta, BidPrice: a.decimal("bid"), BidQuantity: a.decimal("bid_qty"), AskPrice: a.decimal("ask"), AskQuantity: a.decimal("ask_qty"), Pair: a.values["pair"],
		}, nil
	case "gap":
		return &schemas.Gap{Meta: meta, Channel: a.values["channel"], From: a.time("from"), To: a.time("to"), Cause: "sequence"}, nil
	case "bar":
		return bar(meta, at, a)
	case "book":
		return book(meta, a)
	case "health":
		return health(meta, a), nil
	case "status":
		return status(meta, a)
	case "event":
		return event(key, at, a), nil
	}
	if m := reference(kind, meta, at, a); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("kind %q: it must be trade, quote, bar, book, health, status, event, earnings, funding, interest, mark, transfer, gap or tick", kind)
}

// bar is a bar that ends at the line's time, one minute long unless length= says otherwise.
func bar(meta *schemas.Meta, at schemas.Time, a *arguments) (schemas.Message, error) {
	length := time.Minute
	if v := a.values["length"]; v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			return nil, fmt.Errorf("length: %w", err)
		}
	}
	start := at.Add(-length)
	b := &schemas.Bar{
		Meta: meta, Start: int64(start), End: int64(at), Open: a.decimal("open"), High: a.decimal("high"), Low: a.decimal("low"), Close: a.decimal("close"),
		Volume: a.decimal("volume"), BuyVolume: a.decimal("buy"), Turnover: a.decimal("turnover"), Trades: uint32(a.uint("trades")),
		RushOrders: uint32(a.uint("rush")), Incomplete: a.values["incomplete"] == "true", Basket: a.values["basket"],
	}
	if b.Volume == nil {
		b.Volume = schemas.NewDecimal(0, 0)
	}
	meta.Id = strconv.FormatInt(int64(length/time.Second), 10) + "s/" + strconv.FormatInt(int64(start)/1e9, 10)
	return b, nil
}

// parseJSON reads a line of the replay format.
func parseJSON(line string) ([]timed, error) {
	var l struct {
		Topic, Key, Type string
		Value            json.RawMessage
	}
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	m, err := schemas.NewMessage(l.Type)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(l.Value, m); err != nil {
		return nil, fmt.Errorf("reading a %s: %w", l.Type, err)
	}
	return []timed{{schemas.TimeOf(m), m}}, nil
}
