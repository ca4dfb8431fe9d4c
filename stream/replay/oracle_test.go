package replay

import (
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	_ "github.com/tapewatch/tapewatch/detectors" // price_anomaly is what the benchmark is about
	"github.com/tapewatch/tapewatch/schemas"
)

func benchmarked() []string { return []string{"trivial", "price_anomaly"} }

func unmarshal(text []byte, m schemas.Message) error { return protojson.Unmarshal(text, m) }

// cpuTime is what the process has used.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
