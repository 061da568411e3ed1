package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/projections"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2031, 4, 1, 9, 0, 0, 0, time.UTC)

// clock is the time as the test says it is.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// lockedBuffer takes logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// patience bounds only how long a test that fails takes.
const patience = 5 * time.Minute

// api is the whole stack over a log in memory, behind a real connection.
type api struct {
	t         testing.TB
	url       string
	store     *memstore.Store
	ring      *keys.Ring
	commands  *commands.Handler
	models    *projections.Models
	processor *processor
	rebuilder *rebuilder
	handler   http.Handler
	server    *http.Server
	clock     *clock
	logs      *lockedBuffer
	client    *http.Client
	token     string
	// loose leaves answers to writes uncompared with what is read afterwards.
	loose   bool
	webPush httpapi.WebPush
	// idle leaves the read models alone until follow.
	idle bool

	stopFollowing func()
}

const (
	adminToken = "test-token-of-the-admin"
	annToken   = "test-token-of-ann"
)

var channelKinds = map[string]aggregates.AddressKind{
	"email": aggregates.EmailAddress, "sms": aggregates.PhoneNumber, "push": aggregates.PushToken,
}

func newAPI(t testing.TB, options ...func(*api)) *api {
	a := &api{t: t, ring: keys.InMemory(), clock: &clock{at: start}, logs: &lockedBuffer{}, token: adminToken, webPush: webPush}
	a.store = memstore.New()
	a.store.Now = a.clock.now
	for _, option := range options {
		option(a)
	}
	a.open()
	t.Cleanup(func() {
		a.close()
		require.NoError(t, a.ring.Close())
	})
	return a
}

// readModels is where the read models are kept: BELLTOWER_TEST_READ_MODELS names
// a kind of database, sqlite unless it is set.
func readModels(t testing.TB) sqldb.Target {
	kind := sqldb.Kind(os.Getenv("BELLTOWER_TEST_READ_MODELS"))
	if kind == "" {
		kind = sqldb.SQLite
	}
	return sqldbtest.Fresh(t, kind)
}

// open starts everything over the store.
func (a *api) open() {
	t := a.t
	logger := slog.New(slog.NewTextHandler(a.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.commands = commands.NewHandler(commands.Options{
		Store: a.store, Keys: a.ring, Now: a.clock.now, PhoneRegion: "", Channels: channelKinds,
	})
	models, err := projections.Open(t.Context(), t.TempDir(), projections.Options{
		Store: a.store, Keys: a.ring, Now: a.clock.now, Logger: logger, Target: readModels(t),
	})
	require.NoError(t, err)
	a.models = models
	a.processor = &processor{api: a}
	a.rebuilder = &rebuilder{}
	a.handler = httpapi.New(httpapi.Options{
		Commands: a.commands, Models: a.models, Store: a.store, Processor: a.processor, Rebuilder: a.rebuilder,
		Channels: []string{"email", "sms", "push"},
		Tokens:   []httpapi.Token{{Name: "admin", Value: adminToken}, {Name: "ann", Value: annToken}, {Name: "nobody", Value: ""}},
		Now:      a.clock.now, Logger: logger, Metrics: prometheus.NewRegistry(), Version: "test",
		OptOut: readOptOut, Receivers: map[string]httpapi.Receiver{"carrier": carrier{}}, TimeZones: httpapi.TimeZones{Version: "2031a", Source: "linked in"}, WebPush: a.webPush,
	})
	a.server = httpapi.Server(a.handler)
	listening := httptest.NewUnstartedServer(nil)
	listening.Config = a.server
	listening.Start()
	a.url, a.client = listening.URL, listening.Client()
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(listening.Close)
	a.stopFollowing = func() {}
	if !a.idle {
		a.follow()
	}
}

// follow begins to fold the log into the read models.
func (a *api) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		if err := a.models.Follow(ctx); err != nil {
			a.t.Errorf("follow: %v", err)
		}
	})
	a.stopFollowing = func() {
		cancel()
		following.Wait()
	}
}

func (a *api) close() {
	a.stopFollowing()
	// Shutdown gives connections that were opened and never used five seconds.
	a.client.CloseIdleConnections()
	require.NoError(a.t, a.server.Shutdown(context.Background()))
	require.NoError(a.t, a.models.Close())
	a.commands.Close()
	require.NoError(a.t, a.store.Close())
}

