package stream

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// CrashVariable names the environment variable that makes a process kill itself inside a transaction, for chaos tests:
// "after_process", "after_flush", "after_outputs", "before_commit" or "after_end", then ":" and a count ("after_flush:20", the twentieth
// time) or a probability ("after_flush:0.01"). With ":stop" at the end ("after_flush:20:stop") the process stops there, as a
// hung one does, until SIGCONT. Unset, the points cost one comparison.
const CrashVariable = "TAPEWATCH_CRASH_AT"

// The points of a transaction at which a process can be made to crash.
const (
	afterProcess = "after_process"
	afterFlush   = "after_flush"
	afterOutputs = "after_outputs" // after_flush of a transaction that has outputs
	beforeCommit = "before_commit"
	afterEnd     = "after_end"
)

// failpoint is where and when to crash.
type failpoint struct {
	at          string
	left        int
	probability float64
	stop        bool
}

// readFailpoint reads the variable; a malformed one is off.
func readFailpoint() failpoint {
	at, when, _ := strings.Cut(os.Getenv(CrashVariable), ":")
	when, stop := strings.CutSuffix(when, ":stop")
	if n, err := strconv.Atoi(when); err == nil {
		return failpoint{at: at, left: n, stop: stop}
	}
	p, err := strconv.ParseFloat(when, 64)
	if err != nil {
		return failpoint{}
	}
	return failpoint{at: at, probability: p, stop: stop}
}

// reach kills the process as kill -9 would, or stops it, when the point is the one that was asked for.
func (f *failpoint) reach(point string) {
	if f.at != point {
		return
	}
	if f.probability > 0 {
		if rand.Float64() >= f.probability { //nolint:gosec // chaos needs no secret randomness
			return
		}
	} else if f.left--; f.left != 0 {
		return
	}
	if f.stop {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // SIGKILL comes in an instant; nothing more may happen in between
}
