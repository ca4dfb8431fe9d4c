// Package testservices gives tests the real servers that the pipeline talks to: Apache Kafka, PostgreSQL and Redis.
//
// It runs the scripts in scripts/, on loopback and on free ports. What Kafka and Postgres share is started at the first
// call, serves the whole test process and ends with it, by a watcher outside the process: no TestMain is needed, and a
// test binary that panics or is killed leaves nothing running. Everything else ends with its test. When a service cannot
// be had on the machine, the test is skipped with the reason, or fails when TAPEWATCH_REQUIRE_KAFKA, _PG, _REDIS,
// _BROWSER or _DATA is 1. A service that is there and does not start always fails the test.
package testservices

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// errAbsent marks a service that this machine does not have, as opposed to one that failed.
var errAbsent = errors.New("not available on this machine")

// exitAbsent is the exit code by which a script says so.
const exitAbsent = 3

// unavailable ends the test for the error of a service: skipped where the service is absent and not required.
func unavailable(t testing.TB, requirement string, err error) {
	t.Helper()
	variable := "TAPEWATCH_REQUIRE_" + requirement
	if errors.Is(err, errAbsent) && os.Getenv(variable) != "1" {
		t.Skipf("SKIPPED, nothing was tested: %v (%s=1 makes this a failure)", err, variable)
	}
	t.Fatal(err)
}

// root returns the repository's root: the nearest folder above the test's that holds scripts/kafka.sh.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "scripts", "kafka.sh")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("finding the repository: no scripts/kafka.sh above %s", dir)
		}
	}
}

// script runs scripts/<name> and returns the last line that it printed.
func script(name string, args ...string) (string, error) {
	top, err := root()
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(top, "scripts", name), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "TAPEWATCH_OWNER_PID="+strconv.Itoa(os.Getpid()), "TAPEWATCH_OWNER_REMOVES=1")
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitAbsent {
			return "", fmt.Errorf("%w: %s", errAbsent, said)
		}
		return "", fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[len(lines)-1], nil
}

// newDir makes a folder for a server's data: in memory where the system has /dev/shm, which halves the time of a test.
func newDir(service string) (string, error) {
	parent := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "tapewatch-"+service+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for %s: %w", service, err)
	}
	return dir, nil
}

// startOnFreePorts calls start with a folder and a base port, and again with others while another process was faster
// to take the port. Offsets are the ports that the service needs, counted from the base.
func startOnFreePorts(service string, offsets []int, start func(dir string, port int) (string, error)) (dir, address string, err error) {
	const attempts = 5
	for range attempts {
		if dir, err = newDir(service); err != nil {
			return "", "", err
		}
		var port int
		if port, err = freePort(offsets); err == nil {
			if address, err = start(dir, port); err == nil {
				return dir, address, nil
			}
		}
		_ = os.RemoveAll(dir)
		if !strings.Contains(err.Error(), "is taken") && !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	return "", "", err
}

// freePort returns a base port all of whose offsets are free. It stays below 32768, where the system takes the ports
// of outgoing connections from, so that none of those gets in between.
func freePort(offsets []int) (int, error) {
	const low, high, attempts = 20000, 32000, 200
	for range attempts {
		base := low + rand.IntN(high-low)
		if allFree(base, offsets) {
			return base, nil
		}
	}
	return 0, fmt.Errorf("finding free ports between %d and %d: none after %d tries", low, high, attempts)
}

func allFree(base int, offsets []int) bool {
	for _, offset := range offsets {
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+offset)))
		if err != nil {
			return false
		}
		_ = listener.Close()
	}
	return true
}

// tail returns the end of a server's log, for the message of a failure.
func tail(path string) string {
	const most = 2000
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		_, _ = file.Seek(-most, io.SeekEnd)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
