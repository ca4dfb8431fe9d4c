package evaluate

import (
	"encoding/json"
	"fmt"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// minutesOf reads the candles of several series onto one grid of minutes, from the first to the last of any of them.
func minutesOf(paths []string) (symbols []string, rows []row, err error) {
	all, err := ParseSeries(paths)
	if err != nil {
		return nil, nil, err
	}
	c, err := parseColumns(DefaultColumns)
	if err != nil {
		return nil, nil, err
	}
	s, err := openStream(all, c, Range{})
	if err != nil {
		return nil, nil, err
	}
	defer s.close()
	for {
		next, err := s.look(1)
		if err != nil {
			return nil, nil, err
		}
		if len(next) == 0 {
			break
		}
		rows = append(rows, next[0])
		s.take()
	}
	if len(rows) == 0 {
		return nil, nil, fmt.Errorf("data %v hold no candle: they must hold minutes", paths)
	}
	return symbolsOf(all), rows, nil
}

// with binds a detector's configuration with some of its settings changed.
func with(detector string, config []byte, change map[string]any) (*processor.Bound, error) {
	def, err := processor.Lookup(detector)
	if err != nil {
		return nil, err
	}
	base, err := def.BindJSON(config)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(base.ConfigJSON, &fields); err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", detector, err)
	}
	for name, v := range change {
		if _, ok := fields[name]; !ok {
			return nil, fmt.Errorf("configuring %s: it has no setting %s", detector, name)
		}
		fields[name] = v
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", detector, err)
	}
	return def.BindJSON(text)
}

// daysOf is a stretch of event time in days.
func daysOf(from, to schemas.Time) float64 { return to.Sub(from).Hours() / 24 }
