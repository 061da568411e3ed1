package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/reminders"
)

// bothMailers are settings by which a server and SendGrid carry e-mail.
func bothMailers(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"BELLTOWER_SENDGRID_KEY_FILE": written(t, "key", hidden+"\n"), "BELLTOWER_SENDGRID_FROM": "choir@example.org",
		"BELLTOWER_SMTP": "smtp://mail.example.org", "BELLTOWER_SMTP_FROM": "choir@example.org",
		"BELLTOWER_EMAIL_PROVIDERS": "sendgrid, smtp",
	}
}

func TestLimitSettings(t *testing.T) {
	right := map[string]string{
		"BELLTOWER_CHANNEL_PER_SECOND": "email=50, sms=0.5", "BELLTOWER_PROVIDER_PER_SECOND": "console=100", "BELLTOWER_RECIPIENT_INTERVAL": "sms=30s,push=1m",
	}
	refuses(t, right, map[string]refusal{
		"no pair":            {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "email"}, `--channel-per-second (BELLTOWER_CHANNEL_PER_SECOND): "email" is not NAME=VALUE`},
		"no channel":         {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "fax=1"}, `there is no "fax"; there are: email, push, sms`},
		"twice":              {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "sms=1,sms=2"}, `"sms" comes twice`},
		"no number":          {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "sms=many"}, `"many" is not a number`},
		"not a number":       {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "sms=NaN"}, `"NaN" is not a number`},
		"none":               {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "sms=0"}, `"0" is not a number`},
		"too many":           {map[string]string{"BELLTOWER_CHANNEL_PER_SECOND": "sms=1e9"}, "is not a number"},
		"no provider":        {map[string]string{"BELLTOWER_PROVIDER_PER_SECOND": "twilio=1"}, `--provider-per-second (BELLTOWER_PROVIDER_PER_SECOND): there is no "twilio"; there are: console`},
		"no time":            {map[string]string{"BELLTOWER_RECIPIENT_INTERVAL": "sms=30"}, `--recipient-interval (BELLTOWER_RECIPIENT_INTERVAL): "30" is not a time`},
		"a negative time":    {map[string]string{"BELLTOWER_RECIPIENT_INTERVAL": "sms=-1s"}, "is not a time"},
		"a long time":        {map[string]string{"BELLTOWER_RECIPIENT_INTERVAL": "sms=25h"}, "is not a time"},
		"nobody to carry it": {map[string]string{"BELLTOWER_EMAIL_PROVIDERS": "smtp"}, `--email-providers (BELLTOWER_EMAIL_PROVIDERS): "smtp" carries no e-mail`},
	})
	for _, r := range registrations(t, right) {
		want := map[string]channels.Registration{
			"email": {PerSecond: 50}, "sms": {PerSecond: 0.5, RecipientEvery: 30 * time.Second}, "push": {RecipientEvery: time.Minute},
		}[r.Name]
		require.InDelta(t, want.PerSecond, r.PerSecond, 0, r.Name)
		require.Equal(t, want.RecipientEvery, r.RecipientEvery, r.Name)
		require.InDelta(t, 100, r.ProviderPerSecond, 0, r.Name)
	}
}

func TestFallbackSettings(t *testing.T) {
	right := map[string]string{"BELLTOWER_FALLBACK": "push, sms,email", "BELLTOWER_FALLBACK_AFTER": "90s"}
	refuses(t, right, map[string]refusal{
		"no channel":   {map[string]string{"BELLTOWER_FALLBACK": "push,fax"}, `--fallback (BELLTOWER_FALLBACK): there is no channel "fax"; there are: email, push, sms`},
		"twice":        {map[string]string{"BELLTOWER_FALLBACK": "push,sms,push"}, `"push" comes twice`},
		"one":          {map[string]string{"BELLTOWER_FALLBACK": "push"}, "a chain has two channels or more"},
		"an empty one": {map[string]string{"BELLTOWER_FALLBACK": "push,,sms"}, `there is no channel ""`},
		"no time":      {map[string]string{"BELLTOWER_FALLBACK_AFTER": "10"}, `--fallback-after (BELLTOWER_FALLBACK_AFTER): "10" is not a time`},
		"no wait":      {map[string]string{"BELLTOWER_FALLBACK_AFTER": "0s"}, "is not a time"},
		"a long wait":  {map[string]string{"BELLTOWER_FALLBACK_AFTER": "25h"}, "is not a time"},
	})
	s, err := configured(right)
	require.NoError(t, err)
	require.Equal(t, reminders.Fallback{Chain: []string{"push", "sms", "email"}, After: 90 * time.Second}, s.providers.limits.fallback)
	s, err = configured(map[string]string{})
	require.NoError(t, err)
	require.Equal(t, reminders.Fallback{}, s.providers.limits.fallback)
}

func TestSeveralProvidersOfEMail(t *testing.T) {
	right := bothMailers(t)
	refuses(t, right, map[string]refusal{
		"no order":   {map[string]string{"BELLTOWER_EMAIL_PROVIDERS": ""}, "email is carried by smtp already: choose one, or name both in --email-providers, such as smtp,sendgrid"},
		"half":       {map[string]string{"BELLTOWER_EMAIL_PROVIDERS": "smtp"}, "sendgrid is set up and not named"},
		"twice":      {map[string]string{"BELLTOWER_EMAIL_PROVIDERS": "smtp,sendgrid,smtp"}, `"smtp" comes twice`},
		"a stranger": {map[string]string{"BELLTOWER_EMAIL_PROVIDERS": "smtp,sendgrid,ses"}, `"ses" carries no e-mail`},
	})
	for order, want := range map[string][]string{"sendgrid,smtp": {"sendgrid", "smtp"}, "smtp,sendgrid": {"smtp", "sendgrid"}} {
		right["BELLTOWER_EMAIL_PROVIDERS"] = order
		var carried []string
		all := registrations(t, right)
		for _, r := range all {
			if r.Name == "email" {
				carried = append(carried, r.Provider)
			}
		}
		require.Equal(t, want, carried)
		require.Equal(t, []string{"email", "sms", "push"}, names(all))
	}
}

func registrations(t *testing.T, env map[string]string) []channels.Registration {
	t.Helper()
	s, err := configured(env)
	require.NoError(t, err)
	return register(io.Discard, s)
}
