package simulator

import (
	"syscall"
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
)

// BenchmarkMarket measures the generator alone: an op is one record, put goes nowhere.
func BenchmarkMarket(b *testing.B) {
	for name, change := range map[string]func(*Config){
		"trades": func(c *Config) { c.Kinds, c.Rate = []string{"trades"}, 1e6 },
		"quotes": func(c *Config) { c.Kinds, c.Rate = []string{"quotes"}, 1e6 },
		"books":  func(c *Config) { c.Kinds, c.Instruments, c.Rate = []string{"books"}, 1000, 1 },
		"all":    func(c *Config) {},
	} {
		b.Run(name, func(b *testing.B) {
			cfg := Defaults()
			change(&cfg)
			m := NewMarket(cfg, monday, nil)
			left := 0
			put := func(schemas.Topic, schemas.Message) error { left--; return nil }
			for range 120 { // the buffers have their size
				if err := m.Second(put); err != nil {
					b.Fatal(err)
				}
				if left < -4e6 {
					break
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			begun := coreSeconds()
			for left = b.N; left > 0; {
				if err := m.Second(put); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N-left)/(coreSeconds()-begun), "records/core-s")
		})
	}
}

const monday schemas.Time = 1704067200e9 // 2024-01-01T00:00:00Z

// coreSeconds is the processor time of the process, which other work on the machine does not stretch.
func coreSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
