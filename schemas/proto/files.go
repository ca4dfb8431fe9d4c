// Package proto holds the sources of the public contract, for schema registries.
package proto

import "embed"

// Files are the .proto files, by the path that they import each other by.
//
//go:embed tapewatch/v1/*.proto
var Files embed.FS
