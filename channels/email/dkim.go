package email

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/idna"
)

// DKIM signs mails, so that receivers can tell that the owner of a domain stands
// behind them (RFC 6376). It is made by NewDKIM.
type DKIM struct {
	domain string // as A-labels
	keys   []DKIMKey
}

// DKIMKey is a key and the name that its record in DNS has.
type DKIMKey struct {
	Selector string
	Signer   crypto.Signer // as ReadDKIMKey gives it
}

// NewDKIM makes what signs for a domain, once with each key. Receivers that don't
// know Ed25519 yet (RFC 8463) go by the signature of an RSA key beside it.
func NewDKIM(domain string, keys ...DKIMKey) (*DKIM, error) {
	if len(keys) == 0 {
		return nil, errors.New("DKIM: there is no key")
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || !strings.Contains(ascii, ".") {
		return nil, errors.New("DKIM: the domain is none")
	}
	d := &DKIM{domain: ascii}
	for _, key := range keys {
		if err := CheckSelector(key.Selector); err != nil {
			return nil, err
		}
		key.Selector = strings.ToLower(key.Selector)
		if slices.ContainsFunc(d.keys, func(other DKIMKey) bool { return other.Selector == key.Selector }) {
			return nil, fmt.Errorf("DKIM: the selector %q comes twice, and one record holds one key", key.Selector)
		}
		d.keys = append(d.keys, key)
	}
	return d, nil
}

const maxDNSName = 253 // octets of a name in DNS (RFC 1035, section 2.3.4)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckSelector refuses what can't be a selector (RFC 6376, section 3.1).
func CheckSelector(selector string) error {
	for part := range strings.SplitSeq(strings.ToLower(selector), ".") {
		if !label.MatchString(part) || len(selector) > 100 {
			return fmt.Errorf("DKIM: %q is no selector: that is letters, digits and hyphens, such as bells2031", selector)
		}
	}
	return nil
}

// Bounds, in bits, of RSA keys. Below, no receiver trusts them (RFC 8301, section
// 3.2); above, many don't read them.
const (
	leastRSA = 2048
	mostRSA  = 4096
)

// ReadDKIMKey reads a private key from PEM, PKCS #8 or PKCS #1. What it says of a
// mistake quotes none of it.
func ReadDKIMKey(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no key in PEM, which begins with -----BEGIN PRIVATE KEY-----")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it holds more than one key")
	}
	var (
		key any
		err error
	)
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if len(block.Headers) > 0 {
			return nil, errors.New("the key in it is encrypted: write it without a passphrase")
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key in it is encrypted: write it without a passphrase")
	default:
		return nil, fmt.Errorf("it holds a %s, where a PRIVATE KEY is needed", block.Type)
	}
	if err != nil {
		return nil, errors.New("the key in it can't be read")
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < leastRSA || bits > mostRSA {
			return nil, fmt.Errorf("its RSA key has %d bits; receivers go by %d to %d", bits, leastRSA, mostRSA)
		}
		return k, nil
	}
	return nil, errors.New("DKIM knows RSA and Ed25519 keys, and the key in it is another")
}

// MakeDKIMKey makes a key, "ed25519" or "rsa" (of 2048 bits), and its PEM for
// ReadDKIMKey.
func MakeDKIMKey(algorithm string) (key crypto.Signer, text []byte, err error) {
	switch algorithm {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, leastRSA)
	default:
		return nil, nil, fmt.Errorf("%q is neither rsa nor ed25519", algorithm)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("write a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// DKIMRecord is a TXT record that receivers find a public key by.
type DKIMRecord struct{ Name, Text string }

// Record gives the record of a key for a domain (RFC 6376, section 3.6.1).
func (k DKIMKey) Record(domain string) (DKIMRecord, error) {
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	r := DKIMRecord{Name: k.Selector + "._domainkey." + domain}
	if len(r.Name) > maxDNSName {
		return DKIMRecord{}, errors.New("DKIM: the selector and the domain are too long for a name in DNS")
	}
	switch public := k.Signer.Public().(type) {
	case ed25519.PublicKey:
		r.Text = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	default:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return DKIMRecord{}, fmt.Errorf("DKIM: write the public key: %w", err)
		}
		r.Text = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
	return r, nil
}

// Zone gives the record as a line of a zone file: a text in DNS is made of strings
// of at most 255 octets.
func (r DKIMRecord) Zone() string {
	var parts []string
	for part := range slices.Chunk([]byte(r.Text), 255) {
		parts = append(parts, `"`+string(part)+`"`)
	}
	return r.Name + ". IN TXT ( " + strings.Join(parts, " ") + " )"
}

// Domain is the domain that is signed for.
func (d *DKIM) Domain() string { return d.domain }

// Records gives the records to publish, one for each key.
func (d *DKIM) Records() ([]DKIMRecord, error) {
	records := make([]DKIMRecord, len(d.keys))
	for i, key := range d.keys {
		var err error
		if records[i], err = key.Record(d.domain); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// signed are the headers that a signature covers. Each stands there once more than
// a mail has it, so that none can be added either (RFC 6376, section 8.15). RFC
// 8058 asks for those on unsubscribing.
var signed = func() []string {
	var twice []string
	for _, name := range []string{
		"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
		"List-Unsubscribe", "List-Unsubscribe-Post", "Auto-Submitted",
	} {
		twice = append(twice, name, name)
	}
	return twice
}()

// sign puts the signatures before a mail. They don't cover each other, so that one
// that a receiver can't read does no harm.
func (d *DKIM) sign(mail []byte) ([]byte, error) {
	var signatures []byte
	for _, key := range d.keys {
		signer, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: d.domain, Selector: key.Selector, Signer: key.Signer, HeaderKeys: signed,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", key.Selector, err)
		}
		_, err = signer.Write(mail)
		if err = errors.Join(err, signer.Close()); err != nil {
			return nil, fmt.Errorf("sign with %s: %w", key.Selector, err)
		}
		signatures = append(signatures, signer.Signature()...)
	}
	return append(signatures, mail...), nil
}

// sample is a mail to try a signature with.
const sample = "From: belltower@localhost\r\nSubject: A sample\r\n\r\nA sample.\r\n"

// Published looks whether receivers would verify what each key signs: lookup asks
// DNS for the texts of a name. It gives what is wrong, in the order of the keys, nil
// where nothing is. A lookup that failed for now matches ErrNoAnswer.
func (d *DKIM) Published(ctx context.Context, lookup func(ctx context.Context, name string) ([]string, error)) []error {
	wrong := make([]error, len(d.keys))
	for i, key := range d.keys {
		one := &DKIM{d.domain, []DKIMKey{key}}
		wrong[i] = one.verify(func(name string) ([]string, error) { return lookup(ctx, name) })
	}
	return wrong
}

// ErrNoAnswer says that DNS could not be asked.
var ErrNoAnswer = errors.New("DNS does not answer")

func (d *DKIM) verify(lookup func(name string) ([]string, error)) error {
	mail, err := d.sign([]byte(sample))
	if err != nil {
		return err
	}
	verified, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{LookupTXT: lookup})
	switch {
	case err != nil:
		return fmt.Errorf("verify a signature: %w", err)
	case len(verified) != 1:
		return errors.New("verify a signature: it isn't found")
	case dkim.IsTempFail(verified[0].Err):
		return fmt.Errorf("%w: %w", ErrNoAnswer, verified[0].Err)
	}
	return verified[0].Err
}
