package email_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/email"
	"github.com/belltower/belltower/internal/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Subject{
		To: "zebulon@example.org", Secrets: []string{password},
		New: func(t *testing.T) channeltest.Rig {
			s := serve(t, false, withUTF8)
			var sent []channeltest.Sent // parsed once, as there are many
			return channeltest.Rig{
				Channel: s.channel(t, login),
				Sent: func() []channeltest.Sent {
					for _, e := range s.taken()[len(sent):] {
						read := parse(t, e.data)
						// A mail has one kind of line break, for each that was typed.
						texts := []string{read.text, strings.ReplaceAll(read.text, "\r\n", "\n"), strings.ReplaceAll(read.text, "\r\n", "\r")}
						id, _, _ := strings.Cut(strings.Trim(read.header.Get("Message-Id"), "<>"), "@")
						sent = append(sent, channeltest.Sent{ID: id, Text: strings.Join(texts, "\x00")})
					}
					return sent
				},
				Refuse: func(reason string) {
					s.at("RCPT", answer(550, smtp.EnhancedCode{5, 7, 1}, strings.NewReplacer("\r", " ", "\n", " ").Replace(reason)))
				},
				Stall: func() <-chan struct{} {
					arrived, end := make(chan struct{}), make(chan struct{})
					s.at("END", func(*smtp.Conn) error {
						close(arrived)
						<-end
						return errors.New("nobody waits for this any more")
					})
					t.Cleanup(func() { close(end) })
					return arrived
				},
			}
		},
	})
}

func login(o *email.Options) { o.Username, o.Password = username, password }

func message() channels.Message {
	due := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	zone, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		panic(err)
	}
	return channels.Message{
		ID: "3f8e1f0a-9d53-5c58-8d2b-6a1f2f0c7e11", Channel: "email", Attempt: 1,
		To: "ann@example.org", Name: "Ann Ünver", Subject: `"Gradually" is over`, Text: "Hello Ann,\n\n.\n\"Grandsire\" starts in 2 hours <&>",
		Due: due, Expires: time.Now().Add(time.Hour),
		Event: channels.Event{
			UID: "0f8b6c0e-6d1c-4b8e-8a59-2f5a4f5b9a10", Sequence: 7, Changed: due.Add(-24 * time.Hour),
			Title: "Grandsire; triples, and more", Description: "Rounds\nand call changes", Location: "Łódź, north tower",
			Start: due.Add(2 * time.Hour), End: due.Add(4 * time.Hour), Zone: zone,
		},
		OptOut: "https://bells.example.org/v1/opt-out/" + strings.Repeat("c2lnbmVk", 10),
	}
}

func TestSecurity(t *testing.T) {
	explicit, implicit := serve(t, false), serve(t, true)
	bare := serve(t, false, plain)
	_, strangers := certify(t, "localhost")
	for name, tt := range map[string]struct {
		server *server
		change func(*email.Options)
		want   channels.Outcome
		code   string
	}{
		"STARTTLS":                       {explicit, func(*email.Options) {}, channels.Accepted, ""},
		"STARTTLS where it is offered":   {explicit, func(o *email.Options) { o.Security = email.Opportunity }, channels.Accepted, ""},
		"implicit TLS":                   {implicit, func(o *email.Options) { o.Security = email.ImplicitTLS }, channels.Accepted, ""},
		"none":                           {bare, func(o *email.Options) { o.Security = email.Plaintext }, channels.Accepted, ""},
		"STARTTLS, where none is":        {bare, func(o *email.Options) { o.Security = email.Opportunity }, channels.Accepted, ""},
		"STARTTLS is not offered":        {bare, func(*email.Options) {}, channels.Broken, "setup"},
		"TLS on a port without it":       {explicit, func(o *email.Options) { o.Security = email.ImplicitTLS }, channels.Broken, "tls"},
		"a stranger's certificate":       {explicit, func(o *email.Options) { o.RootCAs = strangers }, channels.Broken, "certificate"},
		"a stranger's, implicit":         {implicit, func(o *email.Options) { o.Security, o.RootCAs = email.ImplicitTLS, strangers }, channels.Broken, "certificate"},
		"a certificate of another name":  {explicit, func(o *email.Options) { o.Host = "127.0.0.1" }, channels.Broken, "certificate"},
		"a stranger's, where it may be":  {explicit, func(o *email.Options) { o.Security, o.RootCAs = email.Opportunity, strangers }, channels.Broken, "certificate"},
		"the password":                   {explicit, login, channels.Accepted, ""},
		"the password, implicit":         {implicit, func(o *email.Options) { login(o); o.Security = email.ImplicitTLS }, channels.Accepted, ""},
		"a wrong password":               {explicit, func(o *email.Options) { login(o); o.Password = "wrong" }, channels.Broken, "535 5.7.8"},
		"nobody listens":                 {explicit, func(o *email.Options) { o.Port = closedPort(t) }, channels.Later, "no_connection"},
		"there is no such host":          {explicit, func(o *email.Options) { o.Host = "mx.invalid" }, channels.Later, "no_connection"},
		"a password, unencrypted, afar":  {bare, func(o *email.Options) { login(o); o.Security, o.Host = email.Plaintext, "127.0.0.1" }, channels.Accepted, ""},
		"a password, no way to offer it": {serve(t, false, plain, func(s *smtp.Server) { s.AllowInsecureAuth = false }), func(o *email.Options) { login(o); o.Security = email.Plaintext }, channels.Broken, "setup"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(tt.server.taken())
			result := tt.server.channel(t, tt.change).Send(t.Context(), message())
			require.Equal(t, tt.want, result.Outcome, result.Detail)
			require.Equal(t, tt.code, result.Code)
			if tt.want == channels.Accepted {
				require.Len(t, tt.server.taken(), before+1)
			} else {
				require.Len(t, tt.server.taken(), before)
				require.NotEmpty(t, result.Detail)
				require.NotContains(t, result.Detail, password)
			}
		})
	}
	require.Equal(t, 1, explicit.logins)
	require.Equal(t, 1, implicit.logins)
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(freeport.Address(t))
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	return number
}

