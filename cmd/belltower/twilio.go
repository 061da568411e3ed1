package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/sms"
)

// twilioSettings say as whom Twilio carries text messages; no account: it carries none.
type twilioSettings struct{ account, tokenFile, from, also, maxSegments, url string }

func (w *twilioSettings) flags() []setting {
	return []setting{
		{"twilio-account", "BELLTOWER_TWILIO_ACCOUNT", "", "SID of the account by which Twilio carries text messages, AC… (default: it carries none)", &w.account},
		{"twilio-token-file", "BELLTOWER_TWILIO_TOKEN_FILE", "", "file with that account's token", &w.tokenFile},
		{"twilio-from", "BELLTOWER_TWILIO_FROM", "", "sender of text messages: a number such as +15005550006, a name, or a messaging service's SID, MG…", &w.from},
		{"twilio-also", "BELLTOWER_TWILIO_ALSO", "", "other accounts or senders of Twilio, NAME=FILE, the next after a comma: the provider twilio-NAME, for --sms-providers; the file is YAML with account, token and from, and may have url and max-segments (default: none)", &w.also},
		{"twilio-max-segments", "BELLTOWER_TWILIO_MAX_SEGMENTS", "10", "most parts that a text message may be sent in, each of which is paid for; a longer one is refused", &w.maxSegments},
		{"twilio-url", "BELLTOWER_TWILIO_URL", sms.TwilioURL, "where Twilio is", &w.url},
	}
}

// checkTwilio reads the settings of Twilio.
func (s *settings) checkTwilio() error {
	w := &s.providers.twilio
	if w.account == "" {
		err := s.needs("--twilio-account", map[string]string{"twilio-token-file": w.tokenFile, "twilio-from": w.from})
		if err != nil || strings.TrimSpace(w.also) == "" {
			return err
		}
	}
	segments, err := strconv.Atoi(w.maxSegments)
	if err != nil || segments < 1 {
		return s.refuse("twilio-max-segments", "%q is not a number from 1 on", w.maxSegments)
	}
	if err := s.providers.client.CheckURL(w.url); err != nil {
		return s.refuse("twilio-url", "%w", err)
	}
	if w.account != "" {
		if w.tokenFile == "" {
			return s.refuse("twilio-token-file", "the account has no token: name the file that holds it")
		}
		token, err := s.readSecret("twilio-token-file", w.tokenFile)
		if err != nil {
			return err
		}
		own := twilioAccount{Account: w.account, Token: token, From: w.from, URL: w.url, MaxSegments: segments}
		if err := s.provideTwilio("twilio-account", "", "twilio", own); err != nil {
			return err
		}
	}
	return s.checkTwilioAlso(twilioAccount{URL: w.url, MaxSegments: segments})
}

// twilioAccount is as whom one provider of text messages sends, as a file has it.
type twilioAccount struct {
	Account     string `yaml:"account"`
	Token       string `yaml:"token"`
	From        string `yaml:"from"`
	URL         string `yaml:"url"`
	MaxSegments int    `yaml:"max-segments"`
}

var twilioName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// checkTwilioAlso reads the files of the other accounts; what they don't say is as in
// otherwise. What it says of them shows no token.
func (s *settings) checkTwilioAlso(otherwise twilioAccount) error {
	const flag = "twilio-also"
	for entry := range strings.SplitSeq(s.providers.twilio.also, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, path, ok := strings.Cut(entry, "=")
		name, path = strings.TrimSpace(name), strings.TrimSpace(path)
		switch {
		case !ok || path == "":
			return s.refuse(flag, "%q is not NAME=FILE", entry)
		case !twilioName.MatchString(name):
			return s.refuse(flag, "%q is no name: it has small letters, digits and hyphens, at most 32", name)
		}
		file, err := s.readFile(flag, path)
		if err != nil {
			return err
		}
		account, err := readTwilioAccount(file, otherwise)
		if err != nil {
			return s.refuse(flag, "%s: %w", path, err)
		}
		if err := s.providers.client.CheckURL(account.URL); err != nil {
			return s.refuse(flag, "%s: url: %w", path, err)
		}
		for _, other := range s.providers.registered {
			if other.Provider == "twilio-"+name {
				return s.refuse(flag, "%q comes twice", name)
			}
		}
		if err := s.provideTwilio(flag, path+": ", "twilio-"+name, account); err != nil {
			return err
		}
	}
	return nil
}

// readTwilioAccount reads a file. Errors of YAML quote it, so none is passed on.
func readTwilioAccount(file []byte, otherwise twilioAccount) (twilioAccount, error) {
	account := otherwise
	decoder := yaml.NewDecoder(bytes.NewReader(file))
	decoder.KnownFields(true)
	switch err := decoder.Decode(&account); {
	case errors.Is(err, io.EOF):
		return account, errors.New("it is empty")
	case err != nil:
		return account, errors.New("it is not YAML with account, token and from, each a text (a number such as +15005550006 in quotes), and perhaps url and max-segments")
	case strings.ContainsFunc(account.Token, notVisible):
		return account, errors.New("the token has characters in it that no secret has")
	case account.MaxSegments < 1:
		return account, fmt.Errorf("max-segments: %d is not a number from 1 on", account.MaxSegments)
	}
	return account, nil
}

// provideTwilio registers an account; at says where its settings stand, if not in
// flag alone.
func (s *settings) provideTwilio(flag, at, provider string, a twilioAccount) error {
	channel, err := sms.NewTwilio(sms.Options{
		URL: a.URL, Account: a.Account, Token: a.Token, From: a.From, MaxSegments: a.MaxSegments, Receipts: s.receiptsURL(provider), Client: s.providers.client,
	})
	if err != nil {
		return s.refuse(flag, "%s%w", at, err)
	}
	return s.provide(flag, channels.Registration{
		Name: "sms", Kind: channels.Phone, Provider: provider, Channel: channel, Timeout: providerTimeout, HoldUnknown: true,
	})
}
