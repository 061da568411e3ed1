package main

import (
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/webhook"
)

// webhookSettings say which server is handed messages; no URL: there is no channel webhook.
type webhookSettings struct{ url, secretFile string }

func (w *webhookSettings) flags() []setting {
	return []setting{
		{"webhook-url", "BELLTOWER_WEBHOOK_URL", "", "server that is handed messages, signed, for a channel webhook (default: there is none)", &w.url},
		{"webhook-secret-file", "BELLTOWER_WEBHOOK_SECRET_FILE", "", "file with what signs them: whsec_…, one a line; all of them sign", &w.secretFile},
	}
}

// checkWebhook reads the settings of the webhook.
func (s *settings) checkWebhook() error {
	w := &s.providers.webhook
	if w.url == "" {
		return s.needs("--webhook-url", map[string]string{"webhook-secret-file": w.secretFile})
	}
	if err := s.providers.client.CheckURL(w.url); err != nil {
		return s.refuse("webhook-url", "%w", err)
	}
	if w.secretFile == "" {
		return s.refuse("webhook-secret-file", "there is nothing to sign with: name a file with whsec_ and 24 to 64 random bytes in base64")
	}
	lines, err := s.readSecrets("webhook-secret-file", w.secretFile)
	if err != nil {
		return err
	}
	secrets := make([]webhook.Secret, len(lines))
	for i, line := range lines {
		if secrets[i], err = webhook.ParseSecret(line); err != nil {
			return s.refuse("webhook-secret-file", "line %d: %w", i+1, err)
		}
	}
	channel, err := webhook.New(webhook.Options{URL: w.url, Secrets: secrets, Client: s.providers.client})
	if err != nil {
		return s.refuse("webhook-url", "%w", err)
	}
	return s.provide("webhook-url", channels.Registration{
		Name: "webhook", Kind: channels.Email, Provider: "webhook", Channel: channel, Timeout: providerTimeout, Backoff: webhook.Backoff(),
	})
}
