package testservices

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Browser opens pages of the test in headless Chromium. A page reports by `fetch("/report", {method: "POST", body: JSON.stringify(x)})`.
type Browser struct {
	// Origin is that of the pages, scheme://host:port.
	Origin string

	t       testing.TB
	reports chan []byte
	mu      sync.Mutex // guards pages
	pages   map[string]string
	log     string // file of what the browser that was opened last says
}

// NewBrowser serves pages until the test ends.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	b := &Browser{t: t, reports: make(chan []byte, 16), pages: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /report", func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			b.reports <- body
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		text, ok := b.pages[r.URL.Path]
		b.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, text)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.Origin = server.URL
	return b
}

// Serve puts a page at a path.
func (b *Browser) Serve(path, page string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages[path] = page
}

// Open loads a page in a browser of its own, which ends with the test.
func (b *Browser) Open(path string) {
	b.t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		unavailable(b.t, "BROWSER", fmt.Errorf("chromium %w: %w", errAbsent, err))
	}
	profile, err := os.MkdirTemp("", "tapewatch-browser-")
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	// Everything that a browser tells its maker is switched off; root may not have a sandbox.
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+profile, b.Origin+path)
	b.log = filepath.Join(profile, "test.log")
	said, err := os.Create(b.log)
	if err != nil {
		cancel()
		b.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its children, too
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		b.t.Fatalf("starting %s: %v", program, err)
	}
	b.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		_ = said.Close()
		_ = os.RemoveAll(profile)
	})
}

// Report waits for the page's next report and reads it into v.
func (b *Browser) Report(v any) {
	b.t.Helper()
	select {
	case body := <-b.reports:
		if err := json.Unmarshal(body, v); err != nil {
			b.t.Fatalf("the page reports %.200s: %v", body, err)
		}
	case <-time.After(2 * time.Minute):
		said, err := os.ReadFile(b.log)
		b.t.Fatalf("the page has reported nothing for two minutes; the browser says (error %v):\n%s", err, said)
	}
}
