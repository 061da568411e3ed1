package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/console"
	"github.com/belltower/belltower/channels/outgoing"
)

// providerTimeout bounds one attempt of a provider that is called over HTTP.
const providerTimeout = 30 * time.Second

// providerSettings say who carries messages.
type providerSettings struct {
	allow    string
	smtp     smtpSettings
	sendgrid sendGridSettings
	twilio   twilioSettings
	fcm      fcmSettings
	webPush  webPushSettings
	slack    slackSettings
	webhook  webhookSettings
	limits   limitSettings

	// What check has made of them.
	client     *outgoing.Client
	registered []channels.Registration
}

func (p *providerSettings) flags() []setting {
	return slices.Concat(p.smtp.flags(), p.sendgrid.flags(), p.twilio.flags(), p.fcm.flags(), p.webPush.flags(), p.slack.flags(), p.webhook.flags(), p.limits.flags(), []setting{
		{"outgoing-allow", "BELLTOWER_OUTGOING_ALLOW", "", "private networks that providers may be called in, also without TLS, such as 127.0.0.0/8,10.1.0.0/16 (default: none)", &p.allow},
	})
}

// checkProviders reads the settings of all providers. What it says shows no secret.
func (s *settings) checkProviders(env map[string]string) error {
	p := &s.providers
	p.registered = nil
	var allowed []netip.Prefix
	for part := range strings.SplitSeq(p.allow, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		network, err := netip.ParsePrefix(part)
		if err != nil {
			return s.refuse("outgoing-allow", "%q is not a network such as 10.1.0.0/16", part)
		}
		allowed = append(allowed, network.Masked())
	}
	p.client = outgoing.New(outgoing.Options{Allowed: allowed})
	if err := s.checkSMTP(env); err != nil {
		return err
	}
	for _, check := range []func() error{s.checkSendGrid, s.checkTwilio, s.checkPush, s.checkSlack, s.checkWebhook} {
		if err := check(); err != nil {
			return err
		}
	}
	return s.checkLimits()
}

// provide registers who carries a channel; flag is the setting that names them.
// Where several may, another setting gives their order.
func (s *settings) provide(flag string, r channels.Registration) error {
	for _, other := range s.providers.registered {
		if other.Name != r.Name {
			continue
		}
		orders := s.providers.limits.orders()
		i := slices.IndexFunc(orders, func(o order) bool { return o.channel == r.Name })
		switch {
		case i < 0:
			return s.refuse(flag, "%s is carried by %s already: choose one", r.Name, other.Provider)
		case strings.TrimSpace(orders[i].given) == "":
			return s.refuse(flag, "%s is carried by %s already: choose one, or name both in --%s, such as %s,%s", r.Name, other.Provider, orders[i].flag, other.Provider, r.Provider)
		}
	}
	s.providers.registered = append(s.providers.registered, r)
	return nil
}

// needs refuses settings that are for something that isn't set.
func (s *settings) needs(what string, given map[string]string) error {
	for _, flag := range slices.Sorted(maps.Keys(given)) {
		if given[flag] != "" {
			return s.refuse(flag, "it is for what isn't set: %s", what)
		}
	}
	return nil
}

// readSecret reads a file that holds one secret, on one line.
func (s *settings) readSecret(flag, path string) (string, error) {
	lines, err := s.readSecrets(flag, path)
	if err != nil {
		return "", err
	}
	if len(lines) > 1 {
		return "", s.refuse(flag, "%s has more than one line", path)
	}
	return lines[0], nil
}

// readSecrets reads a file that holds secrets, one a line.
func (s *settings) readSecrets(flag, path string) ([]string, error) {
	data, err := s.readFile(flag, path)
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(string(data))
	if len(lines) == 0 {
		return nil, s.refuse(flag, "%s is empty", path)
	}
	for _, line := range lines {
		if strings.ContainsFunc(line, notVisible) {
			return nil, s.refuse(flag, "%s has characters in it that no secret has", path)
		}
	}
	return lines, nil
}

// readFile reads a file, as far as a file of secrets may be long.
func (s *settings) readFile(flag, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, s.refuse(flag, "%w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	const most = 64 << 10
	data, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return nil, s.refuse(flag, "%w", err)
	}
	return data, nil
}

// register gives all channels: those that providers carry, and for the three that
// are always there the console, which prints.
func register(out io.Writer, s settings) []channels.Registration {
	c := console.New(out)
	all := []channels.Registration{
		{Name: "email", Kind: channels.Email, Provider: consoleProvider, Channel: c},
		{Name: "sms", Kind: channels.Phone, Provider: consoleProvider, Channel: c},
		{Name: "push", Kind: channels.Push, Provider: consoleProvider, Channel: c},
	}
	for _, r := range s.providers.registered {
		i := slices.IndexFunc(all, func(other channels.Registration) bool {
			return other.Name == r.Name && other.Provider == consoleProvider
		})
		if i >= 0 {
			all[i] = r
			continue
		}
		// Behind those of the same channel, in the order in which they are to be tried.
		last := len(all)
		for j, other := range all {
			if other.Name == r.Name {
				last = j + 1
			}
		}
		all = slices.Insert(all, last, r)
	}
	return s.providers.limits.apply(all)
}

// consoleProvider is who carries what nobody else does.
const consoleProvider = "console"

// connected is a channel that can name the server it sends through.
type connected interface{ Server() string }

// carrier says who carries a channel's messages, for people.
func carrier(r channels.Registration) string {
	if t, ok := r.Channel.(connected); ok {
		return fmt.Sprintf("%s, by %s through %s", r.Name, r.Provider, t.Server())
	}
	return fmt.Sprintf("%s, by %s", r.Name, r.Provider)
}
