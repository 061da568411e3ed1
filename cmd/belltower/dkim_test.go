package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"
)

// signed are settings of mail that two keys sign, and what is to be published of them.
func signed(t *testing.T, server string) (env map[string]string, zone map[string]string) {
	t.Helper()
	folder := t.TempDir()
	wide, young := filepath.Join(folder, "wide.pem"), filepath.Join(folder, "young.pem")
	for _, args := range [][]string{{wide, "--selector", "wide"}, {young, "--selector", "young", "--type", "ed25519"}} {
		code, out, said := once(t, nil, append([]string{"dkim", "make", "--domain", "sender.example"}, args...)...)
		require.Equal(t, exitOK, code, said)
		require.Contains(t, said, "--smtp-dkim "+args[2]+"="+args[0])
		require.Contains(t, out, args[2]+"._domainkey.sender.example. IN TXT (")
		kept, err := os.Stat(args[0])
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), kept.Mode())
	}
	env = map[string]string{
		"BELLTOWER_SMTP": "smtp://" + server, "BELLTOWER_SMTP_TLS": "none", "BELLTOWER_SMTP_FROM": "Choir <choir@sender.example>",
		"BELLTOWER_SMTP_DKIM": "wide=" + wide + ", young=" + young,
	}
	code, out, said := once(t, pairs(env), "dkim", "records")
	require.Equal(t, exitOK, code, said)
	zone = map[string]string{}
	for line := range strings.Lines(out) {
		name, texts, _ := strings.Cut(line, ". IN TXT ")
		for _, part := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(texts, -1) {
			zone[name] += part[1]
		}
	}
	require.Len(t, zone, 2)
	return env, zone
}

func pairs(env map[string]string) []string {
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

func TestDKIMCommands(t *testing.T) {
	server := startPostOffice(t)
	env, zone := signed(t, server.address)
	code, out, said := once(t, pairs(env), "channel", "test", "email", "ann@example.org")
	require.Equal(t, exitOK, code, out+said)
	verified, err := dkim.VerifyWithOptions(bytes.NewReader(server.taken(t, 1)[0].data), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return []string{zone[name]}, nil
	}})
	require.NoError(t, err)
	require.Len(t, verified, 2)
	for _, v := range verified {
		require.NoError(t, v.Err)
		require.Equal(t, "sender.example", v.Domain)
	}

	_, path, _ := strings.Cut(env["BELLTOWER_SMTP_DKIM"], "wide=")
	path, _, _ = strings.Cut(path, ",")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for says, args := range map[string][]string{
		"is there already":         {"make", path, "--selector", "a", "--domain", "b.example"},
		"takes the file":           {"make"},
		`"dsa" is neither`:         {"make", path + ".new", "--selector", "a", "--domain", "b.example", "--type", "dsa"},
		`"" is no selector`:        {"make", path + ".new", "--domain", "b.example"},
		"the domain is none":       {"make", path + ".new", "--selector", "a"},
		"dkim records takes no ar": {"records", "all"},
	} {
		code, out, said := once(t, nil, append([]string{"dkim"}, args...)...)
		require.Equal(t, exitUsage, code, says)
		require.Empty(t, out)
		require.Contains(t, said, says)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoFileExists(t, path+".new")
	code, _, said = once(t, nil, "dkim", "records")
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, "no mail is signed here")
}

func TestSettingsOfWhatIsSent(t *testing.T) {
	right, _ := signed(t, "mail.example.org:587")
	right["BELLTOWER_SMTP_BOUNCE_ADDRESS"] = "bounces@sender.example"
	change := func(name, value string) map[string]string { return map[string]string{name: value} }
	const dkim = "BELLTOWER_SMTP_DKIM"
	refuses(t, right, map[string]refusal{
		"no selector":            {change(dkim, "key.pem"), `--smtp-dkim (BELLTOWER_SMTP_DKIM): "key.pem" is not SELECTOR=FILE`},
		"no file":                {change(dkim, "a=nowhere.pem"), "--smtp-dkim (BELLTOWER_SMTP_DKIM): open nowhere.pem"},
		"no key":                 {change(dkim, "a="+written(t, "key", hidden)), "holds no key in PEM"},
		"no selector that is":    {change(dkim, strings.Replace(right[dkim], "wide=", "wi_de=", 1)), `"wi_de" is no selector`},
		"one selector for two":   {change(dkim, strings.Replace(right[dkim], "young=", "wide=", 1)), "comes twice"},
		"no domain":              {change("BELLTOWER_SMTP_DKIM_DOMAIN", "a b"), "--smtp-dkim-domain (BELLTOWER_SMTP_DKIM_DOMAIN): DKIM: the domain is none"},
		"a domain without keys":  {map[string]string{dkim: "", "BELLTOWER_SMTP_DKIM_DOMAIN": "sender.example"}, "--smtp-dkim-domain (BELLTOWER_SMTP_DKIM_DOMAIN): it is for what isn't set: --smtp-dkim"},
		"keys without a server":  {map[string]string{"BELLTOWER_SMTP": "", "BELLTOWER_SMTP_FROM": "", "BELLTOWER_SMTP_BOUNCE_ADDRESS": ""}, "--smtp-dkim (BELLTOWER_SMTP_DKIM): it is for what isn't set: --smtp (BELLTOWER_SMTP)"},
		"no bounce address":      {change("BELLTOWER_SMTP_BOUNCE_ADDRESS", "bounces"), "--smtp-bounce-address (BELLTOWER_SMTP_BOUNCE_ADDRESS): email: the bounce address: it is not one address"},
		"too long for a mark":    {change("BELLTOWER_SMTP_BOUNCE_ADDRESS", strings.Repeat("b", 30)+"@x.example"), "more than 21 characters"},
		"a bounce address alone": {map[string]string{"BELLTOWER_SMTP": "", "BELLTOWER_SMTP_FROM": "", dkim: ""}, "--smtp-bounce-address (BELLTOWER_SMTP_BOUNCE_ADDRESS): it is for what isn't set"},
	})
}

