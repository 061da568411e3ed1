// Package httpapi is Belltower over HTTP: it parses, asks and answers, and
// decides nothing. Handlers return an answer or an error; wrapper.go turns
// either into bytes, and problem.go has the one table from refusal to status.
package httpapi

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

// Options is what the API stands on.
type Options struct {
	Commands  *commands.Handler
	Models    *projections.Models
	Store     eventstore.Store
	Processor Processor
	Rebuilder Rebuilder
	Channels  []string // names of the configured channels; lists can be narrowed to these
	Tokens    []Token
	Now       func() time.Time
	Logger    *slog.Logger         // nil: slog.Default()
	Metrics   *prometheus.Registry // nil: one of its own
	Version   string
	TimeZones TimeZones
	// OptOut reads the last part of a link that ends messages; nil: there are no such links.
	OptOut  func(token string) (Link, bool)
	WebPush WebPush
	// Receivers are those who read what a provider tells, by the provider's name.
	Receivers map[string]Receiver
}

// Link names the participant, and the event, that a link was made for.
type Link struct{ EventID, ParticipantID string }

// Token lets in whoever presents Value, as the actor Name.
type Token struct{ Name, Value string }

// server answers requests with what its fields provide.
type server struct {
	o       Options
	log     *slog.Logger
	guard   guard
	metrics *metrics
	router  *router
	docs    *docs
	// closing ends the streams that are being read, which would otherwise hold
	// up a shutdown for ever.
	closing   *closer
	admission *admission
	repeated  *repeated
}

// New returns the API as a handler.
func New(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	s := &server{o: o, log: o.Logger, guard: newGuard(o.Tokens), docs: newDocs(), closing: newCloser(), admission: newAdmission(defaultLimits), repeated: &repeated{}}
	s.metrics = newMetrics(o)
	s.router = newRouter(s.routes())
	return s
}

// What a connection may take. A body of the largest size arrives in readTimeout
// on any link that is of use; answers have writeTimeout from when they begin.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Server returns an HTTP server for h, which New made. Its Shutdown also ends
// the streams that are being read.
func Server(h http.Handler) *http.Server {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	if h, ok := h.(interface{ endStreams() }); ok {
		server.RegisterOnShutdown(h.endStreams)
	}
	return server
}

// route is one way in.
type route struct {
	method, path string
	handle       handle
	open         bool // needs no token
	query        bool // reads the query itself; other routes with a token take none
}

// handle answers a call: with an answer, with an error, or, both nil, by
// having written one itself.
type handle func(*call) (*answer, error)

// routes lists every route; openapi.json describes each, and a test compares them.
func (s *server) routes() []route {
	return []route{
		{method: "POST", path: "/v1/events", handle: s.postEvent},
		{method: "GET", path: "/v1/events", query: true, handle: s.getEvents},
		{method: "GET", path: "/v1/events/{id}", query: true, handle: s.getEvent},
		{method: "PATCH", path: "/v1/events/{id}", handle: s.patchEvent},
		{method: "DELETE", path: "/v1/events/{id}", handle: s.deleteEvent},
		{method: "POST", path: "/v1/events/{id}/cancel", handle: s.cancelEvent},
		{method: "GET", path: "/v1/events/{id}/history", query: true, handle: s.getHistory},

		{method: "POST", path: "/v1/events/{id}/participants", handle: s.postParticipant},
		{method: "GET", path: "/v1/events/{id}/participants", query: true, handle: s.getParticipants},
		{method: "GET", path: "/v1/participants/{id}", query: true, handle: s.getParticipant},
		{method: "PATCH", path: "/v1/participants/{id}", handle: s.patchParticipant},
		{method: "DELETE", path: "/v1/participants/{id}", handle: s.deleteParticipant},
		{method: "POST", path: "/v1/participants/{id}/rsvp", handle: s.postRSVP},

		{method: "GET", path: "/v1/opt-out/{token}", handle: s.getOptOut, open: true},
		{method: "POST", path: "/v1/opt-out/{token}", handle: s.postOptOut, open: true},
		{method: "GET", path: "/v1/participants/{id}/push-link", handle: s.getPushLink},
		{method: "GET", path: "/v1/push/{token}", handle: s.getPushPage, open: true},
		{method: "PUT", path: "/v1/push/{token}", handle: s.putSubscription, open: true},
		{method: "DELETE", path: "/v1/push/{token}", handle: s.deleteSubscription, open: true},
		{method: "GET", path: "/v1/push/page.js", handle: s.getPushFile, open: true},
		{method: "GET", path: "/v1/push/worker.js", handle: s.getPushFile, open: true},

		{method: "POST", path: ReceiptsPath + "{provider}", handle: s.postReceipts, open: true},
		{method: "GET", path: "/v1/suppressions", query: true, handle: s.getSuppressions},
		{method: "POST", path: "/v1/suppressions", handle: s.postSuppression},
		{method: "POST", path: "/v1/suppressions/lookup", handle: s.postSuppressionLookup},
		{method: "POST", path: "/v1/suppressions/release", handle: s.postSuppressionRelease},

		{method: "POST", path: "/v1/events/{id}/reminders", handle: s.postReminder},
		{method: "GET", path: "/v1/events/{id}/reminders", query: true, handle: s.getReminders},
		{method: "GET", path: "/v1/events/{id}/reminders/{rid}", query: true, handle: s.getReminder},
		{method: "DELETE", path: "/v1/events/{id}/reminders/{rid}", handle: s.deleteReminder},
		{method: "POST", path: "/v1/events/{id}/announcements", handle: s.postAnnouncement},

		{method: "GET", path: "/v1/events/{id}/notifications", query: true, handle: s.getEventNotifications},
		{method: "GET", path: "/v1/notifications", query: true, handle: s.getNotifications},
		{method: "DELETE", path: "/v1/notifications", query: true, handle: s.deleteNotifications},
		{method: "POST", path: "/v1/notifications/send-due", handle: s.postSendDue},
		{method: "GET", path: "/v1/notifications/{id}", query: true, handle: s.getNotification},
		{method: "POST", path: "/v1/notifications/{id}/retry", handle: s.retryNotification},
		{method: "POST", path: "/v1/notifications/{id}/cancel", handle: s.cancelNotification},

		{method: "GET", path: "/v1/processor", handle: s.getProcessor},
		{method: "POST", path: "/v1/processor/start", handle: s.startProcessor},
		{method: "POST", path: "/v1/processor/stop", handle: s.stopProcessor},
		{method: "GET", path: "/v1/stats", handle: s.getStats},
		{method: "POST", path: "/v1/projections/{name}/rebuild", handle: s.postRebuild},
		{method: "POST", path: "/v1/projections/{name}/verify", handle: s.postVerify},
		{method: "GET", path: "/v1/stream", query: true, handle: s.getStream},

		{method: "GET", path: "/healthz", handle: s.getHealth, open: true},
		{method: "GET", path: "/readyz", handle: s.getReady, open: true},
		{method: "GET", path: "/metrics", query: true, handle: s.getMetrics},
		{method: "GET", path: "/openapi.json", handle: s.getOpenAPI, open: true},
		{method: "GET", path: "/docs", handle: s.getDocs, open: true},
		{method: "GET", path: "/docs/{file}", handle: s.getDocsFile, open: true},
	}
}
