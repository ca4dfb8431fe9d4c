// Package stream runs processors on Kafka: one consumer group per processor, one processor.Task per partition, outputs,
// input offsets and state snapshots in one transaction.
//
// Goroutines of a Group: Run itself is the only one that polls, begins and ends transactions and produces. For each poll it
// starts one goroutine per partition with records and joins them before anything else happens; for each assigned partition
// it starts one that restores the task with a client of its own, which the revocation of the partition cancels and which
// Run awaits before it returns. franz-go's callbacks only note what was assigned and taken away.
package stream
