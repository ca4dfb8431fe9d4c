// Package auth knows who may use the API: static bearer tokens, of which only hashes are configured, and one-time tickets
// for WebSockets, to which a browser can add no header.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what comes from outside.
const (
	maxTokenLength = 512
	maxTickets     = 10_000
)

// SubprotocolPrefix marks the WebSocket subprotocol that carries a token.
const SubprotocolPrefix = "bearer."

// ErrUnauthorized is returned for every refusal, without the reason, which would help only an attacker.
var ErrUnauthorized = errors.New("a valid token is needed: send `Authorization: Bearer <token>`")

// Config names the tokens.
type Config struct {
	Tokens         []string      `koanf:"tokens" doc:"Who may use the API: name=sha256:<hash of the token in hex>, with @<RFC 3339 time> at the end when it expires. Empty switches authentication off, which only a loopback address allows."`
	TicketLifetime time.Duration `koanf:"ticket_lifetime" doc:"How long a one-time WebSocket ticket can be used."`
}

// Defaults have no token.
func Defaults() Config { return Config{TicketLifetime: 30 * time.Second} }

// Identity is who a request comes from.
type Identity struct {
	Name string
	// Expires is when the token ends; zero for never.
	Expires time.Time
}

type token struct {
	Identity
	hash [sha256.Size]byte
}

type ticket struct {
	Identity
	until time.Time
}

// Authenticator checks tokens and tickets. It may be used by many goroutines.
type Authenticator struct {
	tokens   []token
	lifetime time.Duration
	now      func() time.Time

	// mu guards tickets, by hash.
	mu      sync.Mutex
	tickets map[[sha256.Size]byte]ticket
}

// New reads the tokens. now is the wall clock, by which tokens and tickets expire.
func New(c Config, now func() time.Time) (*Authenticator, error) {
	if c.TicketLifetime <= 0 || c.TicketLifetime > time.Hour {
		return nil, fmt.Errorf("auth.ticket_lifetime is %s: it must be greater than zero and at most 1h", c.TicketLifetime)
	}
	a := &Authenticator{lifetime: c.TicketLifetime, now: now, tickets: map[[sha256.Size]byte]ticket{}}
	for i, text := range c.Tokens {
		t, err := parseToken(text)
		if err != nil {
			return nil, fmt.Errorf("auth.tokens[%d]: %w", i, err)
		}
		a.tokens = append(a.tokens, t)
	}
	return a, nil
}

// parseToken never repeats the text in an error: somebody may have put the token itself there.
func parseToken(text string) (token, error) {
	name, rest, ok := strings.Cut(text, "=sha256:")
	digest, expires, limited := strings.Cut(rest, "@")
	raw, err := hex.DecodeString(digest)
	if !ok || name == "" || err != nil || len(raw) != sha256.Size {
		return token{}, errors.New("it must be like name=sha256:<64 hex digits>, the SHA-256 of the token (printf %s TOKEN | sha256sum)")
	}
	t := token{Identity: Identity{Name: name}, hash: [sha256.Size]byte(raw)}
	if limited {
		if t.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
			return token{}, fmt.Errorf("the expiry is %q: it must be like 2027-01-31T00:00:00Z", expires)
		}
	}
	return t, nil
}

// Enabled reports whether any token is configured.
func (a *Authenticator) Enabled() bool { return len(a.tokens) > 0 }

// Token returns who a token belongs to. Every configured hash is compared, in constant time.
func (a *Authenticator) Token(text string) (Identity, error) {
	if text == "" || len(text) > maxTokenLength {
		return Identity{}, ErrUnauthorized
	}
	hash := sha256.Sum256([]byte(text))
	found := -1
	for i := range a.tokens {
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 || a.expired(a.tokens[found].Identity) {
		return Identity{}, ErrUnauthorized
	}
	return a.tokens[found].Identity, nil
}

func (a *Authenticator) expired(id Identity) bool {
	return !id.Expires.IsZero() && !a.now().Before(id.Expires)
}

// Request returns who a request comes from, by its one Authorization header. Without any configured token everybody may come.
func (a *Authenticator) Request(r *http.Request) (Identity, error) {
	if !a.Enabled() {
		return Identity{Name: "anonymous"}, nil
	}
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return Identity{}, ErrUnauthorized
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, ErrUnauthorized
	}
	return a.Token(text)
}

// Upgrade returns who a WebSocket comes from: by header, by the subprotocol bearer.<token>, or by a one-time ticket in the
// query, which is used up.
func (a *Authenticator) Upgrade(r *http.Request) (Identity, error) {
	if !a.Enabled() {
		return Identity{Name: "anonymous"}, nil
	}
	if len(r.Header.Values("Authorization")) > 0 {
		return a.Request(r)
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for protocol := range strings.SplitSeq(line, ",") {
			if text, ok := strings.CutPrefix(strings.TrimSpace(protocol), SubprotocolPrefix); ok {
				return a.Token(text)
			}
		}
	}
	return a.redeem(r.URL.Query().Get("ticket"))
}

// Issue makes a ticket for an identity. It is valid in this process only.
func (a *Authenticator) Issue(id Identity) (text string, until time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for hash, t := range a.tickets {
		if !now.Before(t.until) {
			delete(a.tickets, hash)
		}
	}
	if len(a.tickets) >= maxTickets {
		return "", time.Time{}, errors.New("too many tickets are open: use them, or wait until they expire")
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process first
	text = base64.RawURLEncoding.EncodeToString(raw[:])
	until = now.Add(a.lifetime)
	a.tickets[sha256.Sum256([]byte(text))] = ticket{id, until}
	return text, until, nil
}

// redeem uses a ticket up. Tickets are found by hash, so the time it takes tells nothing about others.
func (a *Authenticator) redeem(text string) (Identity, error) {
	if text == "" || len(text) > maxTokenLength {
		return Identity{}, ErrUnauthorized
	}
	hash := sha256.Sum256([]byte(text))
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tickets[hash]
	delete(a.tickets, hash)
	if !ok || !a.now().Before(t.until) || a.expired(t.Identity) {
		return Identity{}, ErrUnauthorized
	}
	return t.Identity, nil
}
