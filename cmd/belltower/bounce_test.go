package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
	"github.com/belltower/belltower/internal/freeport"
	"github.com/belltower/belltower/keys"
)

// postOffice is a mail server that takes everything.
type postOffice struct {
	address string
	mu      sync.Mutex
	mails   []posted
}

type posted struct {
	from, to string
	data     []byte
}

func startPostOffice(t *testing.T) *postOffice {
	t.Helper()
	p := &postOffice{}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &posting{post: p}, nil }))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.address = listener.Addr().String()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close()
		<-ended
	})
	return p
}

// taken waits for as many mails.
func (p *postOffice) taken(t *testing.T, n int) (mails []posted) {
	t.Helper()
	until(t, "the mails are there", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		mails = p.mails
		return len(mails) >= n
	})
	return mails
}

type posting struct {
	post *postOffice
	mail posted
}

func (s *posting) Reset()                                      {}
func (s *posting) Logout() error                               { return nil }
func (s *posting) Mail(from string, _ *smtp.MailOptions) error { s.mail.from = from; return nil }
func (s *posting) Rcpt(to string, _ *smtp.RcptOptions) error   { s.mail.to = to; return nil }
func (s *posting) Data(r io.Reader) (err error) {
	if s.mail.data, err = io.ReadAll(r); err != nil {
		return err
	}
	s.post.mu.Lock()
	defer s.post.mu.Unlock()
	s.post.mails = append(s.post.mails, s.mail)
	return nil
}

// report says that a mail to an address didn't arrive.
func report(to string) string {
	return "From: MAILER-DAEMON@mx.example\r\nTo: " + to + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--x--\r\n"
}

// The marks are made with a key of the log's: they outlive the service, and are
// the same in all its instances.
func TestBounceAddressesOfAService(t *testing.T) {
	server := startPostOffice(t)
	folder := filepath.Join(t.TempDir(), "data")
	p := serving(t, folder, "BELLTOWER_SMTP=smtp://"+server.address, "BELLTOWER_SMTP_TLS=none", "BELLTOWER_SMTP_FROM=choir@sender.example",
		"BELLTOWER_SMTP_BOUNCE_ADDRESS=bounces@back.example")
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil)).text("id")
	p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, object{"email": "ann@example.org"}))
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Hear, hear"})
	sent := server.taken(t, 1)[0]
	require.Regexp(t, `^bounces\+[a-z2-7]{42}@back\.example$`, sent.from)
	p.caughtUp(t)
	id := p.does(t, 200, "GET", "/v1/notifications", nil).items()[0].text("id")
	p.finish(t, syscall.SIGTERM)

	ring, err := keys.Open(t.Context(), folder, keys.Existing())
	require.NoError(t, err)
	defer func() { require.NoError(t, ring.Close()) }()
	reader := func(key *bounceKey) *email.Channel {
		c, err := email.New(email.Options{
			Host: "localhost", Port: 25, Security: email.Plaintext, From: mail.Address{Address: "choir@sender.example"}, Bounces: "bounces@back.example", Digest: key.of,
		})
		require.NoError(t, err)
		return c
	}
	key := newBounceKey()
	_, err = reader(key).Receive(nil, []byte(report(sent.from)))
	require.ErrorIs(t, err, channels.ErrForged, "of no log")
	key.use(func(data []byte) []byte { return ring.Digest(bouncePurpose, data) })
	got, err := reader(key).Receive(nil, []byte(report(sent.from)))
	require.NoError(t, err)
	require.Equal(t, id, got[0].MessageID)
	require.Equal(t, channels.AddressDied, got[0].News)
}

// piped runs 'belltower bounce' as a mail server does.
func piped(t *testing.T, mail string, args ...string) (code int, said string) {
	t.Helper()
	p := launch(t, launchOptions{args: append([]string{"bounce"}, args...), change: func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader(mail) }})
	code = p.exit(t)
	require.Empty(t, p.out.String())
	return code, p.err.String()
}

func TestBounceCommand(t *testing.T) {
	var (
		mu     sync.Mutex
		status int
		body   []byte
	)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ = io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/v1/receipts/smtp" || r.Header.Get("Content-Type") != "message/rfc822" || r.Header.Get("Authorization") != "" {
			status = http.StatusTeapot
		}
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, "said the service")
		}
	}))
	defer service.Close()
	large := report("bounces@back.example") + strings.Repeat("A line of what was sent.\r\n", 100_000)
	for answered, want := range map[int]int{
		200: 0, 202: 0, 204: 0, 400: exitNoBounce, 401: exitNoBounce, 403: exitNoBounce, 413: exitNoBounce, 422: exitNoBounce,
		302: exitTryAgain, 404: exitTryAgain, 429: exitTryAgain, 500: exitTryAgain, 503: exitTryAgain,
	} {
		mu.Lock()
		status = answered
		mu.Unlock()
		err := handBounce(t.Context(), strings.NewReader(large), func() (string, error) { return service.URL, nil })
		require.Equal(t, large[:maxBounce], string(body))
		if want == 0 {
			require.NoError(t, err, answered)
			continue
		}
		require.Equal(t, want, exitCode(err), "%d: %s", answered, err)
		require.Equal(t, want == exitNoBounce, strings.Contains(err.Error(), "said the service"), err)
	}
	mu.Lock()
	status = http.StatusNoContent
	mu.Unlock()
	code, said := piped(t, large, "--url", service.URL+"/")
	require.Zero(t, code, said)
	require.Equal(t, large[:maxBounce], string(body))
	for says, args := range map[string][]string{
		"connection refused":    {"--url", "http://" + freeport.Address(t)},
		"is not a URL":          {"--url", "nowhere"},
		"unknown flag":          {"--to", "nowhere"},
		"bounce takes no argum": {"mail.eml"},
	} {
		code, said := piped(t, "To: x\r\n\r\n", args...)
		require.Equal(t, exitTryAgain, code, said)
		require.Contains(t, said, says)
	}
}

// A mail that can't be read to its end is not handed over in part.
func TestBounceThatBreaksOff(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err := handBounce(ctx, io.MultiReader(strings.NewReader("To: x"), broken{}), func() (string, error) { return "", errors.New("it was asked") })
	require.ErrorContains(t, err, "read the mail: it broke")
	require.Equal(t, exitTryAgain, exitCode(err))
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("it broke") }
