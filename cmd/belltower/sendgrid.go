package main

import (
	"net/mail"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// sendGridSettings say as whom SendGrid carries e-mail; no key: it carries none.
type sendGridSettings struct{ keyFile, from, url string }

func (g *sendGridSettings) flags() []setting {
	return []setting{
		{"sendgrid-key-file", "BELLTOWER_SENDGRID_KEY_FILE", "", "file with the key by which SendGrid carries e-mail, in place of --smtp (default: it carries none)", &g.keyFile},
		{"sendgrid-from", "BELLTOWER_SENDGRID_FROM", "", "sender of e-mail through SendGrid, such as \"Choir <choir@example.org>\"", &g.from},
		{"sendgrid-url", "BELLTOWER_SENDGRID_URL", email.SendGridURL, "where SendGrid is; for accounts in the EU https://api.eu.sendgrid.com", &g.url},
	}
}

// checkSendGrid reads the settings of SendGrid.
func (s *settings) checkSendGrid() error {
	g := &s.providers.sendgrid
	if g.keyFile == "" {
		return s.needs("--sendgrid-key-file", map[string]string{"sendgrid-from": g.from})
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
	channel, err := email.NewSendGrid(email.SendGridOptions{URL: g.url, Key: key, From: *from, Client: s.providers.client})
	if err != nil {
		return s.refuse("sendgrid-from", "%w", err)
	}
	return s.provide("sendgrid-key-file", channels.Registration{Name: "email", Kind: channels.Email, Provider: "sendgrid", Channel: channel, Timeout: providerTimeout})
}
