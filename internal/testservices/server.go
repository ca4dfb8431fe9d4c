package testservices

import (
	"net/url"
	"os"
	"testing"
)

// Server is a PostgreSQL or Redis server of its own for one test.
type Server struct {
	// URL is the address with which a client connects, the same after every Start.
	URL string

	t      testing.TB
	script string
	dir    string
}

func newServer(t testing.TB, requirement, name string, start func() (dir, address string, err error)) *Server {
	t.Helper()
	dir, address, err := start()
	if err != nil {
		unavailable(t, requirement, err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	server := &Server{URL: address, t: t, script: name, dir: dir}
	t.Cleanup(server.Stop)
	return server
}

// Stop ends the server; its clients' connections break. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if _, err := script(s.script, "stop", s.dir); err != nil {
		s.t.Errorf("stopping %s: %v", s.URL, err)
	}
}

// Start starts a stopped server again on its data and its port.
func (s *Server) Start() {
	s.t.Helper()
	address, err := url.Parse(s.URL)
	if err != nil {
		s.t.Fatalf("reading the server's address: %v", err)
	}
	if _, err := script(s.script, "start", s.dir, address.Port()); err != nil {
		s.t.Fatalf("starting %s again: %v", s.URL, err)
	}
}
