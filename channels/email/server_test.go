package email_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/email"
)

const (
	username = "bells@sender.example"
	password = "correct horse battery staple"
)

// server is an SMTP server by another author, which does as the test says.
type server struct {
	host string
	port int
	pool *x509.CertPool

	mu     sync.Mutex
	mails  []envelope
	utf8   []bool // of each MAIL
	logins int
	on     map[string]func(*smtp.Conn) error // what EHLO, AUTH, MAIL, RCPT, DATA and END answer
}

type envelope struct {
	from, to string
	mail     smtp.MailOptions
	rcpt     smtp.RcptOptions
	data     []byte
}

// plain has the server offer no TLS; others change the server before it starts.
type tweak func(*smtp.Server)

func plain(s *smtp.Server)    { s.TLSConfig = nil }
func withUTF8(s *smtp.Server) { s.EnableSMTPUTF8 = true }
func withDSN(s *smtp.Server)  { s.EnableDSN = true }

func serve(t *testing.T, implicit bool, tweaks ...tweak) *server {
	t.Helper()
	s := &server{on: map[string]func(*smtp.Conn) error{}, host: "localhost"}
	certificate, pool := certify(t, "localhost")
	s.pool = pool
	backend := smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		if err := s.do("EHLO", c); err != nil {
			return nil, err
		}
		return &session{server: s, conn: c}, nil
	})
	one := smtp.NewServer(backend)
	one.Domain, one.AllowInsecureAuth, one.ErrorLog = "mx.example", true, quiet{}
	one.MaxLineLength = 1000 // RFC 5321, section 4.5.3.1.6
	one.MaxMessageBytes = 64 << 20
	one.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	for _, change := range tweaks {
		change(one)
	}
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	s.port = listener.Addr().(*net.TCPAddr).Port
	if implicit {
		listener = tls.NewListener(listener, one.TLSConfig)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = one.Serve(listener) })
	t.Cleanup(func() {
		_ = one.Close()
		_ = listener.Close() // Close knows only what Serve has begun with
		running.Wait()
	})
	return s
}

// quiet is for connections that tests break on purpose.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// certify makes a certificate for host, and the pool that it is valid in.
func certify(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// at has a command answered by what do returns.
func (s *server) at(command string, do func(*smtp.Conn) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on[command] = do
}

func (s *server) do(command string, c *smtp.Conn) error {
	s.mu.Lock()
	do := s.on[command]
	s.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(c)
}

func (s *server) taken() []envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails
}

// options reach the server over STARTTLS.
func (s *server) options() email.Options {
	return email.Options{
		Host: s.host, Port: s.port, Security: email.STARTTLS, RootCAs: s.pool,
		From: mail.Address{Name: "Belltower", Address: "bells@sender.example"},
	}
}

func (s *server) channel(t *testing.T, changes ...func(*email.Options)) *email.Channel {
	t.Helper()
	o := s.options()
	for _, change := range changes {
		change(&o)
	}
	c, err := email.New(o)
	require.NoError(t, err)
	return c
}

// answer refuses with a code and an enhanced one, which may be missing.
func answer(code int, enhanced smtp.EnhancedCode, text string) func(*smtp.Conn) error {
	return func(*smtp.Conn) error { return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text} }
}

// cut ends the connection without an answer.
func cut(c *smtp.Conn) error {
	_ = c.Conn().Close()
	return errors.New("cut")
}

type session struct {
	server   *server
	conn     *smtp.Conn
	envelope envelope
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if err := s.server.do("AUTH", s.conn); err != nil {
			return err
		}
		if user != username || pass != password {
			return smtp.ErrAuthFailed
		}
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.logins++
		return nil
	}), nil
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.server.mu.Lock()
	s.server.utf8 = append(s.server.utf8, o.UTF8)
	s.server.mu.Unlock()
	s.envelope = envelope{from: from, mail: *o}
	return s.server.do("MAIL", s.conn)
}

func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	s.envelope.to, s.envelope.rcpt = to, *o
	return s.server.do("RCPT", s.conn)
}

func (s *session) Data(r io.Reader) error {
	if err := s.server.do("DATA", s.conn); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.server.do("END", s.conn); err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.envelope.data = data
	s.server.mails = append(s.server.mails, s.envelope)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
