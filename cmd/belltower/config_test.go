package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/email"
)

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// shownBy runs config and gives what is in force, by name.
func shownBy(t *testing.T, env []string, args ...string) map[string]inForce {
	t.Helper()
	code, out, said := once(t, env, append([]string{"config", "--json"}, args...)...)
	require.Equal(t, exitOK, code, said)
	require.Empty(t, said)
	var list []inForce
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	all := map[string]inForce{}
	for _, one := range list {
		all[one.Name] = one
	}
	return all
}

func TestWhereSettingsComeFrom(t *testing.T) {
	file := written(t, "my.yaml", "# ours\nlisten: 127.0.0.1:1\ndata: from-file\nphone-region: AT\n\nsmtp-connections: 3\n")
	env := []string{"BELLTOWER_DATA=from-variable", "BELLTOWER_LISTEN=127.0.0.1:2", "BELLTOWER_TOKENS=ann:secret-of-ann"}
	all := shownBy(t, env, "--config", file, "--listen", "127.0.0.1:3")
	for name, want := range map[string]inForce{
		"listen":           {Value: "127.0.0.1:3", Source: "--listen"},
		"data":             {Value: "from-variable", Source: "BELLTOWER_DATA"},
		"phone-region":     {Value: "AT", Source: file + ":4"},
		"smtp-connections": {Value: "3", Source: file + ":6"},
		"store":            {Value: "embedded", Source: "default"},
		"public-url":       {Value: "", Source: "default"},
		"tokens":           {Value: "(hidden)", Source: "BELLTOWER_TOKENS", Secret: true},
		"admin-token":      {Value: "", Source: "default", Secret: true},
	} {
		want.Name = name
		require.Equal(t, want, all[name])
	}
	require.Len(t, all, len(new(settings).flags())+len(secretVariables))

	code, out, _ := once(t, append(env, "BELLTOWER_CONFIG="+file), "config")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, file+":4")
	require.NotContains(t, out, "secret-of-ann")
	for line := range strings.Lines(out) {
		require.Len(t, strings.Fields(line), 3, line)
	}
}

// belltower.yaml is read where it is there, and serve runs by it.
func TestServeReadsTheFile(t *testing.T) {
	p := launch(t, launchOptions{
		args: []string{"serve"}, env: []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin},
		change: func(cmd *exec.Cmd) {
			require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, configFile), []byte("listen: 127.0.0.1:0\ndata: elsewhere\n"), 0o600))
		},
	})
	p.await(t)
	require.FileExists(t, filepath.Join(p.cmd.Dir, "elsewhere", "events.db"))
	p.finish(t, syscall.SIGTERM)
}

func TestWrongConfigFiles(t *testing.T) {
	for name, row := range map[string]struct{ text, says string }{
		"unknown key":     {"listen: :80\nlitsen: :81\n", `:2: there is no setting "litsen"; there are: listen, data`},
		"a secret":        {"smtp-password: x\n", `:1: there is no setting "smtp-password"`},
		"twice":           {"data: a\n\ndata: b\n", ":3: data is set twice"},
		"nested":          {"smtp:\n  host: x\n", ":1: smtp has no single value"},
		"nothing":         {"data:\n", ":1: data has no single value"},
		"a list":          {"- listen\n", ":1: it is not a list of settings"},
		"a word":          {"listen\n", ":1: it is not a list of settings"},
		"no YAML":         {"listen: [\n", "line 2"},
		"a wrong value":   {"data: x\nlisten: 8080\n", `:2: --listen (BELLTOWER_LISTEN): "8080" is not HOST:PORT`},
		"a wrong setting": {"smtp: mail.example.org\n", ":1: --smtp (BELLTOWER_SMTP): it is not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			file := written(t, "belltower.yaml", row.text)
			for _, command := range []string{"serve", "config"} {
				code, out, said := once(t, nil, command, "--config", file)
				require.Equal(t, exitUsage, code)
				require.Empty(t, out)
				require.Contains(t, said, file)
				require.Contains(t, said, row.says)
			}
		})
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		shownBy(t, nil, "--config", written(t, "belltower.yaml", empty))
	}
	code, _, said := once(t, nil, "config", "--config", "not-there.yaml")
	require.Equal(t, exitUsage, code)
	require.Contains(t, said, "--config (BELLTOWER_CONFIG)")
	require.Contains(t, said, "not-there.yaml")
}

