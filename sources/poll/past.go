package poll

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// maxTail bounds how far back records are looked for that were published after the last state was written: a crash leaves
// seconds, and who stays down longer than this has published nothing meanwhile.
const maxTail = 24 * time.Hour

// KafkaPast finds what the runs before left of a source: its states on state.sources, and on its data topics what it
// published after them. Together they are exact: a state is written only when all before it is acknowledged.
func KafkaPast(c cluster.Config, schemaType func(id uint32, index []int) (string, error)) func(ctx context.Context, source string, topics []schemas.Topic) (Past, error) {
	return func(ctx context.Context, source string, topics []schemas.Topic) (Past, error) {
		cl, err := kgo.NewClient(c.Options(nil)...)
		if err != nil {
			return Past{}, fmt.Errorf("connecting to Kafka: %w", err)
		}
		defer cl.Close()
		p := &pastReader{cluster: c, admin: kadm.NewClient(cl), source: source, dec: schemas.Decoder{SchemaType: schemaType}}
		past, err := p.states(ctx)
		if err != nil {
			return Past{}, err
		}
		since := now().Add(-maxTail)
		if len(past.States) > 0 {
			past.Ticked = since // whatever Ticks the bound hides lie before it
		}
		for _, t := range topics {
			if t.Name == schemas.VenuesStatus.Name {
				continue // what it says is the present state: saying it again does no harm, and its health records are many
			}
			if err := p.published(ctx, t, since, &past); err != nil {
				return Past{}, err
			}
		}
		return past, nil
	}
}

type pastReader struct {
	cluster cluster.Config
	admin   *kadm.Client
	source  string
	dec     schemas.Decoder
}

// states reads the last state of every job.
func (p *pastReader) states(ctx context.Context) (Past, error) {
	last := map[string]*schemas.PollState{}
	err := p.read(ctx, schemas.SourcesState, 0, func(m schemas.Message) {
		if s, ok := m.(*schemas.PollState); ok && s.GetSource() == p.source {
			last[s.GetJob()] = proto.CloneOf(s)
		}
	})
	return Past{States: slices.SortedFunc(maps.Values(last), stateOrder)}, err
}

// published adds what the source wrote to a topic since a moment by the log's clock.
func (p *pastReader) published(ctx context.Context, t schemas.Topic, since schemas.Time, past *Past) error {
	return p.read(ctx, t, since, func(m schemas.Message) {
		switch {
		case schemas.SourceOf(m) != p.source:
		case schemas.TypeOf(m) == "Tick":
			past.Ticked = max(past.Ticked, schemas.TimeOf(m))
		case schemas.MetaOf(m).GetId() != "":
			past.Published = append(past.Published, identity(t, m))
		}
	})
}

// read hands the messages of a topic since a moment to fn; since 0 is the log's start. A topic that does not exist is empty.
func (p *pastReader) read(ctx context.Context, t schemas.Topic, since schemas.Time, fn func(schemas.Message)) error {
	name := p.cluster.Topic(t.Name)
	from, err := p.admin.ListStartOffsets(ctx, name)
	if since > 0 && err == nil {
		from, err = p.admin.ListOffsetsAfterMilli(ctx, int64(since)/1e6, name)
	}
	if err != nil {
		return fmt.Errorf("looking up where to read %s from: %w", name, err)
	}
	ends, err := p.admin.ListEndOffsets(ctx, name)
	if err != nil {
		return fmt.Errorf("looking up the end of %s: %w", name, err)
	}
	var errs []error
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := from.Lookup(name, end.Partition)
		if end.Err != nil || !ok || start.Err != nil {
			return
		}
		errs = append(errs, stream.ReadRange(ctx, p.cluster, name, end.Partition, start.Offset, end.Offset, func(r *kgo.Record) error {
			typ, content := t.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
			if m, err := p.dec.Decode(typ, content, r.Value); err == nil { // what cannot be read is not ours
				fn(m)
			}
			return nil
		}))
	})
	return errors.Join(errs...)
}
