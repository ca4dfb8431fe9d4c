//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A lock keeps a second broker away from a data directory. The system drops it when the process ends, however it ends.
type lock struct{ file *os.File }

// lockDir makes the folder and takes its lock.
func lockDir(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the broker's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the broker's folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: another broker is running on this folder: %w", dir, err), f.Close())
	}
	return &lock{f}, nil
}

// release gives the folder up.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
