// Package email carries messages to one SMTP server, or to SendGrid, which take
// them on to their recipients.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
	"golang.org/x/net/idna"

	"github.com/belltower/belltower/channels"
)

// Security is how the connection to the server is protected.
type Security string

// The kinds of security. Whatever is encrypted is verified: the certificate has
// to be valid for the server's name.
const (
	STARTTLS    Security = "starttls"    // encrypted from STARTTLS on (RFC 3207), or nothing is sent
	ImplicitTLS Security = "tls"         // encrypted from the first byte on (RFC 8314)
	Opportunity Security = "opportunity" // STARTTLS where the server offers it; somebody in between can keep it from that
	Plaintext   Security = "none"        // for a server on the same machine or network
)

// Options say which server, and as whom.
type Options struct {
	Host     string
	Port     int
	Security Security
	Username string // empty: no authentication
	Password string
	From     mail.Address
	DKIM     *DKIM // nil: mails are not signed
	// Bounces is the address that mails come back to, with a mark of the mail's own
	// behind a +, so that Receive can tell which. Empty: they come back to From.
	Bounces string
	Digest  func(data []byte) []byte // keyed, of 10 octets or more; with Bounces
	RootCAs *x509.CertPool           // that certificates are verified with; nil: the system's
	Now     func() time.Time         // nil: time.Now
}

// Channel sends e-mail through one SMTP server, with a connection for each
// message. Its methods may be called concurrently.
type Channel struct {
	o       Options
	from    address
	bounces *bounces // nil: mails come back to from
	tls     *tls.Config
}

// New makes a channel. Nothing is connected to before the first Send.
func New(o Options) (*Channel, error) {
	switch o.Security {
	case STARTTLS, ImplicitTLS, Opportunity, Plaintext:
	default:
		return nil, fmt.Errorf("email: %q is no kind of security", o.Security)
	}
	if o.Host == "" || o.Port < 1 || o.Port > 65535 {
		return nil, errors.New("email: the server has no host or no port")
	}
	from, err := parseAddress(o.From.Address)
	if err != nil {
		return nil, fmt.Errorf("email: the sender's address: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Channel{
		o: o, from: from,
		tls: &tls.Config{ServerName: o.Host, MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
	}
	if o.Bounces != "" {
		if o.Digest == nil {
			return nil, errors.New("email: bounce addresses need a key")
		}
		if c.bounces, err = newBounces(o.Bounces, o.Digest); err != nil {
			return nil, fmt.Errorf("email: the bounce address: %w", err)
		}
	}
	return c, nil
}

// Server names the server, for people.
func (c *Channel) Server() string { return net.JoinHostPort(c.o.Host, strconv.Itoa(c.o.Port)) }

// Bounds of what goes into headers and links.
const (
	maxAddress = 254 // octets (RFC 5321, section 4.5.3.1.3, less the brackets)
	maxLink    = 900 // octets: a line has at most 998
)

// identifier is what may stand in a Message-ID and a UID as it is.
var identifier = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// Check refuses what can't be put into a mail. What it says doesn't quote it.
func (c *Channel) Check(m channels.Message) error { return checkMail(m) }

func checkMail(m channels.Message) error {
	if _, err := parseAddress(m.To); err != nil {
		return fmt.Errorf("email: the recipient's address: %w", err)
	}
	if !identifier.MatchString(m.ID) {
		return errors.New("email: the message's id can't stand in a Message-ID")
	}
	if m.Event.UID != "" && !identifier.MatchString(m.Event.UID) {
		return errors.New("email: the event's id can't stand in a calendar")
	}
	if m.OptOut != "" && !linkable(m.OptOut) {
		return errors.New("email: the link to end messages is no URL that fits into a header")
	}
	return nil
}

func linkable(link string) bool {
	u, err := url.Parse(link)
	outside := func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' || r == '"' }
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && len(link) <= maxLink && !strings.ContainsFunc(link, outside)
}

// oneClick tells whether a link may stand in a header for mail programs (RFC 8058).
func oneClick(link string) bool {
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "https"
}

// Send makes one attempt: it connects, hands over one mail to one recipient and
// disconnects. It is Unknown only where the end of the mail may have reached the
// server and its answer didn't come.
func (c *Channel) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := c.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives the server's last words as well. They may
// quote the message and its recipient: show them to who asked, and keep them not.
func (c *Channel) Try(ctx context.Context, m channels.Message) (result channels.Result, words string) {
	if err := c.Check(m); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}, ""
	}
	if c.o.Now().After(m.Expires) {
		return channels.Result{Outcome: channels.Rejected, Code: "expired", Detail: "email: the message has expired"}, ""
	}
	if ctx.Err() != nil {
		return channels.Result{Outcome: channels.Later, Code: "timeout", Detail: "email: there was no time to connect"}, ""
	}
	to, _ := parseAddress(m.To) // as Check has
	id := m.ID + "@" + c.from.domain
	body, err := c.compose(m, to, id)
	if err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "compose", Detail: "email: the mail could not be composed"}, ""
	}
	if c.o.DKIM != nil {
		if body, err = c.o.DKIM.sign(body); err != nil {
			return channels.Result{Outcome: channels.Broken, Code: "dkim", Detail: "email: the mail could not be signed"}, ""
		}
	}
	e := envelope{from: c.from, to: to}
	if c.bounces != nil {
		e.from, e.id = c.bounces.address(m.ID)
	}
	words, at, err := c.transact(ctx, e, body)
	if err != nil {
		return classify(at, err), lastWords(err)
	}
	return channels.Result{Outcome: channels.Accepted, Ref: "<" + id + ">"}, words
}

// Probe connects and authenticates as Send does, and sends nothing. words are the
// server's, where it refuses.
func (c *Channel) Probe(ctx context.Context) (result channels.Result, words string) {
	err := c.session(ctx, false, func(*smtp.Client) error { return nil })
	if err != nil {
		return classify(connecting, err), lastWords(err)
	}
	return channels.Result{Outcome: channels.Accepted}, ""
}

// address is an address as SMTP takes it.
type address struct{ local, domain string } // domain as an A-label

func (a address) String() string { return a.local + "@" + a.domain }

// needsUTF8 tells whether only a server with SMTPUTF8 can take a (RFC 6531).
func (a address) needsUTF8() bool {
	return strings.ContainsFunc(a.local, func(r rune) bool { return r > '~' })
}

// parseAddress reads one address without a name. Its errors don't quote it.
func parseAddress(text string) (address, error) {
	parsed, err := mail.ParseAddress("<" + text + ">")
	at := strings.LastIndexByte(text, '@')
	if err != nil || parsed.Address != text || parsed.Name != "" || at < 1 || len(text) > maxAddress {
		return address{}, errors.New("it is not one address")
	}
	domain, err := idna.Lookup.ToASCII(text[at+1:])
	if err != nil || domain == "" {
		return address{}, errors.New("its domain is none")
	}
	return address{text[:at], domain}, nil
}
