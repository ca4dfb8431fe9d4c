// Package sinks carries events from Kafka into other systems: what the sinks share.
//
// A Consumer is a consumer group of its own per sink. It reads committed records only, decodes and checks them, puts what it
// cannot use on the dlq topic, and hands the rest to a Writer in batches, behind a breaker. Where to go on after a start, a
// rebalance or a crash is told by the Writer, which keeps the positions together with the data; the group's offsets in Kafka
// are committed for the eyes of lag monitors only, and nothing is read back from them.
//
// While the system behind a sink is down the batch in hand is kept and tried again, the partitions stay assigned and unread
// (one fetch per broker is buffered at most), and other sinks, being other groups, do not notice.
//
// Goroutines: Run is the one that polls and writes; franz-go's group goroutine calls place and revoked. The map of next
// offsets and the figures for Component are shared between them, under Consumer.mu.
package sinks
