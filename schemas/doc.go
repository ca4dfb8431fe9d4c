// Package schemas says what a record is: the generated messages of the public contract (proto/tapewatch/v1), event time,
// decimals, validation, encoding, and the catalogue of topics. It imports nothing else of tapewatch.
package schemas

//go:generate sh -c "cd proto && buf generate"
