//go:build !unix

package embedded

import (
	"fmt"
	"os"
)

// A lock is nothing where the system has no flock: the port is what keeps a second broker away.
type lock struct{}

func lockDir(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the broker's folder: %w", err)
	}
	return &lock{}, nil
}

func (l *lock) release() error { return nil }