// restart ends the process, so to speak, and starts another over the same log.
func (a *api) restart() {
	a.close()
	a.store = a.store.Reopen()
	a.open()
}

// as is the same API for another caller.
func (a *api) as(token string) *api {
	b := *a
	b.token = token
	return &b
}

func (a *api) get(path string) *reply {
	a.t.Helper()
	return a.do(request{method: "GET", path: path, header: map[string]string{"Consistency-Token": a.latest()}})
}

// latest is a token of the log's end, so that what is read is up to date.
func (a *api) latest() string {
	end, err := a.store.End(context.Background())
	require.NoError(a.t, err)
	return httpapi.EncodeToken(end)
}

func (a *api) post(path string, body any) *reply {
	a.t.Helper()
	return a.do(request{method: "POST", path: path, body: body})
}

func (a *api) patch(path string, body any) *reply {
	a.t.Helper()
	return a.do(request{method: "PATCH", path: path, body: body})
}

func (a *api) delete(path string) *reply {
	a.t.Helper()
	return a.do(request{method: "DELETE", path: path})
}

// is checks the status and gives the body.
func (r *reply) is(status int) object {
	r.t.Helper()
	require.Equal(r.t, status, r.status, "%s", r.body)
	var o object
	if len(r.body) > 0 && strings.Contains(r.header.Get("Content-Type"), "json") {
		require.NoError(r.t, json.Unmarshal(r.body, &o))
	}
	return o
}

// refused checks a problem's status and code.
func (r *reply) refused(status int, code string) {
	r.t.Helper()
	p := r.is(status)
	require.Equal(r.t, "application/problem+json", r.header.Get("Content-Type"))
	require.Equal(r.t, code, p["code"])
	require.Equal(r.t, "urn:belltower:problem:"+code, p["type"])
	require.EqualValues(r.t, status, p["status"])
	require.Equal(r.t, http.StatusText(status), p["title"])
	require.NotEmpty(r.t, p["detail"])
}

// faults gives the faults of a problem as "field code".
func (r *reply) faults(status int) []string {
	r.t.Helper()
	var out []string
	list, _ := r.is(status)["errors"].([]any)
	for _, f := range list {
		out = append(out, fmt.Sprint(f.(object)["field"], " ", f.(object)["code"]))
	}
	return out
}

type object = map[string]any

func with(o object, more object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for k, v := range more {
		if v == absent {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// absent takes a field away.
const absent = "\x00absent"

var newEvent = object{
	"title": "Spring concert", "description": "Chamber music", "start_time": "2031-05-06T18:00:00Z", "end_time": "2031-05-06T20:00:00Z",
}

func person(name string) object {
	return object{"user_id": name, "name": strings.ToUpper(name[:1]) + name[1:], "email": name + "@example.org"}
}

// event schedules an event and gives its id.
func (a *api) event(more object) string {
	a.t.Helper()
	return a.post("/v1/events", with(newEvent, more)).is(http.StatusCreated)["id"].(string)
}

// join registers a participant and gives the id.
func (a *api) join(event, name string) string {
	a.t.Helper()
	return a.post("/v1/events/"+event+"/participants", person(name)).is(http.StatusCreated)["id"].(string)
}

func (a *api) items(path string) []any {
	a.t.Helper()
	return a.get(path).is(http.StatusOK)["items"].([]any)
}

// field gives a field of all items of a list.
func field(items []any, name string) []any {
	out := []any{}
	for _, i := range items {
		out = append(out, i.(object)[name])
	}
	return out
}

// facts counts what is in the log.
func (a *api) facts() int {
	sub, err := a.store.Subscribe(context.Background(), eventstore.Start)
	require.NoError(a.t, err)
	defer sub.Close()
	n := 0
	for {
		b, err := sub.Next(context.Background())
		require.NoError(a.t, err)
		n += len(b.Records)
		if b.CaughtUp {
			return n
		}
	}
}

func unknownID() string { return uuid.NewString() }

func jsonInto(data []byte, into any) error { return json.Unmarshal(data, into) }
