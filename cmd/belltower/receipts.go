package main

import (
	"strings"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/httpapi"
)

// receiptsURL is where a provider tells what became of messages; empty where
// Belltower has no public URL.
func (s *settings) receiptsURL(provider string) string {
	if s.publicURL == "" {
		return ""
	}
	return strings.TrimSuffix(s.publicURL, "/") + httpapi.ReceiptsPath + provider
}

// receivers are the channels whose providers call back, by the provider's name.
func receivers(registered []channels.Registration) map[string]httpapi.Receiver {
	all := map[string]httpapi.Receiver{}
	for _, r := range registered {
		if receiver, ok := r.Channel.(channels.Receiver); ok {
			all[r.Provider] = receiver
		}
	}
	return all
}
