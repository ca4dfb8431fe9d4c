package binance

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Every trade of the recording is in market.trades of a real Kafka exactly once: the ids that are read back equal those
// that a scan of the file's text finds.
func TestEveryTradeReachesKafkaOnce(t *testing.T) {
	path := filepath.Join(testservices.DataDir(t), filepath.FromSlash(usdmFile.File))
	c := cluster.Defaults()
	c.Brokers = strings.Split(testservices.Kafka(t), ",")
	c.Prefix = fmt.Sprintf("binance-%d.", os.Getpid())
	cfg := Defaults()
	cfg.Market, cfg.Symbols, cfg.Play = USDM, nil, path
	client, err := kgo.NewClient(append(c.Options(nil), kgo.ConsumeTopics(c.Topic(schemas.MarketTrades.Name)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range spec(USDM).Topics {
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 8, 1, nil, c.Topic(topic.Name)); err != nil {
			t.Fatal(err)
		}
	}
	metrics := sources.NewMetrics(nil)
	p, err := sources.NewProducer(c, sources.Defaults(), schemas.Encoder{}, nil, metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := venue.New(cfg, nil, metrics)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("93,954 frames through decode, state and Kafka in %v", time.Since(began))

	want := idsInText(t, path)
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), c.Topic(schemas.MarketTrades.Name))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	var got []string
	var dec schemas.Decoder
	for read := int64(0); read < total; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			if len(r.Headers) > 0 { // a Tick; trades are bare
				return
			}
			m, err := dec.Decode("Trade", "", r.Value)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.Clone(schemas.MetaOf(m).GetId()))
		})
	}
	if len(got) != len(want) || len(got) != 21_313 || digest(got) != digest(want) {
		t.Errorf("%d trades, sha256 %s; the file has %d, %s", len(got), digest(got), len(want), digest(want))
	}
}

// idsInText finds the trade ids by the text alone, without the decoder.
func idsInText(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(`@trade"`)) {
			_, rest, _ := bytes.Cut(line, []byte(`"t":`))
			id, _, _ := bytes.Cut(rest, []byte(","))
			ids = append(ids, string(id))
		}
	}
	return ids
}

func digest(ids []string) string {
	sorted := slices.Sorted(slices.Values(ids))
	sum := sha256.Sum256([]byte(strings.Join(sorted, "\n")))
	return hex.EncodeToString(sum[:])
}
