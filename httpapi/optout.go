package httpapi

import (
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
)

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
	return nil, writePage(c, optOutTemplate, shown, optOutPolicy)
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
	by := c.participant()
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
	return nil, writePage(c, optOutTemplate, got.View, optOutPolicy)
}

// optOutLink reads the link. One that wasn't signed here leads nowhere.
func (s *server) optOutLink(c *call) (Link, error) {
	if s.o.OptOut == nil {
		return Link{}, errNoRoute
	}
	link, ok := s.o.OptOut(c.vars["token"])
	if !ok {
		return Link{}, errNoRoute
	}
	return link, nil
}

// optOutPage is what is shown to a participant.
type optOutPage struct {
	Title string // of the event
	Out   bool   // no more messages are sent
	Gone  bool   // the event or the participant is not there any more
}

func pageFor(e *aggregates.Event, link Link) optOutPage {
	p, ok := e.Participant(link.ParticipantID)
	if !ok || !e.Exists() {
		return optOutPage{Gone: true}
	}
	return optOutPage{Title: e.Title, Out: p.OptedOut}
}

const optOutPolicy = "form-action 'self'"

var optOutTemplate = template.Must(template.New("opt-out").Parse(pageHead + `
<title>Messages about an event</title>
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
