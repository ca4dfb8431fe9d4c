package schemas

import (
	"embed"
	"fmt"
)

// protoFiles are the sources of the public contract, as a schema registry gets them.
//
//go:embed proto/tapewatch/v1/*.proto
var protoFiles embed.FS

// ProtoSource returns the text of a .proto file of the contract by its import path, such as "tapewatch/v1/market.proto".
func ProtoSource(path string) (string, error) {
	text, err := protoFiles.ReadFile("proto/" + path)
	if err != nil {
		return "", fmt.Errorf("reading the schema %s: %w", path, err)
	}
	return string(text), nil
}
