package poll

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// dying is a producer whose process is killed when it comes to note its state: the records are out, the note is not.
type dying struct{ *sources.Producer }

var errKilled = errors.New("killed")

func (d dying) Publish(topic schemas.Topic, m schemas.Message) error {
	if topic.Name == schemas.SourcesState.Name {
		return errKilled
	}
	return d.Producer.Publish(topic, m)
}

// On a real Kafka: runs that end well and runs that are killed between publishing and noting leave every record on the topic
// once. Without the memory (the control) they do not.
func TestRestartsOnKafka(t *testing.T) {
	c := cluster.Defaults()
	c.Brokers = strings.Split(testservices.Kafka(t), ",")
	for _, remember := range []bool{true, false} {
		c.Prefix = fmt.Sprintf("poll-%d-%v.", os.Getpid(), remember)
		createTopics(t, c)
		s := serve(t)
		p := &fake{name: "fake", url: s.URL, jobs: []string{"job", "other"}}
		o := options()
		if remember {
			o.Past = KafkaPast(c, nil)
		}
		s.on("other", says(items("o")))
		live := func(killed bool, published ...string) {
			s.on("job", says(items(published...)))
			producer, err := sources.NewProducer(c, sources.Defaults(), schemas.Encoder{}, nil, o.Shared)
			if err != nil {
				t.Fatal(err)
			}
			defer producer.Close()
			var out sources.Publisher = producer
			if killed {
				out = dying{producer}
			}
			src, err := New(p, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := src.Run(t.Context(), out); killed && remember != errors.Is(err, errKilled) || !killed && err != nil {
				t.Fatalf("killed: %v: %v", killed, err)
			}
			if err := producer.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		live(true, "a", "b") // the very first run is killed
		live(false, "a", "b", "c")
		s.on("job", says(items("never asked: it is not due")))
		live(false, "a", "b", "c")
		forget(t, c, remember) // an hour passes: the jobs are due again
		live(true, "a", "b", "c", "d")
		live(false, "a", "b", "c", "d", "e")
		got := onTopic(t, c)
		want := []string{"a", "b", "c", "d", "e", "o"}
		if once := slices.Equal(got, want); once != remember {
			t.Errorf("remember %v: the topic holds %v", remember, got)
		}
	}
}

func createTopics(t *testing.T, c cluster.Config) {
	t.Helper()
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range []schemas.Topic{schemas.MacroObservations, schemas.VenuesStatus, schemas.SourcesState} {
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 3, 1, nil, c.Topic(topic.Name)); err != nil {
			t.Fatal(err)
		}
	}
}

// forget writes every state again as if it were an hour older.
func forget(t *testing.T, c cluster.Config, remember bool) {
	t.Helper()
	if !remember {
		return
	}
	past, err := KafkaPast(c, nil)(t.Context(), "fake", []schemas.Topic{schemas.MacroObservations})
	if err != nil || len(past.States) != 2 || past.Ticked == 0 || len(past.Published) != 4 {
		t.Fatalf("past %v, %v: want the states of two jobs, the last Tick, and four records", past, err)
	}
	producer, err := sources.NewProducer(c, sources.Defaults(), schemas.Encoder{}, nil, sources.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for _, s := range past.States {
		s.Polled -= int64(2 * 3600e9)
		if err := producer.Publish(schemas.SourcesState, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// onTopic lists the ids on the data topic, sorted.
func onTopic(t *testing.T, c cluster.Config) []string {
	t.Helper()
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := schemas.MacroObservations
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), c.Topic(topic.Name))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var dec schemas.Decoder
	ends.Each(func(end kadm.ListedOffset) {
		err := stream.ReadRange(t.Context(), c, c.Topic(topic.Name), end.Partition, 0, end.Offset, func(r *kgo.Record) error {
			typ, content := topic.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
			m, err := dec.Decode(typ, content, r.Value)
			if err == nil && typ != "Tick" {
				got = append(got, schemas.MetaOf(m).GetId())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	slices.Sort(got)
	return got
}

// grave is a publisher with a place for what cannot be read.
type grave struct {
	sourcetest.Memory
	frames []deadletter.Frame
}

func (g *grave) Bury(f deadletter.Frame) bool {
	g.frames = append(g.frames, f)
	return true
}

// An answer that cannot be read is kept as it came.
func TestUnreadableAnswersAreBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := says("<html>moved</html>")
		o := options()
		o.Client.http.Transport = answering(func(*http.Request) http.HandlerFunc { return s })
		out := &grave{}
		src, err := New(&fake{name: "fake", url: "http://fake.test", jobs: []string{"job"}}, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), out); !errors.Is(err, ErrShape) {
			t.Fatal(err)
		}
		if len(out.frames) != 1 || string(out.frames[0].Data) != "<html>moved</html>" || out.frames[0].Source != "fake" || out.frames[0].Connection != "job" {
			t.Errorf("buried: %v, want the answer", out.frames)
		}
	})
}
