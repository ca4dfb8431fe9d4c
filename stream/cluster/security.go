package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/twmb/franz-go/pkg/sr"
)

// At is the config for other brokers that want neither encryption nor a login, as the embedded one.
func (c Config) At(brokers ...string) Config {
	c.Brokers, c.TLS, c.SASL = brokers, false, ""
	return c
}

func (c Config) validateSecurity() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("kafka.tls_cert is %q and kafka.tls_key is %q: either both must be set or neither", c.TLSCert, c.TLSKey)
	}
	if c.customTLS() && !c.TLS && c.Registry == "" {
		return errors.New("kafka.tls_ca or kafka.tls_cert is set and kafka.tls is false: set kafka.tls too")
	}
	if _, err := c.tls(); err != nil {
		return err
	}
	if _, err := c.login(); err != nil {
		return err
	}
	switch {
	case c.SASL == "" && (c.User != "" || !c.Password.IsZero()):
		return errors.New("kafka.user or kafka.password is set and kafka.sasl is empty: it must be plain, scram-sha-256 or scram-sha-512")
	case c.SASL != "" && (c.User == "" || c.Password.IsZero()):
		return fmt.Errorf("kafka.sasl is %q: kafka.user and kafka.password (or the file TAPEWATCH_KAFKA__PASSWORD_FILE names) must be set too", c.SASL)
	case (c.RegistryUser == "") != c.RegistryPassword.IsZero():
		return errors.New("kafka.registry_user or kafka.registry_password is set without the other: either both must be set or neither")
	}
	return nil
}

func (c Config) customTLS() bool { return c.TLSCA != "" || c.TLSCert != "" }

// tls reads the files that the settings name.
func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("reading kafka.tls_ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.tls_ca is %q: it must hold certificates in PEM, and holds none", c.TLSCA)
		}
	}
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("reading kafka.tls_cert %q and kafka.tls_key %q: %w", c.TLSCert, c.TLSKey, err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// login returns nil where no login is wanted.
func (c Config) login() (sasl.Mechanism, error) {
	password := c.Password.Reveal()
	switch c.SASL {
	case "":
		return nil, nil
	case "plain":
		return plain.Auth{User: c.User, Pass: password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: c.User, Pass: password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: c.User, Pass: password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("kafka.sasl is %q: it must be plain, scram-sha-256, scram-sha-512 or empty", c.SASL)
}

// security is how a client encrypts and logs in. Validate has read the files; one that has gone since fails each dial.
func (c Config) security() []kgo.Opt {
	var opts []kgo.Opt
	if c.TLS {
		t, err := c.tls()
		if err != nil {
			return []kgo.Opt{kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, err })}
		}
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if login, err := c.login(); err == nil && login != nil {
		opts = append(opts, kgo.SASL(login))
	}
	return opts
}

// RegistryOptions are the options of a client of the schema registry.
func (c Config) RegistryOptions() []sr.ClientOpt {
	opts := []sr.ClientOpt{sr.URLs(c.Registry)}
	if c.RegistryUser != "" {
		opts = append(opts, sr.BasicAuth(c.RegistryUser, c.RegistryPassword.Reveal()))
	}
	if t, err := c.tls(); err == nil && c.customTLS() {
		opts = append(opts, sr.DialTLSConfig(t))
	}
	return opts
}
