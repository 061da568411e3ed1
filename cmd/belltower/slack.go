package main

import (
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/slack"
)

// slackSettings say where Slack shows messages: by a webhook, or as an app. None:
// there is no channel slack.
type slackSettings struct{ webhookFile, tokenFile, channel, url string }

func (k *slackSettings) flags() []setting {
	return []setting{
		{"slack-webhook-file", "BELLTOWER_SLACK_WEBHOOK_FILE", "", "file with the URL of an incoming webhook, for a channel slack (default: there is none)", &k.webhookFile},
		{"slack-token-file", "BELLTOWER_SLACK_TOKEN_FILE", "", "file with an app's token, xoxb-…, in place of a webhook", &k.tokenFile},
		{"slack-channel", "BELLTOWER_SLACK_CHANNEL", "", "where the app posts: an id such as C012AB3CD, or a name such as #reminders", &k.channel},
		{"slack-url", "BELLTOWER_SLACK_URL", slack.APIURL, "where Slack's Web API is", &k.url},
	}
}

// slackPerSecond is what Slack takes for one channel of its own.
const slackPerSecond, slackTimeout, slackWorkers = 1, 15 * time.Second, 4

// checkSlack reads the settings of Slack.
func (s *settings) checkSlack() error {
	k := &s.providers.slack
	r := channels.Registration{
		Name: "slack", Kind: channels.Email, Elsewhere: true, Provider: "slack", Timeout: slackTimeout, Workers: slackWorkers, PerSecond: slackPerSecond, HoldUnknown: true,
	}
	if k.tokenFile == "" {
		if err := s.needs("--slack-token-file", map[string]string{"slack-channel": k.channel}); err != nil || k.webhookFile == "" {
			return err
		}
		url, err := s.readSecret("slack-webhook-file", k.webhookFile)
		if err != nil {
			return err
		}
		if r.Channel, err = slack.NewWebhook(url, s.providers.client); err != nil {
			return s.refuse("slack-webhook-file", "%w", err)
		}
		return s.provide("slack-webhook-file", r)
	}
	if k.webhookFile != "" {
		return s.refuse("slack-token-file", "there is a webhook too (--slack-webhook-file): choose one")
	}
	token, err := s.readSecret("slack-token-file", k.tokenFile)
	if err != nil {
		return err
	}
	if err := s.providers.client.CheckURL(k.url); err != nil {
		return s.refuse("slack-url", "%w", err)
	}
	app, err := slack.NewApp(slack.AppOptions{URL: k.url, Token: token, Channel: k.channel, Client: s.providers.client})
	if err != nil {
		return s.refuse("slack-channel", "%w", err)
	}
	r.Channel = app
	if findable, ok := app.Findable(); ok {
		r.Channel = findable
	}
	return s.provide("slack-token-file", r)
}
