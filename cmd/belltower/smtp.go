package main

import (
	"net"
	"net/mail"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// smtpSettings say which server carries e-mail; none: the console channel does.
type smtpSettings struct {
	server       string // smtp://user@host:587 or smtps://user@host:465
	from         string
	tls          string
	passwordFile string
	connections  string
	dkim         string // SELECTOR=FILE,…
	dkimDomain   string
	bounces      string // address

	// What check has made of them.
	options   email.Options
	bounceKey *bounceKey // nil: none is needed
}

func (m *smtpSettings) flags() []setting {
	return []setting{
		{"smtp", "BELLTOWER_SMTP", "", "server that carries e-mail, smtp://USER@HOST:PORT or smtps:// (default: e-mail is printed only)", &m.server},
		{"smtp-from", "BELLTOWER_SMTP_FROM", "", "sender of e-mail, such as \"Choir <choir@example.org>\"", &m.from},
		{"smtp-tls", "BELLTOWER_SMTP_TLS", "required", "with smtp://, whether the server has to offer STARTTLS: required, opportunistic or none", &m.tls},
		{"smtp-password-file", "BELLTOWER_SMTP_PASSWORD_FILE", "", "file with the password for the server; or give it in " + passwordVariable, &m.passwordFile},
		{"smtp-connections", "BELLTOWER_SMTP_CONNECTIONS", "8", "connections to the server at once, 1 to 128", &m.connections},
		{"smtp-dkim", "BELLTOWER_SMTP_DKIM", "", "keys that sign mail, SELECTOR=FILE, the next after a comma; 'belltower dkim make' makes them (default: mail is not signed)", &m.dkim},
		{"smtp-dkim-domain", "BELLTOWER_SMTP_DKIM_DOMAIN", "", "domain that is signed for (default: the sender's)", &m.dkimDomain},
		{"smtp-bounce-address", "BELLTOWER_SMTP_BOUNCE_ADDRESS", "", "address that mail comes back to which can't be delivered; what is behind a + in it is ours (default: the sender's, unread)", &m.bounces},
	}
}

// smtpTimeout bounds one attempt. Servers that look into a mail take their time.
const smtpTimeout = time.Minute

// checkSMTP reads the settings of e-mail. What it says never shows a password.
func (s *settings) checkSMTP(env map[string]string) error {
	m := &s.providers.smtp
	m.options, m.bounceKey = email.Options{}, nil
	if m.server == "" {
		return s.needs("--smtp (BELLTOWER_SMTP)", map[string]string{
			"smtp-from": m.from, "smtp-password-file": m.passwordFile, "smtp-dkim": m.dkim, "smtp-dkim-domain": m.dkimDomain, "smtp-bounce-address": m.bounces,
		})
	}
	u, err := url.Parse(m.server)
	switch {
	case err != nil, u.Scheme != "smtp" && u.Scheme != "smtps", u.Hostname() == "", u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return s.refuse("smtp", "it is not a URL such as smtp://user@mail.example.org:587 or smtps://user@mail.example.org")
	}
	if _, given := u.User.Password(); given {
		return s.refuse("smtp", "it has a password in it, which others could read: give that in %s or --smtp-password-file", passwordVariable)
	}
	m.options = email.Options{Host: u.Hostname(), Port: 587, Username: u.User.Username()}
	if err := m.secure(s, u.Scheme); err != nil {
		return err
	}
	if text := u.Port(); text != "" {
		if m.options.Port, err = strconv.Atoi(text); err != nil || m.options.Port < 1 || m.options.Port > 65535 {
			return s.refuse("smtp", "%q is not a port", text)
		}
	}
	from, err := mail.ParseAddress(m.from)
	if err != nil {
		return s.refuse("smtp-from", "%q is not an address such as choir@example.org or \"Choir <choir@example.org>\"", m.from)
	}
	m.options.From = *from
	workers, err := strconv.Atoi(m.connections)
	if err != nil || workers < 1 || workers > 128 {
		return s.refuse("smtp-connections", "%q is not a number from 1 to 128", m.connections)
	}
	if err := m.authenticate(s, env); err != nil {
		return err
	}
	if m.options.DKIM, err = s.checkDKIM(from.Address); err != nil {
		return err
	}
	flag := "smtp"
	if m.bounces != "" {
		m.bounceKey, flag = newBounceKey(), "smtp-bounce-address"
		m.options.Bounces, m.options.Digest = m.bounces, m.bounceKey.of
	}
	channel, err := email.New(m.options)
	if err != nil {
		return s.refuse(flag, "%w", err)
	}
	return s.provide("smtp", channels.Registration{
		Name: "email", Kind: channels.Email, Provider: "smtp", Channel: channel, Timeout: smtpTimeout, Workers: workers,
	})
}

// secure reads how the connection is protected.
func (m *smtpSettings) secure(s *settings, scheme string) error {
	kinds := map[string]email.Security{"required": email.STARTTLS, "opportunistic": email.Opportunity, "none": email.Plaintext}
	kind, ok := kinds[m.tls]
	if !ok {
		return s.refuse("smtp-tls", "%q is not required, opportunistic or none", m.tls)
	}
	m.options.Security = kind
	if scheme == "smtps" {
		if kind != email.STARTTLS {
			return s.refuse("smtp-tls", "smtps:// is always encrypted, so it can't be %s", m.tls)
		}
		m.options.Security, m.options.Port = email.ImplicitTLS, 465
	}
	return nil
}

// authenticate reads the password.
func (m *smtpSettings) authenticate(s *settings, env map[string]string) error {
	password := env[passwordVariable]
	given := password != "" // an empty one is what docker compose makes of none
	switch {
	case given && m.passwordFile != "":
		return s.refuse("smtp-password-file", "the password is given in %s too", passwordVariable)
	case m.passwordFile != "":
		data, err := os.ReadFile(m.passwordFile)
		if err != nil {
			return s.refuse("smtp-password-file", "%w", err)
		}
		password, given = strings.TrimRight(string(data), "\r\n"), true
	}
	switch user := m.options.Username; {
	case user == "" && given:
		return s.refuse("smtp", "there is a password and no user to go with it: write smtp://USER@HOST")
	case user != "" && password == "":
		return s.refuse("smtp", "there is a user and no password: give it in %s or --smtp-password-file", passwordVariable)
	case user != "" && m.options.Security == email.Plaintext && !loopback(m.options.Host):
		return s.refuse("smtp-tls", "the password would go over the network unencrypted")
	}
	m.options.Password = password
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
