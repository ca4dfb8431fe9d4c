// Package proofs holds the tests that stand behind docs/proofs.md: the built binary on real Kafka, Postgres and Redis, judged
// from outside. TAPEWATCH_PROOF=short runs them
// in a short form, TAPEWATCH_PROOF=full in the form of the document; without it they are skipped.
package proofs
