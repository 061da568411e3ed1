package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
)

// OptOutLink names whose messages about which event a link ends.
type OptOutLink struct{ EventID, ParticipantID string }

// participantName is the actor of what participants do by their links.
const participantName = "participant"

// maxForm bounds what a mail client may post.
const maxForm = 64 << 10

// getOptOut shows a page that asks, and changes nothing: who looks may be a
// scanner that follows every link in a mail.
func (s *server) getOptOut(c *call) (*answer, error) {
	link, err := s.optOutLink(c)
	if err != nil {
		return nil, err
	}
	shown, err := commands.View(c.Context(), s.o.Commands, commands.EventStream(link.EventID), func(e *aggregates.Event, _ int64) optOutPage {
		return pageFor(e, link)
	})
	if err != nil {
		return nil, err
	}
	return nil, writePage(c, shown)
}

// postOptOut ends the messages, as a mail client asks with one click (RFC 8058,
// section 3.1) and the page with its button; with the field "resume" it takes
// that back. It answers without a redirect, and the same when repeated.
func (s *server) postOptOut(c *call) (*answer, error) {
	link, err := s.optOutLink(c)
	if err != nil {
		return nil, err
	}
	c.Body = http.MaxBytesReader(c.w, c.Body, maxForm)
	// What can't be read as a form is the wish to hear no more, too.
	resume := c.PostFormValue("resume") != ""
	by := commands.Caller{Actor: participantName, CorrelationID: c.id, CausationID: c.id}
	view := func(e *aggregates.Event, _ time.Time) optOutPage { return pageFor(e, link) }
	var got commands.Answer[optOutPage]
	if resume {
		got, err = commands.Do(c.Context(), s.o.Commands, commands.OptIn(link), by, view)
	} else {
		got, err = commands.Do(c.Context(), s.o.Commands, commands.OptOut(link), by, view)
	}
	switch {
	case errors.Is(err, aggregates.ErrEventNotFound), errors.Is(err, aggregates.ErrParticipantNotFound):
		got.View = optOutPage{Gone: true} // nothing more is sent, which is what was asked
	case err != nil:
		return nil, err
	}
	return nil, writePage(c, got.View)
}

// optOutLink reads the link. One that wasn't signed here leads nowhere.
func (s *server) optOutLink(c *call) (OptOutLink, error) {
	if s.o.OptOut == nil {
		return OptOutLink{}, errNoRoute
	}
	link, ok := s.o.OptOut(c.vars["token"])
	if !ok {
		return OptOutLink{}, errNoRoute
	}
	return link, nil
}

// optOutPage is what is shown to a participant.
type optOutPage struct {
	Title string // of the event
	Out   bool   // no more messages are sent
	Gone  bool   // the event or the participant is not there any more
}

func pageFor(e *aggregates.Event, link OptOutLink) optOutPage {
	p, ok := e.Participant(link.ParticipantID)
	if !ok || !e.Exists() {
		return optOutPage{Gone: true}
	}
	return optOutPage{Title: e.Title, Out: p.OptedOut}
}

const optOutStyle = `body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem}`

var (
	optOutTemplate = template.Must(template.New("opt-out").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Messages about an event</title>
<style>` + optOutStyle + `</style>
</head>
<body>
{{- if .Gone}}
<h1>No more messages</h1>
<p>You are not on this event any more. Nothing further is sent to you about it.</p>
{{- else if .Out}}
<h1>No more messages</h1>
<p>You get no more messages about “{{.Title}}”. Your place is unchanged.</p>
<form method="post"><button name="resume" value="yes">Send me messages again</button></form>
{{- else}}
<h1>Messages about “{{.Title}}”</h1>
<p>You get reminders and announcements about this event. Do you want no more of them? You keep your place.</p>
<form method="post"><button name="List-Unsubscribe" value="One-Click">No more messages</button></form>
{{- end}}
</body>
</html>
`))
	optOutPolicy = func() string {
		sum := sha256.Sum256([]byte(optOutStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	}()
)

func writePage(c *call, p optOutPage) error {
	var b bytes.Buffer
	if err := optOutTemplate.Execute(&b, p); err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Security-Policy", optOutPolicy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store") // the link is a secret, and what it shows changes
	_, _ = c.w.Write(b.Bytes())             // who doesn't listen can't be told
	return nil
}
