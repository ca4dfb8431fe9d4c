// Package detectors holds the watchdogs: pure processors that raise events. A detector is the file with its name, which
// registers it, and its parts beside it, in files that begin with its first word (whale_movement.go, whale_crowd.go); what several of them
// need has a file named by its noun alone. Nothing here reads a clock, does I/O, starts a goroutine or ranges over a map, so that a replay
// gives the same bytes.
package detectors