// Something else listens: the port is wrong.
func TestNoSMTPServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	s := &server{host: "127.0.0.1", port: other.Listener.Addr().(*net.TCPAddr).Port}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel) // HTTP servers wait to be spoken to
	result := s.channel(t).Send(ctx, message())
	require.Equal(t, channels.Later, result.Outcome, result.Detail)
}

func TestAddressesOutsideASCII(t *testing.T) {
	with, without := serve(t, false, withUTF8), serve(t, false)
	m := message()
	require.Equal(t, channels.Accepted, with.channel(t).Send(t.Context(), m).Outcome)
	m.To = "jörg@example.org"
	require.Equal(t, channels.Accepted, with.channel(t).Send(t.Context(), m).Outcome)
	require.Equal(t, []bool{false, true}, with.utf8, "only who needs it asks for it")
	require.Equal(t, "jörg@example.org", with.taken()[1].to)
	result := without.channel(t).Send(t.Context(), m)
	require.Equal(t, channels.Rejected, result.Outcome)
	require.Contains(t, result.Detail, "SMTPUTF8")

	m.To = "ann@example.org"
	asJörg := func(o *email.Options) { o.From.Address = "jörg@sender.example" }
	require.Equal(t, channels.Accepted, with.channel(t, asJörg).Send(t.Context(), m).Outcome)
	require.Equal(t, channels.Rejected, without.channel(t, asJörg).Send(t.Context(), m).Outcome)

	m.To = "joerg@bücher.example"
	require.Equal(t, channels.Accepted, without.channel(t).Send(t.Context(), m).Outcome)
	require.Equal(t, "joerg@xn--bcher-kva.example", without.taken()[0].to)
}

func TestTooLargeIsNotSent(t *testing.T) {
	s := serve(t, false, func(s *smtp.Server) { s.MaxMessageBytes = 2000 })
	result := s.channel(t).Send(t.Context(), message())
	require.Equal(t, channels.Rejected, result.Outcome)
	require.Contains(t, result.Detail, "larger than the server takes")
	require.Empty(t, s.utf8, "MAIL was not said")
}

func TestTryGivesTheServersWords(t *testing.T) {
	s := serve(t, false)
	_, words := s.channel(t).Try(t.Context(), message())
	require.Contains(t, words, "OK")
	s.at("RCPT", answer(550, smtp.EnhancedCode{5, 1, 1}, "no such user here"))
	result, words := s.channel(t).Try(t.Context(), message())
	require.Equal(t, "550 5.1.1 no such user here", words)
	require.Equal(t, "550 5.1.1", result.Code)
	require.NotContains(t, result.Detail, "no such user")
}

// A probe logs in and sends nothing.
func TestProbe(t *testing.T) {
	s := serve(t, false)
	result, words := s.channel(t, login).Probe(t.Context())
	require.Equal(t, channels.Accepted, result.Outcome, words)
	require.Equal(t, 1, s.logins)
	require.Empty(t, s.utf8, "MAIL was not said")
	wrong := func(o *email.Options) { o.Username, o.Password = username, "guessed" }
	result, words = s.channel(t, wrong).Probe(t.Context())
	require.Equal(t, channels.Broken, result.Outcome)
	require.Contains(t, words, "535")
	gone := func(o *email.Options) { o.Port = closedPort(t) }
	result, _ = s.channel(t, gone).Probe(t.Context())
	require.Equal(t, channels.Later, result.Outcome, result.Detail)
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*email.Options){
		"security": func(o *email.Options) { o.Security = "" },
		"host":     func(o *email.Options) { o.Host = "" },
		"port":     func(o *email.Options) { o.Port = 0 },
		"sender":   func(o *email.Options) { o.From.Address = "bells" },
		"domain":   func(o *email.Options) { o.From.Address = "bells@" },
	} {
		o := (&server{host: "localhost", port: 25}).options()
		change(&o)
		_, err := email.New(o)
		require.Error(t, err, name)
	}
}
