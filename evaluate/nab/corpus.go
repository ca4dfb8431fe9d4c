package nab

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A dataset is one file of the benchmark.
type dataset struct {
	name    string
	at      []int64 // ns since the epoch
	values  []float64
	windows []window
}

// load reads every series of a folder that has labels, in the order of their names. The folder holds data/GROUP/NAME.csv, gzipped
// or not, and labels/combined_windows.json.
func load(dir string) ([]dataset, error) {
	text, err := os.ReadFile(filepath.Join(dir, "labels", "combined_windows.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the windows: %w", err)
	}
	labels := map[string][][2]string{}
	if err := json.Unmarshal(text, &labels); err != nil {
		return nil, fmt.Errorf("reading the windows: %w", err)
	}
	names := make([]string, 0, len(labels))
	for n := range labels {
		names = append(names, n)
	}
	sort.Strings(names)
	var out []dataset
	for _, n := range names {
		s, err := loadSeries(dir, n)
		if errors.Is(err, os.ErrNotExist) {
			continue // a label without its series
		}
		if err == nil {
			err = s.label(labels[n])
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", n, err)
		}
		out = append(out, *s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("folder %s has labels for %d series and holds none of them", dir, len(names))
	}
	return out, nil
}

func loadSeries(dir, name string) (*dataset, error) {
	path := filepath.Join(dir, "data", filepath.FromSlash(name))
	file, err := os.Open(path)
	var in io.Reader = file
	if errors.Is(err, os.ErrNotExist) {
		if file, err = os.Open(path + ".gz"); err == nil {
			in, err = gzip.NewReader(file)
		}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s := &dataset{name: strings.TrimSuffix(name, ".csv")}
	lines := bufio.NewScanner(in)
	lines.Scan() // the header
	for lines.Scan() {
		stamp, figure, _ := strings.Cut(lines.Text(), ",")
		at, err := time.Parse(time.DateTime, stamp)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(s.at)+2, err)
		}
		v, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(s.at)+2, err)
		}
		s.at = append(s.at, at.UnixNano())
		s.values = append(s.values, v)
	}
	return s, lines.Err()
}

// label turns the windows' times into rows.
func (s *dataset) label(windows [][2]string) error {
	for _, w := range windows {
		var rows [2]int
		for i, text := range w {
			at, err := time.Parse("2006-01-02 15:04:05.000000", text)
			if err != nil {
				return fmt.Errorf("window: %w", err)
			}
			after := sort.Search(len(s.at), func(k int) bool { return s.at[k] > at.UnixNano()-int64(1-i) })
			rows[i] = after - i // the first row at or after the start, the last at or before the end
		}
		if rows[0] > rows[1] {
			return fmt.Errorf("window %v holds no row", w)
		}
		s.windows = append(s.windows, window{rows[0], rows[1]})
	}
	return nil
}
