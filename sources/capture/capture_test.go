package capture

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

func all(t testing.TB, r *Reader) []Frame {
	t.Helper()
	var out []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Data = bytes.Clone(f.Data)
		out = append(out, f)
	}
}

// What is written reads back to the byte and the nanosecond.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := []Kind{Connect, Send, Receive, HTTP, Close}
		var want []Frame
		at := schemas.Time(1_700_000_000_000_000_000)
		for range rapid.IntRange(0, 20).Draw(rt, "n") {
			at += schemas.Time(rapid.Int64Range(1, 5e9).Draw(rt, "step"))
			f := Frame{Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), Conn: rapid.String().Draw(rt, "conn"), At: at}
			if f.Kind == Connect || f.Kind == HTTP {
				f.URL = rapid.String().Draw(rt, "url")
			}
			f.Data = rapid.SliceOf(rapid.Byte()).Draw(rt, "data")
			want = append(want, f)
		}
		path := filepath.Join(t.TempDir(), "c.jsonl.zst")
		_ = os.Remove(path)
		w, err := Create(path, "test", 1_600_000_000_123_456_789)
		if err != nil {
			rt.Fatal(err)
		}
		for _, f := range want {
			if err := w.Write(f); err != nil {
				rt.Fatal(err)
			}
		}
		if err := errors.Join(w.Flush(), w.Close()); err != nil {
			rt.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			rt.Fatal(err)
		}
		got := all(t, r)
		if err := r.Close(); err != nil {
			rt.Fatal(err)
		}
		if n, err := r.Bad(); n > 0 {
			rt.Fatalf("%d bad lines: %v", n, err)
		}
		if len(got) == 0 || got[0].Kind != Header || got[0].URL != "test" || got[0].At != 1_600_000_000_123_456_789 {
			rt.Fatalf("header %v", got)
		}
		if diff := cmp.Diff(want, got[1:], cmpopts.EquateEmpty()); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// Recorders that were killed leave torn lines, cut files and broken bytes: the rest reads, and the loss is told.
func TestTornCaptures(t *testing.T) {
	lines := `{"t":"connect","conn":"a","ts":1.5,"addr":"wss://x"}
{"t":"recv","conn":"a","ts":2,"data":"one"}
{"t":"recv","conn":"a","ts":3,"da
{"t":"bogus","conn":"a","ts":3}
{"t":"recv","conn":"a","ts":4.000000001,"b64":"AP8="}
{"t":"recv","conn":"a","ts":`
	r, err := NewReader(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	got := all(t, r)
	if len(got) != 3 || string(got[1].Data) != "one" || !bytes.Equal(got[2].Data, []byte{0, 255}) || got[2].At != 4_000_000_001 {
		t.Errorf("frames %v", got)
	}
	if n, _ := r.Bad(); n != 3 {
		t.Errorf("%d bad lines, want 3", n)
	}
	whole, err := os.ReadFile(filepath.Join(testservices.DataDir(t), "cryptofeed-v3", "BINANCE_FUTURES.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	cut, err := NewReader(bytes.NewReader(whole[:len(whole)/2]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cut.Close() }()
	if n := len(all(t, cut)); n < 10 {
		t.Errorf("%d frames of half a file", n)
	}
	if n, err := cut.Bad(); n == 0 || err == nil {
		t.Error("a cut file reads as a whole one")
	}
}

// Converted recordings put HTTP answers first; they come when they were received.
func TestFramesComeByReceipt(t *testing.T) {
	for _, file := range []string{"cryptofeed-v3/BINANCE.jsonl.zst", "hftbacktest/usdm/btcusdt_20240808.gz"} {
		r, err := Open(filepath.Join(testservices.DataDir(t), file))
		if err != nil {
			t.Fatal(err)
		}
		frames := all(t, r)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		received := slices.DeleteFunc(slices.Clone(frames), func(f Frame) bool { return f.Kind == Header })
		if !slices.IsSortedFunc(received, func(a, b Frame) int { return int(a.At - b.At) }) {
			t.Errorf("%s: receipts go back", file)
		}
		kinds := map[Kind]int{}
		for _, f := range frames {
			kinds[f.Kind]++
		}
		want := map[Kind]int{Header: 1, HTTP: 5, Connect: 1, Receive: 265}
		if strings.HasSuffix(file, ".gz") {
			want = map[Kind]int{HTTP: 1, Connect: 1, Receive: 93_953}
		}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"t":"recv","conn":"a","ts":2.25,"data":"{\"e\":1}"}` + "\n" + `{"t":"http","conn":"a","ts":1,"url":"/x","data":"y"}`))
	f.Add([]byte("1723161255030314667 {\"stream\":\"btcusdt@depth\",\"data\":{}}\n1723161255030314668 {\"lastUpdateId\":1}\n"))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := NewReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		defer func() { _ = r.Close() }()
		for range 1000 {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
}

// A recording that was parted into files plays back as the frames that were written, in order, and sha256sum's line stands
// beside each file. A folder of two sources is refused.
func TestRecorderRotates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "captures")
	rec, err := Record(dir, "venue.market", Rotation{Every: time.Minute, Bytes: 1 << 30}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	const many = 1000
	start := schemas.Time(1_700_000_000_000_000_000)
	for i := range many {
		if err := rec.Write(Frame{Kind: Receive, Conn: "a/1", At: start.Add(time.Duration(i) * time.Second), Data: fmt.Appendf(nil, `{"n":%d}`, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.zst"))
	if err != nil || len(files) != 17 {
		t.Fatalf("%d files, %v, want 17: a minute each", len(files), err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(f + ".sha256")
		if want := fmt.Sprintf("%x  %s\n", sha256.Sum256(raw), filepath.Base(f)); err != nil || string(line) != want {
			t.Fatalf("%s: %q, %v, want %q", f, line, err, want)
		}
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	next := 0
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind != Receive {
			continue
		}
		if want := fmt.Sprintf(`{"n":%d}`, next); string(f.Data) != want {
			t.Fatalf("frame %s, want %s", f.Data, want)
		}
		next++
	}
	if n, _ := r.Bad(); next != many || n != 0 {
		t.Errorf("%d frames read, %d bad, want %d", next, n, many)
	}
	if err := os.WriteFile(filepath.Join(dir, "other-1.jsonl.zst"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "one source") {
		t.Errorf("error %v, want one that says that a folder holds one source", err)
	}
}

// Sources whose names begin alike are two, and a folder's name is no pattern.
func TestFolderOfSourcesThatBeginAlike(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "captures [old]")
	record := func(source string) {
		rec, err := Record(dir, source, DefaultRotation(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(rec.Write(Frame{Kind: Receive, Conn: "a/1", At: 1_700_000_000_000_000_000, Data: []byte("{}")}), rec.Close()); err != nil {
			t.Fatal(err)
		}
	}
	record("binance-eu")
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	record("binance-us")
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "binance-eu and binance-us") {
		t.Errorf("error %v, want one that names both sources", err)
	}
}
