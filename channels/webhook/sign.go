package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Secret is a key shared with who is called.
type Secret struct{ key []byte }

const secretPrefix = "whsec_"

// ParseSecret reads whsec_ and 24 to 64 bytes in base64. Its errors don't show it.
func ParseSecret(text string) (Secret, error) {
	encoded, prefixed := strings.CutPrefix(text, secretPrefix)
	if !prefixed {
		return Secret{}, errors.New("webhook: the secret doesn't begin with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return Secret{}, errors.New("webhook: the secret is not base64 behind whsec_")
	}
	const least, most = 24, 64
	if len(key) < least || len(key) > most {
		return Secret{}, fmt.Errorf("webhook: the secret has %d bytes, and must have %d to %d", len(key), least, most)
	}
	return Secret{key}, nil
}

// Sign gives the signature of a body that is sent under an id at a time (Standard
// Webhooks 1.0.0, signature scheme v1).
func (s Secret) Sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body) //nolint:errcheck // a hash takes everything
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
