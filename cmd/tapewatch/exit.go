package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitFindings    = 3
	exitIncomplete  = 4
	exitInterrupted = 130
)

// usageError is a mistake in arguments, flags or settings.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// findingsError says that a command worked and found something to report.
type findingsError struct{ what string }

func (e *findingsError) Error() string { return e.what }

func findings(format string, args ...any) error {
	return &findingsError{fmt.Sprintf(format, args...)}
}

// incompleteError says that some sources gave what they have and others failed.
type incompleteError struct{ failed []string }

func (e *incompleteError) Error() string {
	return "some sources failed:\n" + strings.Join(e.failed, "\n")
}

// exitCode maps an error to the exit code of the process.
func exitCode(err error) int {
	var u *usageError
	var f *findingsError
	var i *incompleteError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return exitFindings
	case errors.As(err, &i):
		return exitIncomplete
	case errors.As(err, &u):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailure
}
