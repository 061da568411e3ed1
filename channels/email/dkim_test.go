package email_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

func dkimKey(t *testing.T, selector, algorithm string) email.DKIMKey {
	t.Helper()
	_, text, err := email.MakeDKIMKey(algorithm)
	require.NoError(t, err)
	key, err := email.ReadDKIMKey(text)
	require.NoError(t, err)
	return email.DKIMKey{Selector: selector, Signer: key}
}

// both signs with a key of each kind, and zone is what its domain publishes.
func both(t *testing.T) (d *email.DKIM, zone map[string][]string) {
	t.Helper()
	d, err := email.NewDKIM("sender.example", dkimKey(t, "wide2031", "rsa"), dkimKey(t, "new.2031", "ed25519"))
	require.NoError(t, err)
	records, err := d.Records()
	require.NoError(t, err)
	require.Len(t, records, 2)
	zone = map[string][]string{}
	for _, r := range records {
		zone[r.Name] = []string{r.Text}
	}
	return d, zone
}

// verified gives what is wrong with each signature of a mail.
func verified(t require.TestingT, mail []byte, zone map[string][]string) []error {
	all, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) { return zone[name], nil }})
	require.NoError(t, err)
	wrong := make([]error, len(all))
	for i, v := range all {
		wrong[i] = v.Err
	}
	return wrong
}

func TestDKIM(t *testing.T) {
	d, zone := both(t)
	require.Equal(t, "sender.example", d.Domain())
	require.Len(t, zone, 2)
	s := serve(t, false)
	require.Equal(t, channels.Accepted, s.channel(t).Send(t.Context(), message()).Outcome)
	require.Equal(t, channels.Accepted, s.channel(t, func(o *email.Options) { o.DKIM = d }).Send(t.Context(), message()).Outcome)
	bare, mail := s.taken()[0].data, s.taken()[1].data
	require.Equal(t, []error{nil, nil}, verified(t, mail, zone))
	require.Empty(t, verified(t, bare, zone))
	require.NotContains(t, string(mail), "\n.\n")
	for _, line := range strings.Split(string(mail), "\r\n") {
		require.LessOrEqual(t, len(line), 998)
		require.NotContains(t, line, "\n")
	}
	head, _, _ := bytes.Cut(mail, []byte("\r\nAuto-Submitted:"))
	for _, want := range []string{"a=rsa-sha256", "a=ed25519-sha256", "c=relaxed/relaxed", "d=sender.example", "s=wide2031", "s=new.2031"} {
		require.Contains(t, string(head), want)
	}
	require.NotContains(t, string(head), " l=", "a body may not be gone on with")

	// Each header that the mail has is covered, and so is that there is no other.
	covered := strings.Split(strings.ToLower(regexp.MustCompile(`\bh=([^;]+);`).FindStringSubmatch(string(mail))[1]), ":")
	for name := range parse(t, bare).header {
		count := len(slices.DeleteFunc(slices.Clone(covered), func(c string) bool { return c != strings.ToLower(name) }))
		require.Equal(t, 2, count, name)
	}
	for name, change := range map[string]func(string) string{
		"another subject":   func(m string) string { return "Subject: Eve\r\n" + m },
		"a Cc":              func(m string) string { return "Cc: eve@example.org\r\n" + m },
		"a Reply-To":        func(m string) string { return "Reply-To: eve@example.org\r\n" + m },
		"another sender":    func(m string) string { return "From: eve@example.org\r\n" + m },
		"another link":      func(m string) string { return "List-Unsubscribe: <https://eve.example>\r\n" + m },
		"another body kind": func(m string) string { return "Content-Type: text/html\r\n" + m },
		"a changed link":    func(m string) string { return strings.Replace(m, "<https://bells.", "<https://eve.", 1) },
		"no one-click": func(m string) string {
			return strings.Replace(m, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", "", 1)
		},
		"a changed date":        func(m string) string { return strings.Replace(m, "May 2031", "May 2032", 1) },
		"a changed body":        func(m string) string { return strings.Replace(m, "Hello Ann", "Hello Eve", 1) },
		"more behind the end":   func(m string) string { return m + "Eve was here\r\n" },
		"a changed Message-ID":  func(m string) string { return strings.Replace(m, "Message-ID: <3f", "Message-ID: <4f", 1) },
		"a changed MIME header": func(m string) string { return strings.Replace(m, "multipart/", "multiPart/x", 1) },
	} {
		changed := change(string(mail))
		require.NotEqual(t, string(mail), changed, name)
		for _, err := range verified(t, []byte(changed), zone) {
			require.Error(t, err, name)
		}
	}
	// What servers on the way may do.
	for name, changed := range map[string]string{
		"a trace":       "Received: from a by b; Tue, 6 May 2031 16:00:01 +0000\r\n" + string(mail),
		"a folded line": strings.Replace(string(mail), "Subject: ", "Subject:\r\n\t", 1),
	} {
		require.Equal(t, []error{nil, nil}, verified(t, []byte(changed), zone), name)
	}
}

// Whatever is in a message, what the server gets is verified, and but for the
// signatures is what it would get without them.
func TestDKIMOfAnyMessage(t *testing.T) {
	d, zone := both(t)
	s := serve(t, false)
	bare, signing := s.channel(t), s.channel(t, func(o *email.Options) { o.DKIM = d })
	boundary := regexp.MustCompile(`[0-9a-f]{60}`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{".", "a\n.\nb", " \t \n\n\n", "a\r\nb \r", "=?utf-8?Q?a?=", strings.Repeat("long ", 400), "From a\nFrom b"}))
		m := message()
		m.Text, m.Subject, m.Name, m.Event.Title = text.Draw(t, "text"), text.Draw(t, "subject"), text.Draw(t, "name"), text.Draw(t, "title")
		if rapid.Bool().Draw(t, "no event") {
			m.Event = channels.Event{}
		}
		before := len(s.taken())
		require.Equal(t, channels.Accepted, bare.Send(context.Background(), m).Outcome)
		require.Equal(t, channels.Accepted, signing.Send(context.Background(), m).Outcome)
		plain, mail := s.taken()[before].data, s.taken()[before+1].data
		require.Equal(t, []error{nil, nil}, verified(t, mail, zone))
		_, unsigned, found := bytes.Cut(mail, []byte("\r\nAuto-Submitted:"))
		require.True(t, found)
		unsigned = append([]byte("Auto-Submitted:"), unsigned...)
		require.Equal(t, boundary.ReplaceAllString(string(plain), "-"), boundary.ReplaceAllString(string(unsigned), "-"))
	})
}

