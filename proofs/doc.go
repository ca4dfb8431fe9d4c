// Package proofs holds the tests that stand behind docs/proofs.md: the built binary on real Kafka, Postgres and Redis, judged
// from outside. Each runs in a short form in `go test`, and in the form of the document with TAPEWATCH_PROOF=full.
package proofs
