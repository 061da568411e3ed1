package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/reminders"
)

// limitSettings say how much is sent at a time, and by whom first.
type limitSettings struct {
	mailers, texters                              string // who carries e-mail, and text messages, in order
	channels, providers, recipients, chain, after string

	// What check has made of them.
	perChannel, perProvider map[string]float64
	spacing                 map[string]time.Duration
	fallback                reminders.Fallback
}

func (l *limitSettings) flags() []setting {
	return []setting{
		{"email-providers", "BELLTOWER_EMAIL_PROVIDERS", "", "who carries e-mail, in order, where several are set: sendgrid,smtp; the next one where one certainly hasn't taken a mail (default: only one may be set)", &l.mailers},
		{"sms-providers", "BELLTOWER_SMS_PROVIDERS", "", "who carries text messages, in order, where several are set: twilio,twilio-us; the next one where one certainly hasn't taken a message (default: only one may be set)", &l.texters},
		{"channel-per-second", "BELLTOWER_CHANNEL_PER_SECOND", "", "most messages a second on a channel: email=50,sms=10 (default: no bound but slack=1)", &l.channels},
		{"provider-per-second", "BELLTOWER_PROVIDER_PER_SECOND", "", "most messages a second through a provider, on all its channels: twilio=10 (default: no bound)", &l.providers},
		{"recipient-interval", "BELLTOWER_RECIPIENT_INTERVAL", "", "how long one address is left alone after a message on a channel: sms=30s (default: not at all)", &l.recipients},
		{"fallback", "BELLTOWER_FALLBACK", "", "channels that stand in for each other, in order: push,sms,email; of a message for several of them, the next is used where the one before failed or had no receipt or answer (default: all are used at once)", &l.chain},
		{"fallback-after", "BELLTOWER_FALLBACK_AFTER", "10m", "how long a receipt or an answer is waited for before the next of them is used", &l.after},
	}
}

// Bounds of what may be set.
const (
	maxPerSecond         = 100_000
	minPerSecond         = 0.001
	maxRecipientInterval = 24 * time.Hour
	minFallbackAfter     = time.Second
	maxFallbackAfter     = 24 * time.Hour
)

// checkLimits reads the limits, once it is known who carries what.
func (s *settings) checkLimits() (err error) {
	l := &s.providers.limits
	for _, o := range l.orders() {
		if err := s.checkOrder(o); err != nil {
			return err
		}
	}
	all, carried := []string{"email", "sms", "push"}, []string{consoleProvider}
	for _, r := range s.providers.registered {
		all, carried = append(all, r.Name), append(carried, r.Provider)
	}
	if l.perChannel, err = rates(s, "channel-per-second", l.channels, all); err != nil {
		return err
	}
	if l.perProvider, err = rates(s, "provider-per-second", l.providers, carried); err != nil {
		return err
	}
	given, err := s.pairs("recipient-interval", l.recipients, all)
	if err != nil {
		return err
	}
	l.spacing = map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		every, err := time.ParseDuration(given[name])
		if err != nil || every <= 0 || every > maxRecipientInterval {
			return s.refuse("recipient-interval", "%q is not a time such as 30s, up to %v", given[name], maxRecipientInterval)
		}
		l.spacing[name] = every
	}
	return s.checkFallback(all)
}

// checkFallback reads the chain of channels; known are all that there are.
func (s *settings) checkFallback(known []string) error {
	l := &s.providers.limits
	l.fallback = reminders.Fallback{}
	if strings.TrimSpace(l.chain) == "" {
		return nil
	}
	after, err := time.ParseDuration(l.after)
	if err != nil || after < minFallbackAfter || after > maxFallbackAfter {
		return s.refuse("fallback-after", "%q is not a time such as 10m, from %v to %v", l.after, minFallbackAfter, maxFallbackAfter)
	}
	for name := range strings.SplitSeq(l.chain, ",") {
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(known, name):
			slices.Sort(known)
			return s.refuse("fallback", "there is no channel %q; there are: %s", name, strings.Join(slices.Compact(known), ", "))
		case slices.Contains(l.fallback.Chain, name):
			return s.refuse("fallback", "%q comes twice", name)
		}
		l.fallback.Chain = append(l.fallback.Chain, name)
	}
	if len(l.fallback.Chain) < 2 {
		return s.refuse("fallback", "a chain has two channels or more, such as push,email")
	}
	l.fallback.After = after
	return nil
}

func rates(s *settings, flag, text string, known []string) (map[string]float64, error) {
	given, err := s.pairs(flag, text, known)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		n, err := strconv.ParseFloat(given[name], 64)
		if err != nil || !(n >= minPerSecond && n <= maxPerSecond) { // nor NaN
			return nil, s.refuse(flag, "%q is not a number from %v to %d", given[name], minPerSecond, maxPerSecond)
		}
		all[name] = n
	}
	return all, nil
}

// pairs reads name=value,name=value, each name known and once.
func (s *settings) pairs(flag, text string, known []string) (map[string]string, error) {
	all := map[string]string{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, ok := strings.Cut(entry, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		_, twice := all[name]
		switch {
		case !ok:
			return nil, s.refuse(flag, "%q is not NAME=VALUE", entry)
		case !slices.Contains(known, name):
			slices.Sort(known)
			return nil, s.refuse(flag, "there is no %q; there are: %s", name, strings.Join(slices.Compact(known), ", "))
		case twice:
			return nil, s.refuse(flag, "%q comes twice", name)
		}
		all[name] = value
	}
	return all, nil
}

// order is the setting that says who carries a channel, in order.
type order struct{ channel, carries, flag, given string }

// orders are those of the channels that several may carry.
func (l *limitSettings) orders() []order {
	return []order{{"email", "e-mail", "email-providers", l.mailers}, {"sms", "text messages", "sms-providers", l.texters}}
}

// checkOrder puts those who carry a channel into the order that is asked for.
func (s *settings) checkOrder(o order) error {
	if strings.TrimSpace(o.given) == "" {
		return nil
	}
	var wanted []string
	for name := range strings.SplitSeq(o.given, ",") {
		name = strings.TrimSpace(name)
		if slices.Contains(wanted, name) {
			return s.refuse(o.flag, "%q comes twice", name)
		}
		if !slices.ContainsFunc(s.providers.registered, func(r channels.Registration) bool { return r.Name == o.channel && r.Provider == name }) {
			return s.refuse(o.flag, "%q carries no %s: set it up, or leave it out", name, o.carries)
		}
		wanted = append(wanted, name)
	}
	for _, r := range s.providers.registered {
		if r.Name == o.channel && !slices.Contains(wanted, r.Provider) {
			return s.refuse(o.flag, "%s is set up and not named", r.Provider)
		}
	}
	rank := func(r channels.Registration) int {
		if r.Name != o.channel {
			return len(wanted) // behind, in the order that they are in
		}
		return slices.Index(wanted, r.Provider)
	}
	slices.SortStableFunc(s.providers.registered, func(a, b channels.Registration) int { return rank(a) - rank(b) })
	return nil
}

// apply puts the limits into registrations.
func (l *limitSettings) apply(all []channels.Registration) []channels.Registration {
	for i := range all {
		r := &all[i]
		if n, ok := l.perChannel[r.Name]; ok {
			r.PerSecond = n
		}
		r.ProviderPerSecond = l.perProvider[r.Provider]
		r.RecipientEvery = l.spacing[r.Name]
	}
	return all
}
