package email

import (
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// envelope is what a server is told of a mail besides the mail.
type envelope struct {
	from, to address
	id       string // if from is a bounce address of the mail's own
}

// needsUTF8 tells whether only a server with SMTPUTF8 can take it (RFC 6531).
func (e envelope) needsUTF8() bool { return e.to.needsUTF8() || e.from.needsUTF8() }

// mail is what MAIL says. With dsn, the server has the extension of RFC 3461, and
// is told the envelope's id, which comes back in what it reports.
func (e envelope) mail(dsn bool) string {
	if dsn && e.id != "" {
		return "<" + e.from.String() + "> ENVID=" + e.id
	}
	return "<" + e.from.String() + ">"
}

// rcpt is what RCPT says. Reports name that address, wherever a mail was forwarded to.
func (e envelope) rcpt(dsn bool) string {
	if dsn && e.id != "" && !e.to.needsUTF8() {
		return "<" + e.to.String() + "> ORCPT=rfc822;" + xtext(e.to.String())
	}
	return "<" + e.to.String() + ">"
}

// xtext writes printable ASCII as RFC 3461 does, section 4.
func xtext(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// bounces makes the addresses that mails come back to, one for each (VERP), and
// reads them. A tag in them holds the notification's id, and proves that we sent it.
type bounces struct {
	to     address
	digest func(data []byte) []byte // keyed
}

// tagged is an address that may be ours: its tag tells, whatever stands around it.
var tagged = regexp.MustCompile(`(?i)\+([a-z2-7]{42})@`)

const (
	bounceMAC = 10 // octets; with 80 bits it can't be guessed over a network
	tagLength = 42 // characters: 26 octets in base32, which survives a change of case
	maxLocal  = 64 // octets (RFC 5321, section 4.5.3.1.1)
)

var tagEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func newBounces(to string, digest func([]byte) []byte) (*bounces, error) {
	parsed, err := parseAddress(to)
	most := maxLocal - len("+") - tagLength
	switch {
	case err != nil:
		return nil, err
	case parsed.needsUTF8():
		return nil, errors.New("its part before the @ has characters in it that many servers don't take")
	case len(parsed.local) > most:
		return nil, fmt.Errorf("its part before the @ has more than %d characters, and a mark is put behind it", most)
	}
	return &bounces{parsed, digest}, nil
}

// address gives where a notification's mail comes back to, and its envelope's id: the
// same octets in base64, as that has at most 38 characters (RFC 3461, section 5.4).
// What has an id of another kind comes back to the address itself.
func (b *bounces) address(id string) (to address, envelopeID string) {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != id {
		return b.to, ""
	}
	tag := append(parsed[:], b.mac(parsed)...)
	return address{b.to.local + "+" + tagEncoding.EncodeToString(tag), b.to.domain}, base64.RawURLEncoding.EncodeToString(tag)
}

// find gives the notification whose bounce address stands in text; empty: none does.
func (b *bounces) find(text string) (id string) {
	for _, match := range tagged.FindAllStringSubmatch(text, -1) {
		if tag, err := tagEncoding.DecodeString(strings.ToLower(match[1])); err == nil {
			if id := b.read(tag); id != "" {
				return id
			}
		}
	}
	return ""
}

// findID gives the notification of an envelope's id; empty: it is none of ours.
func (b *bounces) findID(envelopeID string) (id string) {
	tag, err := base64.RawURLEncoding.DecodeString(envelopeID)
	if err != nil {
		return ""
	}
	return b.read(tag)
}

// read gives the notification of a tag; empty: it is none of ours.
func (b *bounces) read(tag []byte) (id string) {
	if len(tag) != len(uuid.UUID{})+bounceMAC {
		return ""
	}
	named, mac := uuid.UUID(tag[:16]), tag[16:]
	if subtle.ConstantTimeCompare(mac, b.mac(named)) != 1 {
		return ""
	}
	return named.String()
}

func (b *bounces) mac(id uuid.UUID) []byte { return b.digest(id[:])[:bounceMAC] }
