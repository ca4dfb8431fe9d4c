package replay

import (
	"google.golang.org/protobuf/encoding/protojson"

	_ "github.com/tapewatch/tapewatch/detectors" // price_anomaly is what the benchmark is about
	"github.com/tapewatch/tapewatch/schemas"
)

func benchmarked() []string { return []string{"trivial", "price_anomaly"} }

func unmarshal(text []byte, m schemas.Message) error { return protojson.Unmarshal(text, m) }
