// Command tapewatch watches the tape: market data in Kafka topics, stream processors that raise anomaly events, and the sinks
// that the events feed. One file here is one subcommand; only this package knows every other one.
package main

import "os"

//go:generate go run . config docs --dir ../..

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
