package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker (-X main.release=…) for released builds.
var release string

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Dirty    bool   `json:"dirty"`
	Time     string `json:"time"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Dirty = s.Value == "true"
			}
		}
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say what this binary is", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			l := listing{head: []string{"VERSION", "REVISION", "TIME", "GO", "PLATFORM"}, data: b}
			l.row(b.Version, orDash(b.Revision), orDash(b.Time), b.Go, b.Platform)
			return a.print(l)
		},
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
