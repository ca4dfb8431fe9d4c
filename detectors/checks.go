package detectors

import "github.com/tapewatch/tapewatch/stream/processor"

// checksFor is how many checks in a row last at least so long.
func checksFor(d, interval processor.Duration) int { return int((d + interval - 1) / interval) }
