package push

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

// subscription is where and how to reach a browser: what PushSubscription.toJSON()
// gives (W3C Push API).
type subscription struct {
	endpoint *url.URL
	key      *ecdh.PublicKey // the browser's, p256dh
	auth     []byte          // its authentication secret
}

type subscriptionJSON struct {
	Endpoint string `json:"endpoint"`
	Keys     struct {
		P256DH string `json:"p256dh"`
		Auth   string `json:"auth"`
	} `json:"keys"`
}

// json is the subscription in one form, so that equal ones are equal as text.
func (s subscription) json() string {
	var text subscriptionJSON
	text.Endpoint, text.Keys.P256DH, text.Keys.Auth = s.endpoint.String(), encode(s.key.Bytes()), encode(s.auth)
	// Strings into memory: nothing here can fail.
	written, _ := json.Marshal(text)
	return string(written)
}

// Lengths of what a subscription holds, in bytes (RFC 8291, sections 3.1 and 3.2).
const (
	authLength  = 16
	pointLength = 65
)

// readSubscription reads a subscription's JSON. Its errors don't quote it.
func readSubscription(text string) (subscription, error) {
	if !isSubscription(text) {
		return subscription{}, errors.New("it is not JSON")
	}
	var given subscriptionJSON
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		return subscription{}, errors.New("it is not JSON")
	}
	endpoint, err := url.Parse(given.Endpoint)
	if err != nil || endpoint.Host == "" {
		return subscription{}, errors.New("its endpoint is not a URL")
	}
	point, err := decode(given.Keys.P256DH)
	if err != nil {
		return subscription{}, errors.New("its p256dh is not base64url")
	}
	key, err := ecdh.P256().NewPublicKey(point)
	if err != nil || len(point) != pointLength {
		return subscription{}, errors.New("its p256dh is not a point of P-256")
	}
	auth, err := decode(given.Keys.Auth)
	if err != nil || len(auth) != authLength {
		return subscription{}, errors.New("its auth is not 16 bytes in base64url")
	}
	return subscription{endpoint, key, auth}, nil
}

// Endpoint names the push service that a browser's subscription is at: each fails
// by itself.
func (w *WebPush) Endpoint(to string) string {
	s, err := readSubscription(to)
	if err != nil {
		return ""
	}
	return s.endpoint.Host
}

// origin is the endpoint's (RFC 6454), which names the push service.
func (s subscription) origin() string {
	host := s.endpoint.Host
	if ports := map[string]string{"https": ":443", "http": ":80"}; ports[s.endpoint.Scheme] != "" {
		host = strings.TrimSuffix(host, ports[s.endpoint.Scheme])
	}
	return s.endpoint.Scheme + "://" + strings.ToLower(host)
}

// decode reads base64url; some browsers' libraries pad it.
func decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
}
