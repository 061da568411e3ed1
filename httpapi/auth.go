package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// guard knows the tokens by their digests: these are all of one length, so that
// comparing them takes the same time whatever was presented.
type guard []sentry

type sentry struct {
	name   string
	digest [sha256.Size]byte
}

func newGuard(tokens []Token) guard {
	var g guard
	for _, t := range tokens {
		if t.Value != "" {
			g = append(g, sentry{t.Name, sha256.Sum256([]byte(t.Value))})
		}
	}
	return g
}

// admit tells who presents a token. All are compared, so that the time tells
// nothing about which one it was.
func (g guard) admit(r *http.Request) (actor string, ok bool) {
	given := r.Header.Values("Authorization")
	if len(given) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", false
	}
	digest := sha256.Sum256([]byte(token))
	for _, s := range g {
		if subtle.ConstantTimeCompare(s.digest[:], digest[:]) == 1 {
			actor, ok = s.name, true
		}
	}
	return actor, ok
}
