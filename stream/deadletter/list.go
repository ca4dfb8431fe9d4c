package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A Filter chooses letters; an empty field matches all.
type Filter struct {
	// Topic is the original topic, with or without the prefix.
	Topic     string
	Processor string
	Reason    string
	// Limit keeps the newest so many; 0 keeps all.
	Limit int
}

// Reasons are all that a letter can have; "shape" is an answer of a polled service that could not be read.
var Reasons = []string{"undecodable", "invalid", "type", "key", "future", "panic", "output_too_large", "shape"}

// Validate refuses a reason that no letter has.
func (f Filter) Validate() error {
	if f.Reason != "" && !slices.Contains(Reasons, f.Reason) {
		return fmt.Errorf("reason is %q: it must be one of %s", f.Reason, strings.Join(Reasons, ", "))
	}
	return nil
}

func (f Filter) matches(l *Letter, c cluster.Config) bool {
	return (f.Topic == "" || f.Topic == l.Topic || c.Topic(f.Topic) == l.Topic) &&
		(f.Processor == "" || f.Processor == l.Processor) &&
		(f.Reason == "" || f.Reason == l.Reason)
}

// A Listing is what List found.
type Listing struct {
	// Letters from the oldest to the newest, by the time that they were written.
	Letters []*Letter
	// Matched counts all letters that the filter chose, also those that the limit left out.
	Matched int
	// Foreign counts records on the topic that are no dead letters.
	Foreign int
}

// List reads the dlq topic from its start to its present end.
func List(ctx context.Context, c cluster.Config, log *slog.Logger, f Filter) (Listing, error) {
	type found struct {
		letter *Letter
		at     time.Time
	}
	var out Listing
	var all []found
	older := func(a, b found) int {
		if n := a.at.Compare(b.at); n != 0 {
			return n
		}
		if n := int(a.letter.ID.Partition) - int(b.letter.ID.Partition); n != 0 {
			return n
		}
		return int(a.letter.ID.Offset - b.letter.ID.Offset)
	}
	keep := func() {
		slices.SortFunc(all, older)
		if f.Limit > 0 && len(all) > f.Limit {
			all = slices.Delete(all, 0, len(all)-f.Limit)
		}
	}
	err := readAll(ctx, c, log, func(r *kgo.Record) {
		l, err := Decode(r)
		switch {
		case err != nil:
			out.Foreign++
			return
		case !f.matches(l, c):
			return
		}
		out.Matched++
		all = append(all, found{l, r.Timestamp})
		// Cut now and then, so that a limit also bounds the memory.
		if f.Limit > 0 && len(all) >= 2*f.Limit+1024 {
			keep()
		}
	})
	keep()
	for _, a := range all {
		out.Letters = append(out.Letters, a.letter)
	}
	return out, err
}

// ErrNoLetter is wrapped when an id names nothing on the dlq topic.
var ErrNoLetter = errors.New("no such dead letter")

// Show returns one letter.
func Show(ctx context.Context, c cluster.Config, log *slog.Logger, id ID) (*Letter, error) {
	letters, err := fetch(ctx, c, log, []ID{id})
	if err != nil {
		return nil, err
	}
	return letters[0], nil
}

// fetch returns the letters of the ids, in their order.
func fetch(ctx context.Context, c cluster.Config, log *slog.Logger, ids []ID) ([]*Letter, error) {
	out := make([]*Letter, 0, len(ids))
	for _, id := range ids {
		r, err := readOne(ctx, c, log, id)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, fmt.Errorf("%w: %s on %s", ErrNoLetter, id, c.Topic(schemas.DeadLetters.Name))
		}
		l, err := Decode(r)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}
