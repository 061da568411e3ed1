package main

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"github.com/belltower/belltower/httpapi"
)

// optOutLinks makes the links by which participants end messages about an
// event, and reads them. A link works for as long as the keys of the log do.
type optOutLinks struct {
	digest func(purpose string, data []byte) []byte // keyed
	base   string                                   // public URL of the service; empty: no links are made
}

const (
	optOutPath    = "/v1/opt-out/"
	optOutPurpose = "opt-out link"
	optOutMAC     = 16 // octets; 128 bits can't be guessed
)

// link gives the link for a participant of an event.
func (l optOutLinks) link(eventID, participantID string) string {
	event, err := uuid.Parse(eventID)
	if err != nil || l.base == "" {
		return ""
	}
	participant, err := uuid.Parse(participantID)
	if err != nil {
		return ""
	}
	names := append(event[:], participant[:]...)
	return strings.TrimSuffix(l.base, "/") + optOutPath + base64.RawURLEncoding.EncodeToString(append(names, l.mac(names)...))
}

// read gives what a link of ours names.
func (l optOutLinks) read(token string) (httpapi.OptOutLink, bool) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(data) != 2*len(uuid.UUID{})+optOutMAC {
		return httpapi.OptOutLink{}, false
	}
	names, mac := data[:len(data)-optOutMAC], data[len(data)-optOutMAC:]
	if subtle.ConstantTimeCompare(mac, l.mac(names)) != 1 {
		return httpapi.OptOutLink{}, false
	}
	return httpapi.OptOutLink{EventID: uuid.UUID(names[:16]).String(), ParticipantID: uuid.UUID(names[16:]).String()}, true
}

func (l optOutLinks) mac(names []byte) []byte { return l.digest(optOutPurpose, names)[:optOutMAC] }