func TestDKIMKeysThatAreRefused(t *testing.T) {
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	good, text, err := email.MakeDKIMKey("rsa")
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(good.Public())
	require.NoError(t, err)
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(good.(*rsa.PrivateKey))})
	read, err := email.ReadDKIMKey(old)
	require.NoError(t, err)
	require.True(t, good.Public().(*rsa.PublicKey).Equal(read.Public()))
	for says, text := range map[string][]byte{
		"no key in PEM":      []byte("secret words"),
		"more than one key":  append(slices.Clone(text), text...),
		"a PUBLIC KEY":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		"1024 bits":          pkcs8(short),
		"is another":         pkcs8(curve),
		"can't be read":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret words")}),
		"is encrypted":       pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret words")}),
		"without a passphra": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("secret words")}),
	} {
		_, err := email.ReadDKIMKey(text)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret words")
	}
	_, _, err = email.MakeDKIMKey("dsa")
	require.ErrorContains(t, err, `"dsa" is neither rsa nor ed25519`)
}

func TestDKIMSettingsThatAreRefused(t *testing.T) {
	one := dkimKey(t, "a", "ed25519")
	for says, make := range map[string]func() (*email.DKIM, error){
		"there is no key":    func() (*email.DKIM, error) { return email.NewDKIM("sender.example") },
		"the domain is none": func() (*email.DKIM, error) { return email.NewDKIM("a b.example", one) },
		"comes twice":        func() (*email.DKIM, error) { return email.NewDKIM("sender.example", one, dkimKey(t, "A", "ed25519")) },
		"is no selector": func() (*email.DKIM, error) {
			return email.NewDKIM("sender.example", email.DKIMKey{Selector: "a; d=eve.example", Signer: one.Signer})
		},
		`"" is no selector`: func() (*email.DKIM, error) {
			return email.NewDKIM("sender.example", email.DKIMKey{Signer: one.Signer})
		},
	} {
		_, err := make()
		require.ErrorContains(t, err, says)
	}
	d, err := email.NewDKIM("bücher.example", one)
	require.NoError(t, err)
	require.Equal(t, "xn--bcher-kva.example", d.Domain())
	long := email.DKIMKey{Selector: strings.Repeat("a", 63), Signer: one.Signer}
	_, err = long.Record(strings.Repeat("abcdefgh.", 24) + "example")
	require.ErrorContains(t, err, "too long for a name in DNS")
}