func TestSMTPSettings(t *testing.T) {
	const secret = "Tr0ub4dor"
	file := written(t, "password", secret+"\n")
	given := map[string]string{passwordVariable: secret}
	with := func(change func(*smtpSettings)) settings {
		s := settings{listen: ":0", data: "data", store: "embedded", readModels: "sqlite"}
		s.providers.smtp = smtpSettings{server: "smtp://mail.example.org", from: "Choir <choir@example.org>", tls: "required", connections: "8"}
		change(&s.providers.smtp)
		return s
	}
	for name, row := range map[string]struct {
		change func(*smtpSettings)
		env    map[string]string
		says   string
	}{
		"no scheme":          {func(m *smtpSettings) { m.server = "mail.example.org" }, nil, "--smtp (BELLTOWER_SMTP): it is not a URL"},
		"another scheme":     {func(m *smtpSettings) { m.server = "http://mail.example.org" }, nil, "it is not a URL"},
		"no host":            {func(m *smtpSettings) { m.server = "smtp://:25" }, nil, "it is not a URL"},
		"a path":             {func(m *smtpSettings) { m.server = "smtp://mail.example.org/x" }, nil, "it is not a URL"},
		"a wrong port":       {func(m *smtpSettings) { m.server = "smtp://mail.example.org:70000" }, nil, "is not a port"},
		"a password in it":   {func(m *smtpSettings) { m.server = "smtp://ann:" + secret + "@mail.example.org" }, nil, "has a password in it"},
		"hardly a URL":       {func(m *smtpSettings) { m.server = "smtp://ann:" + secret + "%zz@mail.example.org" }, nil, "it is not a URL"},
		"no sender":          {func(m *smtpSettings) { m.from = "" }, nil, "--smtp-from (BELLTOWER_SMTP_FROM)"},
		"two senders":        {func(m *smtpSettings) { m.from = "a@x.org, b@x.org" }, nil, "--smtp-from"},
		"policy":             {func(m *smtpSettings) { m.tls = "maybe" }, nil, "--smtp-tls (BELLTOWER_SMTP_TLS)"},
		"smtps without TLS":  {func(m *smtpSettings) { m.server, m.tls = "smtps://mail.example.org", "none" }, nil, "always encrypted"},
		"connections":        {func(m *smtpSettings) { m.connections = "0" }, nil, "--smtp-connections"},
		"a user alone":       {func(m *smtpSettings) { m.server = "smtp://ann@mail.example.org" }, nil, "there is a user and no password"},
		"a password alone":   {func(*smtpSettings) {}, given, "there is a password and no user"},
		"two passwords":      {func(m *smtpSettings) { m.server, m.passwordFile = "smtp://ann@mail.example.org", file }, given, "given in BELLTOWER_SMTP_PASSWORD too"},
		"no such file":       {func(m *smtpSettings) { m.server, m.passwordFile = "smtp://ann@mail.example.org", file+"x" }, nil, "--smtp-password-file"},
		"unencrypted":        {func(m *smtpSettings) { m.server, m.tls = "smtp://ann@mail.example.org", "none" }, given, "unencrypted"},
		"a sender alone":     {func(m *smtpSettings) { m.server = "" }, nil, "--smtp-from (BELLTOWER_SMTP_FROM): it is for what isn't set: --smtp (BELLTOWER_SMTP)"},
		"a sender's domain":  {func(m *smtpSettings) { m.from = "choir@-.org" }, nil, "the sender's address"},
		"a password in a no": {func(m *smtpSettings) { m.server = "smtp://ann@mail.example.org"; m.tls = "x" }, given, "--smtp-tls"},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(row.change)
			err := s.check(row.env)
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, err.Error(), secret)
		})
	}
	for name, row := range map[string]struct {
		change func(*smtpSettings)
		env    map[string]string
		want   email.Options
	}{
		"plainly":     {func(*smtpSettings) {}, nil, email.Options{Port: 587, Security: email.STARTTLS}},
		"with a port": {func(m *smtpSettings) { m.server, m.tls = "smtp://mail.example.org:2525/", "none" }, nil, email.Options{Port: 2525, Security: email.Plaintext}},
		"as somebody": {func(m *smtpSettings) { m.server = "smtp://ann%40x.org@mail.example.org" }, given, email.Options{Port: 587, Security: email.STARTTLS, Username: "ann@x.org", Password: secret}},
		"by a file":   {func(m *smtpSettings) { m.server, m.passwordFile = "smtps://ann@mail.example.org", file }, nil, email.Options{Port: 465, Security: email.ImplicitTLS, Username: "ann", Password: secret}},
		"maybe":       {func(m *smtpSettings) { m.tls = "opportunistic" }, nil, email.Options{Port: 587, Security: email.Opportunity}},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(row.change)
			require.NoError(t, s.check(row.env))
			require.Equal(t, "choir@example.org", s.providers.smtp.options.From.Address)
			row.want.Host, row.want.From = "mail.example.org", s.providers.smtp.options.From
			require.Equal(t, row.want, s.providers.smtp.options)
		})
	}
}

func TestChannelTestOnTheConsole(t *testing.T) {
	code, out, said := once(t, nil, "channel", "test", "email", "someone@example.org")
	require.Equal(t, exitOK, code, said)
	require.Len(t, sentLines(t, out), 1)
	require.Contains(t, out, "outcome   accepted")
	require.Contains(t, out, "delivers to nobody")
	code, _, said = once(t, nil, "channel", "test", "email", " ")
	require.Equal(t, exitUsage, code)
	require.Contains(t, said, "no address")
}

// A password in a connection string is hidden like any other secret.
func TestConfigHidesPasswordsInURLs(t *testing.T) {
	for value, shown := range map[string]string{
		"esdb://admin:changeit@a.example:2113,b.example:2113?tls=true": "esdb://admin:(hidden)@a.example:2113,b.example:2113?tls=true",
		"esdb+discover://admin:change:it@a.example":                    "esdb+discover://admin:(hidden)@a.example",
		"esdb://a.example:2113":                                        "esdb://a.example:2113",
		"smtp://user@mail.example.org:587":                             "smtp://user@mail.example.org:587",
	} {
		require.Equal(t, shown, withoutPassword(value))
	}
}
