package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// position is a place in a topic as flags give it.
type position struct {
	// Exactly one is used: at ("beginning" or "end"), back (so many before the end), offset, or when.
	at     string
	back   int64
	offset int64
	when   time.Time
}

// Times are those of publication: Kafka finds no others.
const (
	stretchHelp  = "beginning, end, an offset, or a time of publication: 2026-01-02, 2026-01-02T03:04:05Z or @-1h"
	positionHelp = stretchHelp + "; or -N, N before the end"
)

// parsePosition reads a position; now is what @-1h counts from.
func parsePosition(text string, now time.Time) (position, error) {
	switch {
	case text == "beginning" || text == "start" || text == "end":
		return position{at: strings.Replace(text, "start", "beginning", 1)}, nil
	case strings.HasPrefix(text, "@-"):
		d, err := time.ParseDuration(text[2:])
		if err != nil {
			return position{}, usage("position %q: it must be like @-1h: %w", text, err)
		}
		return position{when: now.Add(-d)}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, strings.TrimPrefix(text, "@")); err == nil {
			return position{when: t}, nil
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return position{}, usage("position %q: it must be %s", text, positionHelp)
	}
	if n < 0 || text == "-0" {
		return position{back: -n}, nil
	}
	return position{offset: n, at: "offset"}, nil
}

// span is a stretch of one partition, [from, to).
type span struct{ from, to int64 }

// spans resolves two positions to offsets of every partition. partition < 0 takes all.
func spans(ctx context.Context, cl *kgo.Client, topic string, partition int32, from, to position) (map[int32]span, error) {
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("asking for the start of %s: %w", topic, err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("asking for the end of %s: %w", topic, err)
	}
	if err := starts[topic][-1].Err; err != nil { // the topic itself
		return nil, fmt.Errorf("asking for the start of %s: %w", topic, err)
	}
	out := map[int32]span{}
	for _, o := range starts.Offsets()[topic] {
		if partition >= 0 && o.Partition != partition {
			continue
		}
		end, ok := ends.Lookup(topic, o.Partition)
		if !ok || end.Err != nil {
			return nil, fmt.Errorf("asking for the end of %s/%d: %w", topic, o.Partition, end.Err)
		}
		out[o.Partition] = span{o.At, end.Offset}
	}
	if len(out) == 0 {
		if err := starts.Error(); err != nil {
			return nil, fmt.Errorf("looking up %s (`tapewatch topics apply` makes the topics): %w", topic, err)
		}
		return nil, usage("topic %s has no partition %d", topic, partition)
	}
	lows, err := resolve(ctx, adm, topic, from, out)
	if err != nil {
		return nil, err
	}
	highs, err := resolve(ctx, adm, topic, to, out)
	if err != nil {
		return nil, err
	}
	for p, s := range out {
		out[p] = span{min(max(lows[p], s.from), s.to), min(max(highs[p], s.from), s.to)}
	}
	return out, nil
}

// resolve turns a position into one offset per partition, not yet clamped to what the partition holds.
func resolve(ctx context.Context, adm *kadm.Client, topic string, pos position, all map[int32]span) (map[int32]int64, error) {
	out := map[int32]int64{}
	if !pos.when.IsZero() {
		found, err := adm.ListOffsetsAfterMilli(ctx, pos.when.UnixMilli(), topic)
		if err != nil {
			return nil, fmt.Errorf("asking for the offsets of %s at %v: %w", topic, pos.when, err)
		}
		for p := range all {
			o, ok := found.Lookup(topic, p)
			if !ok || o.Err != nil {
				return nil, fmt.Errorf("asking for the offset of %s/%d at %v: %w", topic, p, pos.when, o.Err)
			}
			out[p] = o.Offset
			if o.Offset < 0 { // nothing so late
				out[p] = all[p].to
			}
		}
		return out, nil
	}
	for p, s := range all {
		switch pos.at {
		case "beginning":
			out[p] = s.from
		case "end":
			out[p] = s.to
		case "offset":
			out[p] = pos.offset
		default:
			out[p] = s.to - pos.back
		}
	}
	return out, nil
}
