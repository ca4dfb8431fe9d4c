// Package api is the HTTP face of tapewatch: health, metrics, events, the WebSocket, and the OpenAPI document that is made from
// the code.
//
// Open to everybody are /livez, /readyz, /version, /openapi.json and the page at /. Everything else needs a token as soon as
// one is configured, and an address other than loopback is not served without one.
package api

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/api/health"
)

// Config says where and how to serve.
type Config struct {
	Host           string        `koanf:"host" doc:"Address to listen on; one that others can reach needs auth.tokens."`
	Port           int           `koanf:"port" doc:"Port to listen on; 0 takes any free one."`
	AdminHost      string        `koanf:"admin_host" doc:"Loopback address of the admin port, which has pprof and metrics without authentication."`
	AdminPort      int           `koanf:"admin_port" doc:"Admin port; 0 opens none."`
	Auth           auth.Config   `koanf:"auth" doc:"Who may use the API."`
	Health         health.Config `koanf:"health" doc:"What silence of a process means."`
	TrustedOrigins []string      `koanf:"trusted_origins" doc:"Origins, scheme://host[:port], whose pages may send requests that change something."`
	MaxBodyBytes   int64         `koanf:"max_body_bytes" doc:"Longest request body, in bytes."`
	HeaderTimeout  time.Duration `koanf:"header_timeout" doc:"How long a client may take to send a request's headers."`
	RequestTimeout time.Duration `koanf:"request_timeout" doc:"How long a request may take to be read and answered; WebSockets are not limited by it."`
}

// Defaults serve this machine only.
func Defaults() Config {
	return Config{
		Host: "127.0.0.1", Port: 8080, AdminHost: "127.0.0.1", Auth: auth.Defaults(), Health: health.Defaults(), MaxBodyBytes: 64 << 10,
		HeaderTimeout: 5 * time.Second, RequestTimeout: 30 * time.Second,
	}
}

// Validate checks the settings, and that nobody is served who should not be.
func (c Config) Validate() error {
	for _, p := range []struct {
		name string
		port int
	}{{"port", c.Port}, {"admin_port", c.AdminPort}} {
		if p.port < 0 || p.port > 65535 {
			return fmt.Errorf("api.%s is %d: it must lie in 0..65535", p.name, p.port)
		}
	}
	if !loopback(c.Host) && len(c.Auth.Tokens) == 0 {
		return fmt.Errorf("api.host is %q and api.auth.tokens is empty: an address that others can reach needs at least one token "+
			"(or serve 127.0.0.1)", c.Host)
	}
	if c.AdminPort != 0 && !loopback(c.AdminHost) {
		return fmt.Errorf("api.admin_host is %q: it must be a loopback address, the admin port has no authentication", c.AdminHost)
	}
	if err := c.Health.Validate(); err != nil {
		return fmt.Errorf("api.health: %w", err)
	}
	switch {
	case c.MaxBodyBytes < 1:
		return fmt.Errorf("api.max_body_bytes is %d: it must be greater than zero", c.MaxBodyBytes)
	case c.HeaderTimeout <= 0:
		return fmt.Errorf("api.header_timeout is %s: it must be greater than zero", c.HeaderTimeout)
	case c.RequestTimeout <= 0:
		return fmt.Errorf("api.request_timeout is %s: it must be greater than zero", c.RequestTimeout)
	}
	return nil
}

// loopback reports whether only this machine can reach a host. An empty one means every address.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func (c Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }
