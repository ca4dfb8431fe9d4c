package deadletter

import (
	"regexp"
	"strings"
)

// What differs from one run or machine to the next in a stack trace: argument values, program counters, source folders.
var (
	arguments = regexp.MustCompile(`\([^()]*0x[^()]*\)$`)
	counters  = regexp.MustCompile(` \+0x[0-9a-f]+$`)
	folders   = regexp.MustCompile(`^\t.*/`)
	// engine is where a task calls a processor.
	engine = regexp.MustCompile(`stream/processor\.\(\*Task\)\.(onRecord|onTime)\(`)
)

// stableStack keeps of a goroutine's trace what is the same in every run: the functions and lines between the panic and the
// engine's call of the processor. The goroutine's number, argument values, program counters, folders and whoever drove the
// engine are left out.
func stableStack(stack []byte) string {
	lines := strings.Split(strings.TrimSpace(string(stack)), "\n")
	start := 0
	if len(lines) > 0 && strings.HasPrefix(lines[0], "goroutine ") {
		start = 1
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "panic(") && i+2 <= len(lines) {
			start = i + 2
			break
		}
	}
	var out []string
	for _, line := range lines[min(start, len(lines)):] {
		if engine.MatchString(line) || strings.HasPrefix(line, "created by ") {
			break
		}
		line = counters.ReplaceAllString(arguments.ReplaceAllString(line, "(...)"), "")
		out = append(out, folders.ReplaceAllString(line, "\t"))
	}
	return strings.Join(out, "\n")
}
