package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// tailOptions are the flags of tail.
type tailOptions struct {
	offset    string
	partition int32
	count     int
	exit      bool
	json      bool
	format    string
	filters   []string
	isolation string
}

func newTail(a *app) *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use: "tail TOPIC", Short: "Follow a topic, decoded; ^C ends", Args: someArgs(1, 1), ValidArgsFunction: completeTopics,
		Long: "Prints the records of a topic as they come, one a line: Kafka's time, partition and offset, key, type and the record in\n" +
			"JSON. -J prints lines that `tapewatch replay --in` reads. -f takes kcat's %t topic, %p partition, %o offset, %k key,\n" +
			"%T time in ms, %s the record, and %y its type. --filter chooses by fields of the record, with = != or ~ (contains).",
		Example: "tapewatch tail events -o beginning -e\ntapewatch tail market.trades -o -3 -e -f '%k %s' --filter meta.symbol=BTC-USDT",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.tail(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.offset, "offset", "o", "end", "where to begin: "+positionHelp)
	f.Int32VarP(&o.partition, "partition", "p", -1, "only this partition; -1 all")
	f.IntVarP(&o.count, "count", "n", 0, "end after so many records; 0 never")
	f.BoolVarP(&o.exit, "exit", "e", false, "end at the topic's present end")
	f.BoolVarP(&o.json, "json-lines", "J", false, "lines that replay reads")
	f.StringVarP(&o.format, "format", "f", "", "form of a line, with %t %p %o %k %T %s %y and \\n")
	f.StringArrayVar(&o.filters, "filter", nil, "only records with FIELD=TEXT, FIELD!=TEXT or FIELD~TEXT, may be repeated")
	f.StringVar(&o.isolation, "isolation", "read_committed", "read_committed or read_uncommitted")
	return cmd
}

func (a *app) tail(ctx context.Context, name string, o tailOptions) error {
	topic, err := catalogued(a, name)
	if err != nil {
		return err
	}
	show, err := newPrinter(ctx, a, topic, o)
	if err != nil {
		return err
	}
	from, err := parsePosition(o.offset, time.Now())
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(a.settings.Kafka.Options(a.log), kgo.KeepControlRecords(), kgo.FetchMaxWait(250*time.Millisecond), show.isolation)...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	full := a.settings.Kafka.Topic(topic.Name)
	all, err := spans(ctx, cl, full, o.partition, from, position{at: "end"})
	if err != nil {
		return err
	}
	starts, open := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, s := range all {
		starts[p] = kgo.NewOffset().At(s.from)
		if o.exit && s.from < s.to {
			open[p] = s.to
		}
	}
	if o.exit && len(open) == 0 {
		return nil
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{full: starts})
	return a.follow(ctx, cl, show, o, open)
}

// follow prints until the count is reached, or with -e until every partition has come to the end that it had. open are those
// that have not. The end is told by position, as the last offset of a topic written by transactions is a marker.
func (a *app) follow(ctx context.Context, cl *kgo.Client, show *printer, o tailOptions, open map[int32]int64) error {
	printed := 0
	for {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", show.topic.Name, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			end, bounded := open[r.Partition]
			past := o.exit && (!bounded || r.Offset >= end)
			if bounded && r.Offset+1 >= end {
				delete(open, r.Partition)
			}
			if past || r.Attrs.IsControl() {
				continue
			}
			did, err := show.print(r)
			if err != nil {
				return err
			}
			if did {
				printed++
			}
			if o.count > 0 && printed >= o.count {
				return show.flush()
			}
		}
		if err := show.flush(); err != nil {
			return err
		}
		if o.exit && len(open) == 0 {
			return nil
		}
	}
}

// condition is one --filter.
type condition struct {
	path []string
	op   string
	text string
}

func parseCondition(text string) (condition, error) {
	i := strings.IndexAny(text, "=!~")
	if i <= 0 {
		return condition{}, usage("flag --filter %q: it must be FIELD=TEXT, FIELD!=TEXT or FIELD~TEXT", text)
	}
	c := condition{path: strings.Split(text[:i], "."), op: text[i : i+1], text: text[i+1:]}
	if c.op == "!" {
		rest, ok := strings.CutPrefix(c.text, "=")
		if !ok {
			return condition{}, usage("flag --filter %q: ! must be followed by =", text)
		}
		c.text = rest
	}
	return c, nil
}

// applies reports whether some record of the topic can have the field. Maps and lists take any name; so does a topic of bytes.
func (c condition) applies(t schemas.Topic) bool {
	switch c.path[0] {
	case "key", "type", "partition":
		return true
	}
	return len(t.Types) == 0 || slices.ContainsFunc(t.Types, func(name string) bool {
		m, err := schemas.NewMessage(name)
		if err != nil {
			return false
		}
		at := m.ProtoReflect().Descriptor()
		for i, field := range c.path {
			f := at.Fields().ByJSONName(field)
			switch {
			case f == nil:
				return false
			case f.IsList(), f.IsMap():
				return true
			case f.Message() == nil:
				return i == len(c.path)-1
			}
			at = f.Message()
		}
		return true
	})
}

// holds judges a record in its JSON form; key, type and partition are fields too.
func (c condition) holds(record map[string]any) bool {
	var at any = record
	for _, name := range c.path {
		m, ok := at.(map[string]any)
		if !ok {
			return c.op == "!"
		}
		at = m[name]
	}
	text := ""
	if at != nil {
		text = fmt.Sprint(at)
	}
	switch c.op {
	case "=":
		return text == c.text
	case "!":
		return text != c.text
	}
	return strings.Contains(text, c.text)
}

// expand fills kcat's format.
func expand(format string, r *kgo.Record, typ, value string) string {
	return strings.NewReplacer(
		"%t", r.Topic, "%p", strconv.Itoa(int(r.Partition)), "%o", strconv.FormatInt(r.Offset, 10), "%k", string(r.Key),
		"%T", strconv.FormatInt(r.Timestamp.UnixMilli(), 10), "%s", value, "%y", typ, "%%", "%", `\n`, "\n", `\t`, "\t",
	).Replace(format)
}

// headerOf returns the type and content type that a record's headers give.
func headerOf(t schemas.Topic, r *kgo.Record) (typ, content string) {
	return t.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
}
