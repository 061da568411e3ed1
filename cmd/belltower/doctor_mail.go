package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/belltower/belltower/channels/email"
)

// lookupTime bounds all that DNS is asked.
const lookupTime = 20 * time.Second

// signing looks whether receivers can verify what signs mail, and whether the
// sender's domain publishes what they go by besides (SPF, DMARC). Mail that is not
// signed here is its server's business.
func (e *examination) signing(ctx context.Context) {
	m := &e.settings.providers.smtp
	d := m.options.DKIM
	if d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	records, err := d.Records()
	if err != nil {
		e.add("dkim", failing, err.Error(), "name a shorter domain or selector")
		return
	}
	answers := true
	for i, wrong := range d.Published(ctx, e.lookup) {
		switch name := records[i].Name; {
		case errors.Is(wrong, email.ErrNoAnswer):
			answers = false
			e.add("dkim", warning, name+" can't be looked up from here: "+wrong.Error(), "see elsewhere that it is: "+records[i].Zone())
		case wrong != nil:
			e.add("dkim", failing, fmt.Sprintf("%s doesn't verify what we sign: %s", name, wrong), "publish "+records[i].Zone())
		default:
			e.add("dkim", good, name+" verifies what we sign", "")
		}
	}
	from := domainOf(m.options.From.Address)
	if organisation(from) != organisation(d.Domain()) {
		e.add("dkim", warning, fmt.Sprintf("mail from %s is signed for %s, which receivers that go by DMARC don't count", from, d.Domain()), "sign for "+from)
	}
	if !answers {
		return
	}
	if !e.publishes(ctx, "v=DMARC1", "_dmarc."+from, "_dmarc."+organisation(from)) {
		e.add("dmarc", warning, "_dmarc."+from+" says nothing: large receivers want to be told what to do with mail in your name that isn't yours", `begin with: _dmarc.`+organisation(from)+`. IN TXT "v=DMARC1; p=none"`)
	}
	envelope := from
	if m.bounces != "" {
		envelope = domainOf(m.bounces)
	}
	if !e.publishes(ctx, "v=spf1", envelope) {
		e.add("spf", warning, envelope+" doesn't say which servers send its mail", `name yours: `+envelope+`. IN TXT "v=spf1 … -all"`)
	}
}

// publishes tells whether one of the names has a text that begins so, or can't be asked.
func (e *examination) publishes(ctx context.Context, begin string, names ...string) bool {
	for _, name := range names {
		texts, err := e.lookup(ctx, name)
		if missing := (*net.DNSError)(nil); err != nil && (!errors.As(err, &missing) || !missing.IsNotFound) {
			return true
		}
		for _, text := range texts {
			if strings.HasPrefix(strings.ToLower(text), strings.ToLower(begin)) {
				return true
			}
		}
	}
	return false
}

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// organisation is the domain that was registered, by which DMARC compares.
func organisation(domain string) string {
	if registered, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return registered
	}
	return domain
}
