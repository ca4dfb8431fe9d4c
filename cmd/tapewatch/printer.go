package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// printer writes records of one topic to standard output.
type printer struct {
	topic     schemas.Topic
	options   tailOptions
	filters   []condition
	isolation kgo.Opt
	out       io.Writer
	pending   bytes.Buffer
	dec       schemas.Decoder
}

func newPrinter(ctx context.Context, a *app, topic schemas.Topic, o tailOptions) (*printer, error) {
	types, err := a.schemaTypes(ctx)
	if err != nil {
		return nil, err
	}
	p := &printer{topic: topic, options: o, out: a.stdout, dec: schemas.Decoder{SchemaType: types}}
	switch o.isolation {
	case "read_committed":
		p.isolation = kgo.FetchIsolationLevel(kgo.ReadCommitted())
	case "read_uncommitted":
		p.isolation = kgo.FetchIsolationLevel(kgo.ReadUncommitted())
	default:
		return nil, usage("flag --isolation is %q: it must be read_committed or read_uncommitted", o.isolation)
	}
	if o.count < 0 {
		return nil, usage("flag --count is %d: it must not be negative; 0 never ends", o.count)
	}
	if o.json && o.format != "" {
		return nil, usage("flags --json-lines and --format: only one can be given")
	}
	for _, f := range o.filters {
		c, err := parseCondition(f)
		if err != nil {
			return nil, err
		}
		if !c.applies(topic) {
			return nil, usage("flag --filter %q: no %s has such a field: it must be key, type, partition or a field as `tapewatch tail` prints it, such as meta.symbol", f, strings.Join(topic.Types, ", "))
		}
		p.filters = append(p.filters, c)
	}
	return p, nil
}

// print takes one record; false means that the filters left it out.
func (p *printer) print(r *kgo.Record) (bool, error) {
	typ, content := headerOf(p.topic, r)
	value := p.text(typ, content, r.Value)
	if len(p.filters) > 0 && !p.chosen(r, typ, value) {
		return false, nil
	}
	switch {
	case p.options.json:
		w := tape.NewJSONWriter(noClose{&p.pending})
		if err := w.Write(p.topic.Name, r.Partition, &tape.Record{Offset: r.Offset, Key: r.Key, Value: r.Value, Type: typ, ContentType: content}); err != nil {
			return false, err
		}
		return true, w.Close()
	case p.options.format != "":
		p.pending.WriteString(expand(p.options.format, r, typ, value))
		if !bytes.HasSuffix([]byte(p.options.format), []byte(`\n`)) {
			p.pending.WriteByte('\n')
		}
	default:
		key := string(r.Key)
		if r.Key == nil {
			key = "-"
		}
		fmt.Fprintf(&p.pending, "%s %d/%d %s %s %s\n", r.Timestamp.UTC().Format(time.RFC3339Nano), r.Partition, r.Offset, key, typ, value)
	}
	return true, nil
}

// text is the record in JSON, or its bytes and why it cannot be read.
func (p *printer) text(typ, content string, value []byte) string {
	if p.topic.Name == schemas.DeadLetters.Name || value == nil {
		return hex.EncodeToString(value)
	}
	m, err := p.dec.Decode(typ, content, value)
	if err != nil {
		return fmt.Sprintf("%x (%v)", value, err)
	}
	text, err := schemas.MarshalJSON(m)
	if err != nil {
		return fmt.Sprintf("%x (%v)", value, err)
	}
	return string(text)
}

func (p *printer) chosen(r *kgo.Record, typ, value string) bool {
	fields := map[string]any{}
	// What is no JSON has no fields; key, type and partition can be asked for still.
	if err := json.Unmarshal([]byte(value), &fields); err != nil {
		fields = map[string]any{}
	}
	fields["type"], fields["partition"] = typ, r.Partition
	if _, own := fields["key"]; !own {
		fields["key"] = string(r.Key)
	}
	for _, c := range p.filters {
		if !c.holds(fields) {
			return false
		}
	}
	return true
}

// flush writes what was printed.
func (p *printer) flush() error {
	_, err := p.pending.WriteTo(p.out)
	return err
}

type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }
