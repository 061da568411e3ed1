package main

import (
	"net/mail"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// sendGridSettings say as whom SendGrid carries e-mail; no key: it carries none.
type sendGridSettings struct{ keyFile, from, receiptsKey, url string }

func (g *sendGridSettings) flags() []setting {
	return []setting{
		{"sendgrid-key-file", "BELLTOWER_SENDGRID_KEY_FILE", "", "file with the key by which SendGrid carries e-mail, in place of --smtp (default: it carries none)", &g.keyFile},
		{"sendgrid-from", "BELLTOWER_SENDGRID_FROM", "", "sender of e-mail through SendGrid, such as \"Choir <choir@example.org>\"", &g.from},
		{"sendgrid-receipts-key", "BELLTOWER_SENDGRID_RECEIPTS_KEY", "", "public key of SendGrid's signed Event Webhook, as its settings show it; with it, what SendGrid tells at /v1/receipts/sendgrid is believed (default: it is refused)", &g.receiptsKey},
		{"sendgrid-url", "BELLTOWER_SENDGRID_URL", email.SendGridURL, "where SendGrid is; for accounts in the EU https://api.eu.sendgrid.com", &g.url},
	}
}

// checkSendGrid reads the settings of SendGrid.
func (s *settings) checkSendGrid() error {
	g := &s.providers.sendgrid
	if g.keyFile == "" {
		return s.needs("--sendgrid-key-file", map[string]string{"sendgrid-from": g.from, "sendgrid-receipts-key": g.receiptsKey})
	}
	key, err := s.readSecret("sendgrid-key-file", g.keyFile)
	if err != nil {
		return err
	}
	from, err := mail.ParseAddress(g.from)
	if err != nil {
		return s.refuse("sendgrid-from", "%q is not an address such as choir@example.org or \"Choir <choir@example.org>\"", g.from)
	}
	if err := s.providers.client.CheckURL(g.url); err != nil {
		return s.refuse("sendgrid-url", "%w", err)
	}
	o := email.SendGridOptions{URL: g.url, Key: key, From: *from, Client: s.providers.client}
	if g.receiptsKey != "" {
		if o.EventsKey, err = email.ParseEventsKey(g.receiptsKey); err != nil {
			return s.refuse("sendgrid-receipts-key", "%w", err)
		}
	}
	channel, err := email.NewSendGrid(o)
	if err != nil {
		return s.refuse("sendgrid-from", "%w", err)
	}
	return s.provide("sendgrid-key-file", channels.Registration{Name: "email", Kind: channels.Email, Provider: "sendgrid", Channel: channel, Timeout: providerTimeout})
}
