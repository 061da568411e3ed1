package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/freeport"
)

// mailpit is a mail server by another author, whose mailboxes are read over HTTP.
type mailpit struct{ smtp, web string }

func startMailpit(t *testing.T) mailpit {
	t.Helper()
	path, err := exec.LookPath("mailpit")
	if err != nil {
		t.Skip("mailpit is not installed; .ci/run mail brings it")
	}
	m := mailpit{freeport.Address(t), freeport.Address(t)}
	cmd := exec.Command(path, "--listen", m.web, "--smtp", m.smtp, "--disable-version-check", "--database", filepath.Join(t.TempDir(), "mailpit.db"))
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, address := range []string{m.smtp, m.web} {
		until(t, "mailpit answers", func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return m
}

func (m mailpit) get(t *testing.T, path string, into any) {
	t.Helper()
	resp, err := http.Get("http://" + m.web + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(into))
}

// to gives the mails to somebody, the newest first.
func (m mailpit) to(t *testing.T, address string) []mailed {
	t.Helper()
	var list struct{ Messages []struct{ ID string } }
	m.get(t, "/api/v1/search?query="+url.QueryEscape("to:"+address), &list)
	all := make([]mailed, len(list.Messages))
	for i, one := range list.Messages {
		m.get(t, "/api/v1/message/"+one.ID, &all[i])
	}
	return all
}

type mailed struct {
	MessageID       string
	Subject, Text   string
	Attachments     []struct{ FileName string }
	ListUnsubscribe struct{ Links []string }
}

func (m mailpit) settings() []string {
	return []string{
		"BELLTOWER_SMTP=smtp://" + m.smtp, "BELLTOWER_SMTP_TLS=none", "BELLTOWER_SMTP_FROM=Belltower <bells@example.org>",
		"BELLTOWER_PUBLIC_URL=https://bells.example.org",
	}
}

// A reminder reaches a mailbox, and its link ends what would follow.
func TestMailFromReminderToOptOut(t *testing.T) {
	server := startMailpit(t)
	p := serving(t, filepath.Join(t.TempDir(), "data"), server.settings()...)
	said := p.out.String()
	require.Contains(t, said, "email, by smtp through "+server.smtp)
	require.Contains(t, said, "sms, by console")

	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	ann := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, object{"name": "Ann", "email": "ann@example.net"})).text("id")
	bob := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(2, object{"name": "Bob", "email": "bob@example.net"})).text("id")
	p.does(t, 201, "POST", "/v1/events/"+event+"/reminders", object{"minutes_before": 59})
	// Whoever is moved past the due time is reminded at once.
	start := time.Now().Add(30 * time.Minute)
	p.does(t, 200, "PATCH", "/v1/events/"+event, object{"start_time": at(start), "end_time": at(start.Add(time.Hour))})
	until(t, "both are reminded", func() bool {
		return len(server.to(t, "ann@example.net")) == 1 && len(server.to(t, "bob@example.net")) == 1
	})
	mail := server.to(t, "ann@example.net")[0]
	require.Contains(t, mail.Text, `Hello Ann, "Bell-ringing course" starts in`)
	require.Contains(t, mail.Text, "The tower")
	require.Equal(t, "event.ics", mail.Attachments[0].FileName)
	var sent object
	until(t, "it is recorded", func() bool {
		list := p.does(t, 200, "GET", "/v1/notifications?participant_id="+ann+"&status=SENT", nil).items()
		if len(list) == 1 {
			sent = list[0]
		}
		return sent != nil
	})
	require.Equal(t, "<"+sent.text("id")+"@example.org>", sent.text("provider_message_id"))
	require.Equal(t, sent.text("id")+"@example.org", mail.MessageID)

	require.Len(t, mail.ListUnsubscribe.Links, 1)
	path, ours := strings.CutPrefix(mail.ListUnsubscribe.Links[0], "https://bells.example.org")
	require.True(t, ours, mail.ListUnsubscribe.Links)
	resp, err := http.PostForm(p.url+path, url.Values{"List-Unsubscribe": {"One-Click"}})
	require.NoError(t, err)
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(page), "You get no more messages")

	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please"})
	until(t, "the other hears of it", func() bool { return len(server.to(t, "bob@example.net")) == 2 })
	require.Len(t, server.to(t, "ann@example.net"), 1)
	require.Equal(t, true, p.does(t, 200, "GET", "/v1/participants/"+ann, nil)["opted_out"])
	require.NotContains(t, p.does(t, 200, "GET", "/v1/participants/"+bob, nil), "opted_out")

	// The link goes on to work after a restart.
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.err.String(), path[len("/v1/opt-out/"):], "the link is a secret")
	require.NotContains(t, p.err.String(), "ann@example.net")
	p = serving(t, p.cmd.Args[len(p.cmd.Args)-1], server.settings()...)
	resp, err = http.Get(p.url + path)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	p.finish(t, syscall.SIGTERM)
}

// A server that refuses everybody's mail loses nothing: it waits, and is seen.
func TestMailWaitsForItsServer(t *testing.T) {
	closed := mailpit{smtp: freeport.Address(t)}
	p := serving(t, filepath.Join(t.TempDir(), "data"), closed.settings()...)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, nil))
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Hear"})
	var waiting object
	until(t, "it was tried", func() bool {
		list := p.does(t, 200, "GET", "/v1/notifications", nil).items()
		if len(list) == 1 && list[0].number("attempts") > 0 && list[0].text("status") == "READY" {
			waiting = list[0]
		}
		return waiting != nil
	})
	require.Contains(t, waiting.text("last_error"), "can't be reached")
	p.finish(t, syscall.SIGTERM)
}

func TestMailByChannelTest(t *testing.T) {
	server := startMailpit(t)
	code, out, said := once(t, server.settings(), "channel", "test", "email", "someone@example.net")
	require.Equal(t, exitOK, code, said)
	require.Contains(t, out, "email, by smtp through "+server.smtp)
	require.Contains(t, out, "outcome   accepted")
	require.Regexp(t, `answer    .*Ok: queued as`, out)
	require.Len(t, server.to(t, "someone@example.net"), 1)

	// Nothing is taken without what is set.
	env := append(server.settings(), "BELLTOWER_SMTP_TLS=required")
	code, out, said = once(t, env, "channel", "test", "email", "someone@example.net")
	require.Equal(t, exitFailure, code)
	require.Contains(t, out, "our settings or credentials are wrong")
	require.Contains(t, out, "STARTTLS")
	require.Contains(t, said, "encryption")
	require.Len(t, server.to(t, "someone@example.net"), 1)
}
