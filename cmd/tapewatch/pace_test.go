package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/embedded"
)

// `ingest VENUE --from FILE` writes the same to Kafka as recorded, eight times as fast and as fast as it goes: the first seconds
// of each venue's recording, hashed over partition, key, headers and value in order. Without the last third the hash is another.
func TestPaceDoesNotShow(t *testing.T) {
	for venue, file := range map[string]string{
		"binance": "BINANCE", "binance_usdm": "BINANCE_FUTURES", "bybit": "BYBIT", "bybit_linear": "BYBIT", "coinbase": "COINBASE", "deribit": "DERIBIT",
		"kraken": "KRAKEN", "kraken_futures": "KRAKEN_FUTURES", "okx": "OKX",
	} {
		t.Run(venue, func(t *testing.T) {
			t.Parallel()
			lines, dir := beginning(t, file), t.TempDir()
			broker, err := embedded.Start(embedded.Options{Addr: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := broker.Close(); err != nil {
					t.Error(err)
				}
			})
			client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ingest := func(ctx context.Context, name string, lines [][]byte, speed string) error {
				path := filepath.Join(dir, name+".jsonl")
				if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
					return err
				}
				for _, topic := range append(output(), schemas.Health) {
					if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, name+"."+topic.Name); err != nil {
						return err
					}
				}
				cmd := exec.CommandContext(ctx, "tapewatch", "ingest", venue, "--from", path, "--speed", speed, "--quiet")
				cmd.Env = append(os.Environ(), "TAPEWATCH_KAFKA__BROKERS="+broker.Addr(), "TAPEWATCH_KAFKA__PREFIX="+name+".")
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("at speed %s: %w: %s", speed, err, out)
				}
				return nil
			}
			runs, ctx := errgroup.WithContext(t.Context())
			runs.Go(func() error { return ingest(ctx, "fast", lines, "0") })
			runs.Go(func() error { return ingest(ctx, "recorded", lines, "1") })
			runs.Go(func() error { return ingest(ctx, "eightfold", lines, "8") })
			names := map[string]bool{"recorded.": true, "eightfold.": true}
			if file == "OKX" { // the control
				names["less."] = false
				runs.Go(func() error { return ingest(ctx, "less", lines[:len(lines)-len(lines)/3], "0") })
			}
			if err := runs.Wait(); err != nil {
				t.Fatal(err)
			}
			want, records := written(t, client, "fast.")
			t.Logf("%d frames, %d records", len(lines), records)
			if records < 50 {
				t.Errorf("%d records, want 50 at least", records)
			}
			for name, same := range names {
				if got, n := written(t, client, name); (got == want) != same {
					t.Errorf("%s: %d records with the hash %s, at full speed %d with %s: want the same: %v", name, n, got, records, want, same)
				}
			}
		})
	}
}

// beginning is what the recording has up to two and a half seconds behind the first message.
func beginning(t *testing.T, name string) (lines [][]byte) {
	t.Helper()
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "cryptofeed-v3", name+".jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	const span = 2.5
	var stamps []*fastjson.Value
	first := 0.0
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		v, err := fastjson.ParseBytes(scan.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		stamp := v.Get("ts")
		if stamp == nil {
			stamp = v.Get("recorded") // the header
		}
		lines, stamps = append(lines, append(bytes.Clone(scan.Bytes()), '\n')), append(stamps, stamp)
		if at := stamp.GetFloat64(); string(v.GetStringBytes("t")) == "recv" && (first == 0 || at < first) {
			first = at
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	kept := lines[:0]
	for i, line := range lines {
		at := stamps[i].GetFloat64()
		if at < first-span { // asked for minutes ahead: at the recorded pace that would be waited for
			line = bytes.Replace(line, []byte(stamps[i].String()), fmt.Appendf(nil, "%f", first-span), 1)
		}
		if at < first+span {
			kept = append(kept, line)
		}
	}
	return kept
}

// output are the topics that venues write to, and the dead letters: signs of life are the process's own.
func output() []schemas.Topic {
	return []schemas.Topic{
		schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.MarketDerivatives, schemas.MarketOptions, schemas.VenuesStatus, schemas.DeadLetters,
	}
}

// written is the hash of all that stands in the topics of a prefix, with how many records there are.
func written(t *testing.T, client *kgo.Client, prefix string) (hash string, records int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var names []string
	for _, topic := range output() {
		names = append(names, prefix+topic.Name)
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(append(client.Opts(), kgo.ConsumeTopics(names...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var total int64
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	places := map[string]*strings.Builder{}
	for records < total {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records read: %v", records, total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records++
			place := fmt.Sprintf("%s/%d", strings.TrimPrefix(r.Topic, prefix), r.Partition)
			if places[place] == nil {
				places[place] = &strings.Builder{}
			}
			fmt.Fprintf(places[place], "%q %q", r.Key, r.Value)
			for _, h := range r.Headers {
				fmt.Fprintf(places[place], " %q %q", h.Key, h.Value)
			}
			places[place].WriteByte('\n')
		})
	}
	sum := sha256.New()
	for _, topic := range output() {
		for n := range 3 {
			place := fmt.Sprintf("%s/%d", topic.Name, n)
			if b := places[place]; b != nil {
				fmt.Fprintf(sum, "%s\n%s", place, b.String())
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), records
}
