package tape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a record with its place, owning its bytes.
type entry struct {
	Topic     string
	Partition int32
	Record
}

// buffer is a file in memory.
type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

func trade(t testing.TB, i int) []byte {
	t.Helper()
	at := schemas.Time(1_700_000_000e9 + int64(i)*1e6)
	v, err := proto.MarshalOptions{Deterministic: true}.Marshal(&schemas.Trade{
		Meta:  &schemas.Meta{Source: "sim", Venue: "sim", Symbol: fmt.Sprintf("S%02d-USD", i%64), Id: strconv.Itoa(i), EventTime: int64(at), ReceiveTime: int64(at) + 500_000},
		Price: &schemas.Decimal{Mantissa: int64(100_000 + i%997), Exponent: -2}, Quantity: &schemas.Decimal{Mantissa: int64(1 + i%31), Exponent: -3},
		TakerSide: schemas.Side(1 + i%2),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// entries makes n records over several topics and partitions with every oddity that a log has.
func entries(t testing.TB, seed uint64, n int) []entry {
	r := rand.New(rand.NewPCG(seed, 0))
	next := map[place]int64{}
	out := make([]entry, 0, n)
	for i := range n {
		e := entry{Topic: []string{"market.trades", "events", "x"}[r.IntN(3)], Partition: int32(r.IntN(3))}
		e.Offset = next[place{e.Topic, e.Partition}] + int64(r.IntN(8)/7*r.IntN(1000))
		next[place{e.Topic, e.Partition}] = e.Offset + 1
		e.Type, e.Value, e.Key = "Trade", trade(t, i), []byte("sim:S-USD")
		switch r.IntN(20) {
		case 0:
			e.Key, e.Type = nil, "Tick"
		case 1:
			e.Key, e.Value = []byte{}, nil
		case 2:
			e.Value, e.ContentType = []byte{0xff, 0, 7}, "application/odd"
		case 3:
			e.Key, e.Value = []byte{0xff}, []byte{}
		case 4:
			e.Type, e.ContentType, e.Value = "Event", schemas.ContentJSON, []byte(`{"id":"<&>"}`)
		}
		out = append(out, e)
	}
	return out
}

func write(t testing.TB, w Writer, in []entry) {
	t.Helper()
	for _, e := range in {
		if err := w.Write(e.Topic, e.Partition, &e.Record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func pack(t testing.TB, in []entry) []byte {
	t.Helper()
	var f buffer
	w, err := NewWriter(&f)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, in)
	return f.Bytes()
}

// readAll reads to the end and returns copies; err is nil for io.EOF.
func readAll(r Reader) ([]entry, error) {
	var out []entry
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, r.Close()
		}
		if err != nil {
			return out, errors.Join(err, r.Close())
		}
		for _, rec := range b.Records {
			rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
			out = append(out, entry{b.Topic, b.Partition, rec})
		}
		b.Release()
	}
}

func unpack(data []byte, workers int) ([]entry, error) {
	r, err := NewReader(bytes.NewReader(data), Options{Workers: workers})
	if err != nil {
		return nil, err
	}
	return readAll(r)
}

// byPlace splits entries by partition: the order that a tape keeps.
func byPlace(in []entry) map[place][]entry {
	out := map[place][]entry{}
	for _, e := range in {
		out[place{e.Topic, e.Partition}] = append(out[place{e.Topic, e.Partition}], e)
	}
	return out
}

func TestBinaryRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7, 20_000} {
		in := entries(t, uint64(n), n)
		data := pack(t, in)
		for _, workers := range []int{1, 3} {
			got, err := unpack(data, workers)
			if err != nil {
				t.Fatal(err)
			}
			if want, got := byPlace(in), byPlace(got); !reflect.DeepEqual(want, got) {
				t.Fatalf("%d records, %d workers: %.2000s", n, workers, cmp.Diff(want, got))
			}
		}
	}
}

func TestBinaryManyPartitions(t *testing.T) {
	var in []entry
	for i := range 3 * maxOpen {
		in = append(in, entry{"x", int32(i * 7 % (2 * maxOpen)), Record{Offset: int64(i), Type: "Trade"}})
	}
	got, err := unpack(pack(t, in), 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(byPlace(in), byPlace(got)); d != "" {
		t.Fatal(d)
	}
}

func TestBinaryNamesEveryCut(t *testing.T) {
	in := entries(t, 1, 12)
	data := pack(t, in)
	for cut := range len(data) {
		got, err := unpack(data[:cut], 1)
		if !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut to %d of %d bytes: %d records and error %v, must be %v", cut, len(data), len(got), err, ErrTruncated)
		}
	}
	// What lies before the cut is delivered.
	big := entries(t, 2, 20_000)
	data = pack(t, big)
	got, err := unpack(data[:len(data)-3], 2)
	if !errors.Is(err, ErrTruncated) || len(got) != len(big) {
		t.Errorf("%d of %d records, %v", len(got), len(big), err)
	}
}

func TestBinaryFindsDamage(t *testing.T) {
	in := entries(t, 3, 12)
	data := pack(t, in)
	whole, err := unpack(data, 1)
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(data) {
		bad := bytes.Clone(data)
		bad[at] ^= 0x41
		if got, err := unpack(bad, 1); err == nil && !cmp.Equal(got, whole) {
			t.Fatalf("a flipped byte at %d of %d gave other records without an error", at, len(data))
		}
	}
	if _, err := unpack(append(bytes.Clone(data), data...), 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("two tapes in one file: %v", err)
	}
	if _, err := unpack([]byte("\x28\xb5\x2f\xfd any other file"), 1); err == nil || !strings.Contains(err.Error(), "not a tape") {
		t.Errorf("another file: %v", err)
	}
	later := bytes.Clone(data)
	later[8+1+len(magic)] = 9
	if _, err := unpack(later, 1); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("a later version: %v", err)
	}
}

