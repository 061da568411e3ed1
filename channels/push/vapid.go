package push

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// VAPIDKey is the key by which push services know us (RFC 8292). A browser
// subscribes for its public half; with another key its subscription is refused.
type VAPIDKey struct{ private *ecdsa.PrivateKey }

// NewVAPIDKey makes a key.
func NewVAPIDKey() (VAPIDKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return VAPIDKey{}, fmt.Errorf("make a key: %w", err)
	}
	return VAPIDKey{key}, nil
}

// ParseVAPIDKey reads a key as Private gives it, and as other programs keep it. Its
// errors don't show it.
func ParseVAPIDKey(text string) (VAPIDKey, error) {
	scalar, err := decodeBase64(text)
	if err != nil {
		return VAPIDKey{}, errors.New("webpush: the key is not base64url")
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return VAPIDKey{}, errors.New("webpush: the key is not 32 bytes of a private key for P-256")
	}
	return VAPIDKey{key}, nil
}

// Private gives the key, a secret, in base64url.
func (k VAPIDKey) Private() (string, error) {
	scalar, err := k.private.Bytes()
	if err != nil {
		return "", fmt.Errorf("write the key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(scalar), nil
}

// Public gives what a browser needs as applicationServerKey, in base64url.
func (k VAPIDKey) Public() (string, error) {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		return "", fmt.Errorf("write the public key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(point), nil
}

// vapidLife is how long an authorization holds. RFC 8292 allows 24 hours; less
// leaves room for clocks that are wrong.
const vapidLife = 12 * time.Hour

// authorize gives the header that tells a push service who calls (RFC 8292,
// section 3).
func (k VAPIDKey) authorize(endpoint *url.URL, subject string, now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"aud": origin(endpoint), "exp": now.Add(vapidLife).Unix(), "sub": subject})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", err
	}
	const half = 32 // bytes (RFC 7518, section 3.4)
	signature := append(r.FillBytes(make([]byte, half)), s.FillBytes(make([]byte, half))...)
	public, err := k.Public()
	if err != nil {
		return "", err
	}
	return "vapid t=" + signed + "." + encode(signature) + ", k=" + public, nil
}

// origin is scheme, host and port, the port only where it isn't the scheme's own
// (RFC 6454, section 6.2).
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}

// checkSubject refuses what push services refuse: the subject is how they reach us.
func checkSubject(subject string) error {
	u, err := url.Parse(subject)
	wrong := errors.New("webpush: the subject is neither a mail address such as mailto:bells@example.org nor an https URL")
	if err != nil {
		return wrong
	}
	host := u.Hostname()
	switch u.Scheme {
	case "mailto":
		address, err := mail.ParseAddress(u.Opaque)
		if err != nil || address.Address != u.Opaque || u.RawQuery != "" {
			return wrong
		}
		_, host, _ = strings.Cut(address.Address, "@")
	case "https":
	default:
		return wrong
	}
	host = strings.ToLower(host)
	for _, unreachable := range []string{"localhost", "local", "invalid", "test", "internal"} {
		if host == unreachable || strings.HasSuffix(host, "."+unreachable) {
			return errors.New("webpush: the subject's host is one that nobody else can reach, and push services refuse it")
		}
	}
	if !strings.Contains(host, ".") {
		return wrong
	}
	return nil
}
