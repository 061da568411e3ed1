package main

import (
	"os"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/push"
)

// fcmSettings say as whom Firebase Cloud Messaging carries push messages; no
// account: it carries none.
type fcmSettings struct{ accountFile, url, tokenURL string }

func (f *fcmSettings) flags() []setting {
	return []setting{
		{"fcm-account-file", "BELLTOWER_FCM_ACCOUNT_FILE", "", "a service account's file, by which Firebase Cloud Messaging carries push (default: it carries none)", &f.accountFile},
		{"fcm-url", "BELLTOWER_FCM_URL", push.FCMURL, "where Firebase Cloud Messaging is", &f.url},
		{"fcm-token-url", "BELLTOWER_FCM_TOKEN_URL", push.GoogleTokenURL, "where the service account gets its tokens", &f.tokenURL},
	}
}

// checkFCM reads the settings of Firebase Cloud Messaging.
func (s *settings) checkFCM() error {
	f := &s.providers.fcm
	if f.accountFile == "" {
		return nil
	}
	account, err := os.ReadFile(f.accountFile)
	if err != nil {
		return s.refuse("fcm-account-file", "%w", err)
	}
	for flag, url := range map[string]string{"fcm-url": f.url, "fcm-token-url": f.tokenURL} {
		if err := s.providers.client.CheckURL(url); err != nil {
			return s.refuse(flag, "%w", err)
		}
	}
	channel, err := push.NewFCM(push.FCMOptions{URL: f.url, TokenURL: f.tokenURL, Account: account, Client: s.providers.client})
	if err != nil {
		return s.refuse("fcm-account-file", "%w", err)
	}
	return s.provide("fcm-account-file", channels.Registration{Name: "push", Kind: channels.Push, Provider: "fcm", Channel: channel, Timeout: providerTimeout})
}
