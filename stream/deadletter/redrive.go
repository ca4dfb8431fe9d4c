package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// DefaultMaxRedrives is how often one record is sent back at most.
const DefaultMaxRedrives = 3

// RedriveOptions say which letters go back and how.
type RedriveOptions struct {
	// IDs are the letters; nothing else is sent.
	IDs []ID
	// MaxRedrives refuses letters that went back so often already, so that a record that stays poison cannot go round for
	// ever; 0 means DefaultMaxRedrives.
	MaxRedrives int
	// DryRun only says what would be sent.
	DryRun bool
}

// Redriven is what became of one letter.
type Redriven struct {
	ID ID
	// Topic, Partition and Offset are where it lies now. Where nothing was sent, Partition is the original one and Offset -1.
	Topic     string
	Partition int32
	Offset    int64
	// Refused says why it was not sent.
	Refused string
}

// Redrive sends the original records back to their topics, with their keys, values and headers and a count of how often
// this was done. A record with a key goes to the partition of its key, one without (a Tick) to the partition that it came
// from. The letters stay on the dlq topic: it is a log.
func Redrive(ctx context.Context, c cluster.Config, log *slog.Logger, o RedriveOptions) ([]Redriven, error) {
	if len(o.IDs) == 0 {
		return nil, errors.New("redriving: no dead letter is named: give at least one id, such as 3/1042")
	}
	ids := slices.Clone(o.IDs)
	slices.SortFunc(ids, func(a, b ID) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	ids = slices.Compact(ids)
	letters, err := fetch(ctx, c, log, ids)
	if err != nil {
		return nil, err
	}
	most := o.MaxRedrives
	if most == 0 {
		most = DefaultMaxRedrives
	}
	client, err := kgo.NewClient(append(c.Options(log), kgo.RecordPartitioner(byKey{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytes(MaxRecordBytes), kgo.RequiredAcks(kgo.AllISRAcks()))...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	var out []Redriven
	for _, l := range letters {
		d := Redriven{ID: l.ID, Topic: l.Topic, Partition: l.Partition, Offset: -1, Refused: refusal(c, l, most)}
		if d.Refused == "" && !o.DryRun {
			r, err := client.ProduceSync(ctx, l.original()).First()
			if err != nil {
				return out, fmt.Errorf("sending dead letter %s back to %s: %w", l.ID, l.Topic, err)
			}
			d.Partition, d.Offset = r.Partition, r.Offset
		}
		out = append(out, d)
	}
	return out, nil
}

// MaxRecordBytes is the largest dead letter that the dlq topic takes: the largest record that is decoded, and the headers.
const MaxRecordBytes = schemas.MaxRecordBytes + 1<<20

// BatchBytes is the ProducerBatchMaxBytes of clients that write dead letters: a letter is a little larger than its record,
// and one that its producer refused would be met again after every abort. It holds the letter of the largest record that the
// input topics take (1 MiB, see topics), and, compressed, a batch of it fits those topics too.
const BatchBytes = 2 << 20

// refusal says why a letter may not go back; "" when it may.
func refusal(c cluster.Config, l *Letter, most int) string {
	if l.Redrives >= most {
		return fmt.Sprintf("it was sent back %d times already, at most %d are allowed", l.Redrives, most)
	}
	if l.Source != "" {
		return fmt.Sprintf("it is a frame of source %s and was never on a topic: once it can be read, play the capture back", l.Source)
	}
	if l.Cut > 0 {
		return fmt.Sprintf("the letter holds the beginning of a record of %d bytes: the record itself lies at %s/%d offset %d", l.Cut, clip(l.Topic, 64), l.Partition, l.Offset)
	}
	name, ok := strings.CutPrefix(l.Topic, c.Prefix)
	if _, err := schemas.TopicByName(name); !ok || err != nil || name == schemas.DeadLetters.Name {
		return fmt.Sprintf("its topic %q is no input topic of the catalogue", clip(l.Topic, 64))
	}
	return ""
}

// original returns the record as it was, with the count of redrives.
func (l *Letter) original() *kgo.Record {
	return &kgo.Record{
		Topic: l.Topic, Partition: l.Partition, Key: l.Key, Value: l.Value,
		Headers: append(slices.Clone(l.Headers), kgo.RecordHeader{Key: headerRedrives, Value: strconv.AppendInt(nil, int64(l.Redrives)+1, 10)}),
	}
}

// byKey is the producers' partitioner for records with a key; a record without one keeps its partition.
type byKey struct{ keyed kgo.Partitioner }

func (b byKey) ForTopic(topic string) kgo.TopicPartitioner {
	return keyedTopic{b.keyed.ForTopic(topic)}
}

type keyedTopic struct{ kgo.TopicPartitioner }

// RequiresConsistency is true: neither a key's partition nor a Tick's may move because a leader is away.
func (keyedTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (k keyedTopic) Partition(r *kgo.Record, n int) int {
	if r.Key == nil {
		return int(r.Partition)
	}
	return k.TopicPartitioner.Partition(r, n)
}