func TestDKIMRecords(t *testing.T) {
	for _, algorithm := range []string{"rsa", "ed25519"} {
		key := dkimKey(t, "s1", algorithm)
		record, err := key.Record("sender.example")
		require.NoError(t, err)
		require.Equal(t, "s1._domainkey.sender.example", record.Name)
		require.True(t, strings.HasPrefix(record.Text, "v=DKIM1; k="+algorithm+"; p="), record.Text)
		parts := regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(record.Zone(), -1)
		whole := ""
		for _, part := range parts {
			require.LessOrEqual(t, len(part[1]), 255)
			whole += part[1]
		}
		require.Equal(t, record.Text, whole)
		require.True(t, strings.HasPrefix(record.Zone(), record.Name+". IN TXT ("), record.Zone())
	}
}

func TestDKIMPublished(t *testing.T) {
	d, zone := both(t)
	_, others := both(t)
	const name = "wide2031._domainkey.sender.example"
	ask := func(change func(zone map[string][]string)) []error {
		changed := map[string][]string{}
		for name, texts := range zone {
			changed[name] = texts
		}
		change(changed)
		return d.Published(t.Context(), func(_ context.Context, name string) ([]string, error) {
			if texts := changed[name]; texts != nil {
				return texts, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		})
	}
	require.Equal(t, []error{nil, nil}, ask(func(map[string][]string) {}))
	for says, texts := range map[string][]string{
		"no key for signature":      nil,
		"signature did not verify":  others[name],
		"multiple TXT records":      {zone[name][0], others[name][0]},
		"key revoked":               {"v=DKIM1; k=rsa; p="},
		"key syntax error":          {"v=DKIM1; k=rsa; p=abc"},
		"inappropriate key algo":    {zone["new.2031._domainkey.sender.example"][0]},
		"key record error: dkim: m": {"belltower"},
	} {
		wrong := ask(func(z map[string][]string) { z[name] = texts })
		require.ErrorContains(t, wrong[0], says)
		require.NotErrorIs(t, wrong[0], email.ErrNoAnswer)
		require.NoError(t, wrong[1])
	}
	for _, err := range d.Published(t.Context(), func(_ context.Context, name string) ([]string, error) {
		return nil, &net.DNSError{Err: "timeout", Name: name, IsTimeout: true, IsTemporary: true}
	}) {
		require.ErrorIs(t, err, email.ErrNoAnswer)
	}
}

// A key that refuses to sign sends nothing unsigned.
func TestDKIMThatFails(t *testing.T) {
	key := dkimKey(t, "a", "rsa")
	key.Signer = unwilling{key.Signer}
	d, err := email.NewDKIM("sender.example", key)
	require.NoError(t, err)
	s := serve(t, false)
	result := s.channel(t, func(o *email.Options) { o.DKIM = d }).Send(t.Context(), message())
	require.Equal(t, channels.Broken, result.Outcome)
	require.Contains(t, result.Detail, "signed")
	require.Empty(t, s.taken())
}

type unwilling struct{ crypto.Signer }

func (unwilling) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no")
}
