package main

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"github.com/belltower/belltower/httpapi"
)

// links makes the links by which participants do one thing about an event without
// a token, and reads them. A link works for as long as the keys of the log do.
type links struct {
	digest  func(purpose string, data []byte) []byte // keyed
	base    string                                   // public URL of the service; empty: no links are made
	path    string
	purpose string // what is signed for one is worth nothing for another
}

// optOutLinks end messages.
func optOutLinks(digest func(purpose string, data []byte) []byte, base string) links {
	return links{digest, base, "/v1/opt-out/", "opt-out link"}
}

// pushLinks lead to the page where a browser subscribes.
func pushLinks(digest func(purpose string, data []byte) []byte, base string) links {
	return links{digest, base, "/v1/push/", "push link"}
}

const linkMAC = 16 // octets; 128 bits can't be guessed

// link gives the link for a participant of an event.
func (l links) link(eventID, participantID string) string {
	event, err := uuid.Parse(eventID)
	if err != nil || l.base == "" {
		return ""
	}
	participant, err := uuid.Parse(participantID)
	if err != nil {
		return ""
	}
	names := append(event[:], participant[:]...)
	return strings.TrimSuffix(l.base, "/") + l.path + base64.RawURLEncoding.EncodeToString(append(names, l.mac(names)...))
}

// read gives what a link of ours names.
func (l links) read(token string) (httpapi.Link, bool) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(data) != 2*len(uuid.UUID{})+linkMAC {
		return httpapi.Link{}, false
	}
	names, mac := data[:len(data)-linkMAC], data[len(data)-linkMAC:]
	if subtle.ConstantTimeCompare(mac, l.mac(names)) != 1 {
		return httpapi.Link{}, false
	}
	return httpapi.Link{EventID: uuid.UUID(names[:16]).String(), ParticipantID: uuid.UUID(names[16:]).String()}, true
}

func (l links) mac(names []byte) []byte { return l.digest(l.purpose, names)[:linkMAC] }
