package replay

import (
	"fmt"
	"testing"

	"github.com/tapewatch/tapewatch/stream/processor"
)

// BenchmarkReplay prints trades per second from a binary tape. With one worker the tape's own goroutines come on top, so
// divide by the cores that `time` shows to get the figure per core.
func BenchmarkReplay(b *testing.B) {
	const n = 1_000_000
	path := save(b, "a.tape.zst", market(b, 8, n, false))
	for _, name := range benchmarked() {
		for _, parallel := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s-%d", name, parallel), func(b *testing.B) {
				bound := bind(b, name)
				start := cpuTime(b)
				for b.Loop() {
					_, err := Run(b.Context(), Options{Bound: bound, From: File{Path: path}, Parallel: parallel, Policy: processor.DefaultTimePolicy(), Out: func(Output) error { return nil }})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mtrades/s")
				b.ReportMetric(float64(n*b.N)/(cpuTime(b)-start).Seconds()/1e6, "Mtrades/core-s")
			})
		}
	}
}
