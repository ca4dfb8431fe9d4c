// Package proofs holds the tests that stand behind docs/proofs.md: the built binary on real Kafka, Postgres and Redis, judged
// from outside. PROOFS=short runs them
// in a short form, PROOFS=full in the form of the document; without it they are skipped.
package proofs