// A frame without records, which Write never makes, gives no batch: who reads one takes its first record.
func TestFramesWithoutRecordsGiveNoBatch(t *testing.T) {
	in := entries(t, 6, 300)
	data, at := pack(t, in), len(startMark())
	empty := append(frameMark(0, 0), frameMark(0, 0)...)
	for _, data := range [][]byte{
		slices.Concat(data[:at], empty, data[at:]),
		slices.Concat(data[:len(data)-len(endMark(0))], empty, endMark(uint64(len(in)))),
	} {
		r, err := NewReader(bytes.NewReader(data), Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Records) == 0 {
				t.Error("a batch has no records: it must have at least one")
			}
			n += len(b.Records)
			b.Release()
		}
		if err := r.Close(); n != len(in) || err != nil {
			t.Errorf("%d records, %v: must be %d", n, err, len(in))
		}
	}
	// One that has lost its records is found by the end mark.
	if _, err := unpack(slices.Concat(startMark(), empty, endMark(1)), 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a frame that lost its record: %v, must be %v", err, ErrCorrupt)
	}
}

func TestWriteRefuses(t *testing.T) {
	w, err := NewWriter(&buffer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []entry{
		{"x", -1, Record{}},
		{"x", 0, Record{Offset: -1}},
		{"x", 0, Record{Key: make([]byte, MaxKeyBytes+1)}},
		{"x", 0, Record{Value: make([]byte, maxRecord)}},
	} {
		if err := w.Write(e.Topic, e.Partition, &e.Record); err == nil {
			t.Errorf("%d, offset %d, key of %d and value of %d bytes were written", e.Partition, e.Offset, len(e.Key), len(e.Value))
		}
	}
}

func TestCloseEarly(t *testing.T) {
	r, err := NewReader(bytes.NewReader(pack(t, entries(t, 4, 50_000))), Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err == nil {
		t.Error("a closed reader gave a batch")
	}
}

func TestOpenAndCreate(t *testing.T) {
	in := entries(t, 5, 500)
	for _, name := range []string{"a.tape.zst", "a.jsonl", "a.ndjson"} {
		path := filepath.Join(t.TempDir(), name)
		w, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, in)
		r, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(r)
		if err != nil || len(got) != len(in) {
			t.Errorf("%s: %d of %d records, %v", name, len(got), len(in), err)
		}
	}
	if _, err := Open("a.csv", Options{}); err == nil || !strings.Contains(err.Error(), ExtensionBinary) {
		t.Errorf("an unknown extension: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.jsonl"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A tape takes its name when it is whole. One that was aborted leaves the tape that had the name, and says that it is cut.
func TestAbortedTapesDoNotTakeTheName(t *testing.T) {
	in := entries(t, 5, 500)
	path := filepath.Join(t.TempDir(), "a.tape.zst")
	kept, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, kept, in[:100])
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if err := w.Write(in[i].Topic, in[i].Partition, &in[i].Record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if w.Name() != path+ExtensionPartial || kept.Name() != path {
		t.Errorf("the aborted tape is in %s, the whole one in %s", w.Name(), kept.Name())
	}
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(r); err != nil || len(got) != 100 {
		t.Errorf("the tape before: %d of 100 records, %v", len(got), err)
	}
	data, err := os.ReadFile(w.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unpack(data, 1); !errors.Is(err, ErrTruncated) || len(got) != len(in) {
		t.Errorf("the aborted tape: %d of %d records, %v, want all and %v", len(got), len(in), err, ErrTruncated)
	}
}

// A pipe is written to as it is.
func TestCreateKeepsPipes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	in := entries(t, 5, 3)
	read := make(chan []byte, 1)
	go func() {
		data, _ := os.ReadFile(path)
		read <- data
	}()
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, in)
	if lines := bytes.Count(<-read, []byte("\n")); lines != len(in) {
		t.Errorf("%d of %d lines came through the pipe", lines, len(in))
	}
	if at, err := os.Stat(path); err != nil || at.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe is %v now, %v", at, err)
	}
}

func TestZstdToolReadsTheStream(t *testing.T) {
	tool, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("SKIPPED, nothing was tested: zstd is not installed")
	}
	in := slices.DeleteFunc(entries(t, 6, 5000), func(e entry) bool { return e.Topic != "x" || e.Partition != 0 })
	cmd := exec.CommandContext(t.Context(), tool, "-dc")
	cmd.Stdin = bytes.NewReader(pack(t, in))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	b := Batch{}
	if err := b.decode(out); err != nil || len(b.Records) != len(in) {
		t.Errorf("%d of %d records, %v", len(b.Records), len(in), err)
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	in := make([]entry, 0, 60_000)
	for i := range 60_000 {
		in = append(in, entry{"market.trades", 0, Record{Offset: int64(i), Type: "Trade", Key: []byte("sim:S-USD"), Value: trade(t, i)}})
	}
	data := pack(t, in)
	n := testing.AllocsPerRun(3, func() {
		r, err := NewReader(bytes.NewReader(data), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			b, err := r.Next()
			if err != nil {
				break
			}
			b.Release()
		}
		_ = r.Close()
	})
	if per := n / float64(len(in)); per > 0.01 {
		t.Errorf("%.4f allocations per record, must be none but those per file and frame", per)
	}
}

func BenchmarkRead(b *testing.B) {
	const n = 500_000
	in := make([]entry, 0, n)
	size := 0
	for i := range n {
		v := trade(b, i)
		size += len(v)
		in = append(in, entry{"market.trades", int32(i % 8), Record{Offset: int64(i / 8), Type: "Trade", Key: fmt.Appendf(nil, "sim:S%02d-USD", i%64), Value: v}})
	}
	data := pack(b, in)
	b.SetBytes(int64(size))
	b.ReportMetric(float64(len(data))/n, "packed-bytes/rec")
	for b.Loop() {
		got := 0
		r, err := NewReader(bytes.NewReader(data), Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			batch, err := r.Next()
			if err != nil {
				break
			}
			got += len(batch.Records)
			batch.Release()
		}
		if _ = r.Close(); got != n {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

func FuzzReader(f *testing.F) {
	f.Add(pack(f, nil))
	f.Add(pack(f, entries(f, 7, 20)))
	f.Add(pack(f, entries(f, 8, 200))[:300])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := unpack(data, 1)
		if err != nil {
			return
		}
		again, err := unpack(pack(t, got), 1)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(byPlace(got), byPlace(again)); d != "" {
			t.Fatal(d)
		}
	})
}
