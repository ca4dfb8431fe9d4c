// Package proofs holds the tests that stand behind docs/proofs.md: the built binary on real Kafka, Postgres and Redis, judged
// from outside. TestBadInput always runs. The main job takes minutes: PROOFS=short runs it in a short form, PROOFS=full in the
// form of the document; without it it is skipped.
package proofs
