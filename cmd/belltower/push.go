package main

import (
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/push"
)

// fcmSettings say as whom Firebase Cloud Messaging carries pushes; no account: it
// carries none.
type fcmSettings struct{ accountFile, tokenURL, url string }

func (f *fcmSettings) flags() []setting {
	return []setting{
		{"fcm-account-file", "BELLTOWER_FCM_ACCOUNT_FILE", "", "file with the key (JSON) of the service account by which Firebase Cloud Messaging carries pushes to apps (default: it carries none)", &f.accountFile},
		{"fcm-token-url", "BELLTOWER_FCM_TOKEN_URL", push.GoogleTokenURL, "where access tokens for it are given; the file must name the same", &f.tokenURL},
		{"fcm-url", "BELLTOWER_FCM_URL", push.FCMURL, "where Firebase Cloud Messaging is", &f.url},
	}
}

// checkPush reads who carries pushes.
func (s *settings) checkPush() error {
	apps, err := s.checkFCM()
	if err != nil || apps == nil {
		return err
	}
	return s.provide("fcm-account-file", channels.Registration{Name: "push", Kind: channels.Push, Provider: "fcm", Channel: apps, Timeout: providerTimeout})
}

// checkFCM reads the settings of Firebase Cloud Messaging; nil: it isn't set.
func (s *settings) checkFCM() (*push.FCM, error) {
	f := &s.providers.fcm
	if f.accountFile == "" {
		return nil, nil
	}
	file, err := s.readFile("fcm-account-file", f.accountFile)
	if err != nil {
		return nil, err
	}
	if err := s.providers.client.CheckURL(f.tokenURL); err != nil {
		return nil, s.refuse("fcm-token-url", "%w", err)
	}
	if err := s.providers.client.CheckURL(f.url); err != nil {
		return nil, s.refuse("fcm-url", "%w", err)
	}
	account, err := push.ReadAccount(file, f.tokenURL)
	if err != nil {
		return nil, s.refuse("fcm-account-file", "%s: %w", f.accountFile, err)
	}
	channel, err := push.NewFCM(push.FCMOptions{URL: f.url, Account: account, Client: s.providers.client})
	if err != nil {
		return nil, s.refuse("fcm-url", "%w", err)
	}
	return channel, nil
}
