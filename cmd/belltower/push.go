package main

import (
	"path/filepath"
	"strings"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/push"
	"github.com/belltower/belltower/httpapi"
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

// webPushSettings say as whom pushes go to browsers; no contact: none do.
type webPushSettings struct {
	contact, services string

	// What check has made of them; nil: none is needed.
	key     *vapidFile
	channel *push.WebPush
}

// browsersServices are the push services of the browsers that there are.
const browsersServices = "fcm.googleapis.com,jmt17.google.com,updates.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com"

func (w *webPushSettings) flags() []setting {
	return []setting{
		{"webpush-contact", "BELLTOWER_WEBPUSH_CONTACT", "", "whom push services turn to, mailto:… or https://…; with it, pushes go to browsers too (default: they don't)", &w.contact},
		{"webpush-services", "BELLTOWER_WEBPUSH_SERVICES", browsersServices, "hosts of push services that browsers may name, *. before a domain for all below it", &w.services},
	}
}

// checkPush reads who carries pushes: Firebase Cloud Messaging to apps, push
// services to browsers, or both.
func (s *settings) checkPush() error {
	apps, err := s.checkFCM()
	if err != nil {
		return err
	}
	browsers, err := s.checkWebPush()
	if err != nil {
		return err
	}
	r := channels.Registration{Name: "push", Kind: channels.Push, Timeout: providerTimeout, Backoff: push.Backoff()}
	switch {
	case apps != nil && browsers != nil:
		r.Provider, r.Channel = "fcm+webpush", push.Both{Apps: apps, Browsers: browsers}
	case apps != nil:
		r.Provider, r.Channel = "fcm", apps
	case browsers != nil:
		r.Provider, r.Channel = "webpush", browsers
	default:
		return nil
	}
	return s.provide("fcm-account-file", r)
}

// checkWebPush reads the settings of web push; nil: it isn't set.
func (s *settings) checkWebPush() (*push.WebPush, error) {
	w := &s.providers.webPush
	if w.key, w.channel = nil, nil; w.contact == "" {
		return nil, nil
	}
	var services []string
	for service := range strings.SplitSeq(w.services, ",") {
		if service = strings.ToLower(strings.TrimSpace(service)); service != "" {
			services = append(services, service)
		}
	}
	key := &vapidFile{path: filepath.Join(s.keyFolder(), vapidName)}
	channel, err := push.NewWebPush(push.WebPushOptions{Key: key.read, Contact: w.contact, Services: services, Client: s.providers.client})
	if err != nil {
		return nil, s.refuse("webpush-contact", "%w", err)
	}
	w.key, w.channel = key, channel
	return channel, nil
}

// page is what the page that subscribes stands on.
func (w *webPushSettings) page(l links) httpapi.WebPush {
	p := httpapi.WebPush{Link: l.link, ReadLink: l.read}
	if w.channel != nil {
		p.PublicKey, p.Subscription = w.channel.PublicKey, w.channel.Subscription
	}
	return p
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
