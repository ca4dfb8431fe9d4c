// Package detectors holds the watchdogs: pure processors that raise events. One file is one detector, self-registered from
// init; what several of them need has a file of its own, named by its noun. Nothing here reads a clock, does I/O, starts a
// goroutine or ranges over a map, so that a replay gives the same bytes.
package detectors
