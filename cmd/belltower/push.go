package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/push"
	"github.com/belltower/belltower/internal/durable"
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

// webPushSettings say as whom browsers are sent push messages; no key: they are sent none.
type webPushSettings struct{ keyFile, subject string }

func (w *webPushSettings) flags() []setting {
	return []setting{
		{"webpush-key-file", "BELLTOWER_WEBPUSH_KEY_FILE", "", "file with the VAPID key by which browsers are sent push; 'belltower channel vapid-key' makes it (default: they are sent none)", &w.keyFile},
		{"webpush-subject", "BELLTOWER_WEBPUSH_SUBJECT", "", "how push services reach you: mailto:bells@example.org, or an https URL", &w.subject},
	}
}

// checkPush reads the settings of those who carry push messages.
func (s *settings) checkPush() error {
	apps, err := s.checkFCM()
	if err != nil {
		return err
	}
	browsers, err := s.checkWebPush()
	if err != nil {
		return err
	}
	r := channels.Registration{Name: "push", Kind: channels.Push, Timeout: providerTimeout}
	switch {
	case apps != nil && browsers != nil:
		r.Provider, r.Channel = "fcm and webpush", push.Both{Browsers: browsers, Apps: apps}
	case apps != nil:
		r.Provider, r.Channel = "fcm", apps
	case browsers != nil:
		r.Provider, r.Channel = "webpush", browsers
	default:
		return nil
	}
	return s.provide("fcm-account-file", r)
}

// checkFCM reads the settings of Firebase Cloud Messaging; nil: there are none.
func (s *settings) checkFCM() (*push.FCM, error) {
	f := &s.providers.fcm
	if f.accountFile == "" {
		return nil, nil
	}
	account, err := os.ReadFile(f.accountFile)
	if err != nil {
		return nil, s.refuse("fcm-account-file", "%w", err)
	}
	for flag, url := range map[string]string{"fcm-url": f.url, "fcm-token-url": f.tokenURL} {
		if err := s.providers.client.CheckURL(url); err != nil {
			return nil, s.refuse(flag, "%w", err)
		}
	}
	channel, err := push.NewFCM(push.FCMOptions{URL: f.url, TokenURL: f.tokenURL, Account: account, Client: s.providers.client})
	if err != nil {
		return nil, s.refuse("fcm-account-file", "%w", err)
	}
	return channel, nil
}

// checkWebPush reads the settings of Web Push; nil: there are none.
func (s *settings) checkWebPush() (*push.WebPush, error) {
	w := &s.providers.webPush
	if w.keyFile == "" {
		return nil, s.needs("--webpush-key-file", map[string]string{"webpush-subject": w.subject})
	}
	text, err := s.readSecret("webpush-key-file", w.keyFile)
	if err != nil {
		return nil, err
	}
	key, err := push.ParseVAPIDKey(text)
	if err != nil {
		return nil, s.refuse("webpush-key-file", "%w", err)
	}
	channel, err := push.NewWebPush(push.WebPushOptions{Key: key, Subject: w.subject, Client: s.providers.client})
	if err != nil {
		return nil, s.refuse("webpush-subject", "%w", err)
	}
	return channel, nil
}

func vapidKeyCommand(o output) *cobra.Command {
	return &cobra.Command{
		Use:   "vapid-key FILE",
		Short: "Make the key by which browsers are sent push messages, and show its public half",
		Long: "Makes a VAPID key in a file that its owner alone can read, for --webpush-key-file; a file\n" +
			"that is there is left as it is. Prints the public half, which a page gives the browser\n" +
			"as applicationServerKey when it subscribes. With another key, subscriptions are void.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("channel vapid-key takes a file"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := vapidKey(args[0])
			if err != nil {
				return err
			}
			public, err := key.Public()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.out, public)
			return err
		},
	}
}

// vapidKey reads a key, or makes it where the file isn't there.
func vapidKey(path string) (push.VAPIDKey, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		key, err := push.ParseVAPIDKey(strings.TrimSpace(string(data)))
		if err != nil {
			return key, fmt.Errorf("%s: %w", path, err)
		}
		return key, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return push.VAPIDKey{}, err
	}
	key, err := push.NewVAPIDKey()
	if err != nil {
		return key, err
	}
	text, err := key.Private()
	if err != nil {
		return key, err
	}
	draft := path + ".new"
	if err := writeSynced(draft, text+"\n"); err != nil {
		return key, err
	}
	if err := os.Rename(draft, path); err != nil {
		return key, err
	}
	return key, durable.SyncDir(filepath.Dir(path))
}
