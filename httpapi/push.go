package httpapi

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"path"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
)

// WebPush is what the page stands on where a participant's browser subscribes.
type WebPush struct {
	// PublicKey is what browsers subscribe with, in base64url; nil: pushes don't go
	// to browsers.
	PublicKey func() (string, error)
	// Subscription gives a browser's subscription (JSON) as it is kept for a push
	// token. What it says of one that can't be sent to doesn't quote it.
	Subscription func(text string) (string, error)
	// Link makes the link to the page; "": no address is known that participants
	// reach the service by.
	Link     func(eventID, participantID string) string
	ReadLink func(token string) (Link, bool)
}

var (
	errNoWebPush   = newProblem(http.StatusConflict, "web_push_not_set_up", "pushes don't go to browsers here; see --webpush-contact")
	errNoPublicURL = newProblem(http.StatusConflict, "no_public_url", "the address that participants reach this service by is not known; see --public-url")
)

// pushLink is the page's address; who has it needs no token.
type pushLink struct {
	URL string `json:"url"`
}

func (s *server) getPushLink(c *call) (*answer, error) {
	eventID, id, err := s.eventOf(c)
	if err != nil {
		return nil, err
	}
	if s.o.WebPush.PublicKey == nil {
		return nil, errNoWebPush
	}
	link := s.o.WebPush.Link(eventID, id)
	if link == "" {
		return nil, errNoPublicURL
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return ok(pushLink{link}), nil
}

// pushPage is what is shown to a participant.
type pushPage struct {
	Title     string // of the event
	Location  string
	Start     time.Time // where the participant is
	Cancelled bool
	OptedOut  bool // wants no messages about the event
	Gone      bool // the event or the participant is not there any more
	Key       string
	// Shown names the browser or the device that pushes go to, without telling how
	// to reach it; "": none.
	Shown string
}

// getPushPage shows the event, and lets the browser subscribe. Looking changes nothing.
func (s *server) getPushPage(c *call) (*answer, error) {
	link, err := s.pushLink(c)
	if err != nil {
		return nil, err
	}
	shown, err := commands.View(c.Context(), s.o.Commands, commands.EventStream(link.EventID), func(e *aggregates.Event, _ int64) pushPage {
		return pushPageFor(e, link)
	})
	if err != nil {
		return nil, err
	}
	if s.o.WebPush.PublicKey != nil {
		if shown.Key, err = s.o.WebPush.PublicKey(); err != nil {
			return nil, err
		}
	}
	return nil, writePage(c, pushTemplate, shown, "script-src 'self'; worker-src 'self'; connect-src 'self'; form-action 'none'")
}

func pushPageFor(e *aggregates.Event, link Link) pushPage {
	p, ok := e.Participant(link.ParticipantID)
	if !ok || !e.Exists() {
		return pushPage{Gone: true}
	}
	shown := pushPage{
		Title: e.Title, Location: e.Location, Start: e.StartTime, Cancelled: e.Status == aggregates.Cancelled, OptedOut: p.OptedOut,
		Shown: browserOf(p.Contact.PushToken),
	}
	for _, name := range []string{p.TimeZone, e.TimeZone} {
		if zone, err := time.LoadLocation(name); err == nil && name != "" {
			shown.Start = shown.Start.In(zone)
			break
		}
	}
	return shown
}

// browserOf is by what a browser recognises whether pushes go to itself: a digest
// of where it has subscribed. Of an app's token it is one that no browser has.
func browserOf(token string) string {
	if token == "" {
		return ""
	}
	var subscription struct {
		Endpoint string `json:"endpoint"`
	}
	if json.Unmarshal([]byte(token), &subscription) != nil {
		return "app"
	}
	sum := sha256.Sum256([]byte(subscription.Endpoint))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// putSubscription has pushes go to the browser that asks. The same one again
// changes nothing.
func (s *server) putSubscription(c *call) (*answer, error) {
	link, err := s.pushLink(c)
	if err != nil {
		return nil, err
	}
	if s.o.WebPush.Subscription == nil {
		return nil, errNoWebPush
	}
	if !c.takesBody() {
		return nil, errNotJSONType
	}
	text, err := c.readRaw(maxForm)
	if err != nil {
		return nil, err
	}
	token, err := s.o.WebPush.Subscription(string(text))
	if err != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, "invalid_subscription", "this browser's subscription can't be used: "+err.Error())
	}
	return do(s, c, commands.SubscribePush{EventID: link.EventID, ParticipantID: link.ParticipantID, Token: token}, c.participant(), gone)
}

// deleteSubscription ends pushes to the participant, wherever they go.
func (s *server) deleteSubscription(c *call) (*answer, error) {
	link, err := s.pushLink(c)
	if err != nil {
		return nil, err
	}
	a, err := do(s, c, commands.UnsubscribePush(link), c.participant(), gone)
	if errors.Is(err, aggregates.ErrEventNotFound) || errors.Is(err, aggregates.ErrParticipantNotFound) {
		return &answer{status: http.StatusNoContent}, nil // nothing more is sent, which is what was asked
	}
	return a, err
}

// pushLink reads the link. One that wasn't signed here leads nowhere.
func (s *server) pushLink(c *call) (Link, error) {
	if s.o.WebPush.ReadLink == nil {
		return Link{}, errNoRoute
	}
	link, ok := s.o.WebPush.ReadLink(c.vars["token"])
	if !ok {
		return Link{}, errNoRoute
	}
	return link, nil
}

//go:embed push/page.js push/worker.js
var pushFiles embed.FS

// getPushFile gives a script. The policy is the worker's: a page goes by its own.
func (s *server) getPushFile(c *call) (*answer, error) {
	script, err := pushFiles.ReadFile("push/" + path.Base(c.URL.Path))
	if err != nil {
		return nil, err
	}
	header := c.w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = c.w.Write(script) // who doesn't listen can't be told
	return nil, nil
}

var pushTemplate = template.Must(template.New("push").Parse(pageHead + `
<title>Notifications about an event</title>
{{- if .Key}}
<script src="page.js" defer></script>
{{- end}}
</head>
<body>
{{- if .Gone}}
<h1>No notifications</h1>
<p>You are not on this event any more. Nothing further is sent to you about it.</p>
{{- else}}
<h1>{{.Title}}</h1>
<p><time datetime="{{.Start.Format "2006-01-02T15:04:05Z07:00"}}">{{.Start.Format "Monday, 2 January 2006, 15:04"}}</time> ({{.Start.Location}}){{with .Location}}, {{.}}{{end}}</p>
{{- if .Cancelled}}
<p><strong>It is cancelled.</strong></p>
{{- end}}
<h2>Notifications</h2>
{{- if .OptedOut}}
<p>You have asked for no more messages about this event, so you get no notifications either.</p>
{{- end}}
{{- if .Key}}
<div id="push" data-key="{{.Key}}" data-shown="{{.Shown}}">
<p role="status" id="state">One moment …</p>
<button type="button" id="on" hidden>Show notifications here</button>
<button type="button" id="off" hidden>No more notifications</button>
</div>
<noscript><p>To show notifications, this page needs JavaScript.</p></noscript>
{{- else}}
<p>No notifications are sent to browsers here.</p>
{{- end}}
{{- end}}
</body>
</html>
`))