func TestDoctorOfSigning(t *testing.T) {
	env, zone := signed(t, "127.0.0.1:25")
	examine := func(change map[string]string, lookup func(name string) (string, error)) map[string][]finding {
		all := map[string]string{}
		for _, settings := range []map[string]string{env, change} {
			for name, value := range settings {
				all[name] = value
			}
		}
		s, err := configured(all)
		require.NoError(t, err)
		e := &examination{settings: s, now: time.Now, lookup: func(_ context.Context, name string) ([]string, error) {
			text, err := lookup(name)
			if text == "" && err == nil {
				err = &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
			}
			return []string{text}, err
		}}
		e.signing(t.Context())
		found := map[string][]finding{}
		for _, f := range e.findings {
			found[f.Check] = append(found[f.Check], f)
		}
		return found
	}
	texts := map[string]string{"_dmarc.sender.example": "v=DMARC1; p=reject", "sender.example": "v=spf1 mx -all"}
	for name, text := range zone {
		texts[name] = text
	}
	at := func(name string) (string, error) { return texts[name], nil }

	all := examine(nil, at)
	require.Len(t, all["dkim"], 2)
	for _, f := range all["dkim"] {
		require.Equal(t, good, f.State, f.Found)
	}
	require.Len(t, all, 1, "the rest is there too")
	all = examine(map[string]string{"BELLTOWER_SMTP_BOUNCE_ADDRESS": "bounces@back.example"}, at)
	one(t, all, "spf", warning, "back.example doesn't say which servers")

	texts["wide._domainkey.sender.example"], texts["_dmarc.sender.example"], texts["sender.example"] = "", "", "something"
	all = examine(nil, at)
	require.Equal(t, failing, all["dkim"][0].State)
	require.Contains(t, all["dkim"][0].Found, "wide._domainkey.sender.example doesn't verify what we sign: dkim: no key for signature")
	require.Contains(t, all["dkim"][0].Advice, "publish wide._domainkey.sender.example. IN TXT (")
	require.Equal(t, good, all["dkim"][1].State)
	one(t, all, "dmarc", warning, "_dmarc.sender.example says nothing")
	one(t, all, "spf", warning, "sender.example doesn't say")

	// The organisation's policy is the one of all its domains.
	for name, text := range zone {
		texts[strings.Replace(name, "sender.example", "news.sender.example", 1)] = text
	}
	texts["_dmarc.sender.example"], texts["news.sender.example"] = "v=DMARC1; p=none", "V=spf1 -all"
	news := map[string]string{"BELLTOWER_SMTP_FROM": "choir@news.sender.example"}
	require.Len(t, examine(news, at), 1)
	all = examine(map[string]string{"BELLTOWER_SMTP_FROM": "choir@choir.example", "BELLTOWER_SMTP_DKIM_DOMAIN": "news.sender.example"}, at)
	require.Equal(t, warning, all["dkim"][2].State)
	require.Contains(t, all["dkim"][2].Found, "mail from choir.example is signed for news.sender.example")

	all = examine(nil, func(string) (string, error) { return "", &net.DNSError{Err: "timeout", IsTimeout: true} })
	require.Len(t, all, 1, "what can't be asked is not missing")
	for _, f := range all["dkim"] {
		require.Equal(t, warning, f.State)
		require.Contains(t, f.Found, "can't be looked up from here")
	}
	all = examine(nil, func(name string) (string, error) {
		if text := zone[name]; text != "" {
			return text, nil
		}
		return "", errors.New("odd")
	})
	require.Len(t, all, 1)
	delete(env, "BELLTOWER_SMTP_DKIM")
	require.Empty(t, examine(nil, at), "the server may sign")
}
