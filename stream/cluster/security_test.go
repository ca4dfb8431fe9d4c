package cluster_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// authority makes a certificate that vouches for itself, for servers and clients on loopback, and writes it as PEM.
func authority(t *testing.T) (certFile, keyFile string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tapewatch test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, cert
}

// reach asks the brokers of c for a sign of life.
func reach(t *testing.T, c cluster.Config) error {
	t.Helper()
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.RequestRetries(0), kgo.RetryTimeout(2*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	return cl.Ping(t.Context())
}

func fake(t *testing.T, opts ...kfake.Opt) cluster.Config {
	t.Helper()
	k, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Defaults()
	c.Brokers = k.ListenAddrs()
	return c
}

// TestLogin logs in to a broker that wants it, by each mechanism, encrypted by a certificate of no public authority; the wrong
// password and no login at all are refused.
func TestLogin(t *testing.T) {
	ca, _, cert := authority(t)
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c := fake(t, kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "watcher", "right"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
			c.TLS, c.TLSCA = true, ca
			if reach(t, c) == nil {
				t.Error("a client that does not log in was served")
			}
			c.SASL, c.User, c.Password = mechanism, "watcher", secret.New("right")
			if err := errors.Join(c.Validate(), reach(t, c)); err != nil {
				t.Errorf("right password: %v", err)
			}
			c.Password = secret.New("wrong")
			if err := reach(t, c); err == nil || strings.Contains(err.Error(), "wrong") {
				t.Errorf("wrong password: got %v, want an error that does not tell it", err)
			}
		})
	}
}

// TestCertificates holds a broker to tls_ca, and presents tls_cert to one that wants a certificate.
func TestCertificates(t *testing.T) {
	ca, key, cert := authority(t)
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	c := fake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}))
	c.TLS = true
	if reach(t, c) == nil {
		t.Error("a broker that no public authority vouches for was trusted")
	}
	c.TLSCA = ca
	if reach(t, c) == nil {
		t.Error("a client without a certificate was served")
	}
	c.TLSCert, c.TLSKey = ca, key
	if err := errors.Join(c.Validate(), reach(t, c)); err != nil {
		t.Error(err)
	}
	if reach(t, c.At(c.Brokers...)) == nil {
		t.Error("a client in the clear was served")
	}
}

func TestRegistryLogin(t *testing.T) {
	var user, password string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		_, _ = w.Write([]byte("[]"))
	}))
	defer srv.Close()
	c := cluster.Defaults()
	c.Registry, c.RegistryUser, c.RegistryPassword = srv.URL, "reader", secret.New("word")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	cl, err := sr.NewClient(c.RegistryOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Subjects(t.Context()); err != nil || user != "reader" || password != "word" {
		t.Errorf("the registry saw %q, %q, %v", user, password, err)
	}
}

func TestValidate(t *testing.T) {
	cert, key, _ := authority(t)
	for name, tc := range map[string]struct {
		change func(*cluster.Config)
		want   string
	}{
		"no brokers":       {func(c *cluster.Config) { c.Brokers = nil }, "kafka.brokers is empty"},
		"a URL":            {func(c *cluster.Config) { c.Brokers = []string{"http://kafka:9092"} }, "each entry must be host:port"},
		"no port number":   {func(c *cluster.Config) { c.Brokers = []string{"kafka:909x"} }, "each entry must be host:port"},
		"no host":          {func(c *cluster.Config) { c.Brokers = []string{":9092"} }, "each entry must be host:port"},
		"mechanism":        {func(c *cluster.Config) { c.SASL = "gssapi" }, `kafka.sasl is "gssapi": it must be plain, scram-sha-256, scram-sha-512`},
		"no user":          {func(c *cluster.Config) { c.SASL = "plain" }, "kafka.user and kafka.password"},
		"user, no sasl":    {func(c *cluster.Config) { c.User = "u" }, "kafka.sasl is empty"},
		"ca, no tls":       {func(c *cluster.Config) { c.TLSCA = cert }, "kafka.tls is false"},
		"ca is not there":  {func(c *cluster.Config) { c.TLS, c.TLSCA = true, "no.pem" }, "reading kafka.tls_ca: open no.pem"},
		"ca holds a key":   {func(c *cluster.Config) { c.TLS, c.TLSCA = true, key }, "holds none"},
		"cert without key": {func(c *cluster.Config) { c.TLS, c.TLSCert = true, cert }, "both must be set or neither"},
		"cert and cert":    {func(c *cluster.Config) { c.TLS, c.TLSCert, c.TLSKey = true, cert, cert }, "reading kafka.tls_cert"},
		"registry user":    {func(c *cluster.Config) { c.RegistryUser = "u" }, "kafka.registry_password"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Defaults()
			tc.change(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}
