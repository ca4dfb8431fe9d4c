package testservices

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// DataDir returns the folder of recorded market data: TAPEWATCH_DATA, or ../shared/data beside the repository. The data
// are not part of the repository.
func DataDir(t testing.TB) string {
	t.Helper()
	dir, err := dataDir()
	if err != nil {
		unavailable(t, "DATA", err)
	}
	return dir
}

func dataDir() (string, error) {
	dir := os.Getenv("TAPEWATCH_DATA")
	if dir == "" {
		top, err := root()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(top, "..", "shared", "data")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return "", fmt.Errorf("recorded data: %w: no folder %s (set TAPEWATCH_DATA)", errAbsent, dir)
	}
	return dir, nil
}
