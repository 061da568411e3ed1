package main

import (
	"strconv"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/sms"
)

// twilioSettings say as whom Twilio carries text messages; no account: it carries none.
type twilioSettings struct{ account, tokenFile, from, maxSegments, url string }

func (w *twilioSettings) flags() []setting {
	return []setting{
		{"twilio-account", "BELLTOWER_TWILIO_ACCOUNT", "", "SID of the account by which Twilio carries text messages, AC… (default: it carries none)", &w.account},
		{"twilio-token-file", "BELLTOWER_TWILIO_TOKEN_FILE", "", "file with that account's token", &w.tokenFile},
		{"twilio-from", "BELLTOWER_TWILIO_FROM", "", "sender of text messages: a number such as +15005550006, a name, or a messaging service's SID, MG…", &w.from},
		{"twilio-max-segments", "BELLTOWER_TWILIO_MAX_SEGMENTS", "10", "most parts that a text message may be sent in, each of which is paid for; a longer one is refused", &w.maxSegments},
		{"twilio-url", "BELLTOWER_TWILIO_URL", sms.TwilioURL, "where Twilio is", &w.url},
	}
}

// checkTwilio reads the settings of Twilio.
func (s *settings) checkTwilio() error {
	w := &s.providers.twilio
	if w.account == "" {
		return s.needs("--twilio-account", map[string]string{"twilio-token-file": w.tokenFile, "twilio-from": w.from})
	}
	if w.tokenFile == "" {
		return s.refuse("twilio-token-file", "the account has no token: name the file that holds it")
	}
	token, err := s.readSecret("twilio-token-file", w.tokenFile)
	if err != nil {
		return err
	}
	segments, err := strconv.Atoi(w.maxSegments)
	if err != nil || segments < 1 {
		return s.refuse("twilio-max-segments", "%q is not a number from 1 on", w.maxSegments)
	}
	if err := s.providers.client.CheckURL(w.url); err != nil {
		return s.refuse("twilio-url", "%w", err)
	}
	channel, err := sms.NewTwilio(sms.Options{
		URL: w.url, Account: w.account, Token: token, From: w.from, MaxSegments: segments, Receipts: s.receiptsURL("twilio"), Client: s.providers.client,
	})
	if err != nil {
		return s.refuse("twilio-account", "%w", err)
	}
	return s.provide("twilio-account", channels.Registration{
		Name: "sms", Kind: channels.Phone, Provider: "twilio", Channel: channel, Timeout: providerTimeout, HoldUnknown: true,
	})
}
