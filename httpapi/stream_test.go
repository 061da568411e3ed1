package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/memstore"
)

// reader reads a stream of events.
type reader struct {
	t      testing.TB
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

type message struct {
	id, event string
	data      object
}

func (a *api) stream(query, after string) *reader {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", a.url+"/v1/stream"+query, nil)
	require.NoError(a.t, err)
	req.Header.Set("Authorization", "Bearer "+a.token)
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	require.NoError(a.t, validateRequest(req))
	resp, err := a.client.Do(req) //nolint:bodyclose // reader.close does
	require.NoError(a.t, err)
	require.NoError(a.t, validateResponse(req, &reply{a.t, resp.StatusCode, resp.Header, nil}))
	require.Equal(a.t, http.StatusOK, resp.StatusCode)
	require.Equal(a.t, "text/event-stream", resp.Header.Get("Content-Type"))
	r := &reader{a.t, resp, bufio.NewScanner(resp.Body), cancel}
	r.lines.Buffer(nil, 1<<21)
	a.t.Cleanup(r.close)
	return r
}

func (r *reader) close() {
	r.cancel()
	_ = r.resp.Body.Close() // it was cut off
}

// next gives the next event; not ok at the stream's end.
func (r *reader) next() (m message, ok bool) {
	for r.lines.Scan() {
		name, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			require.NoError(r.t, json.Unmarshal([]byte(value), &m.data))
			require.NoError(r.t, validateSchema("StreamedFact", m.data))
		case "":
			if m.id != "" {
				return m, true
			}
		}
	}
	return m, false
}

func (r *reader) take(n int) (types []string, last message) {
	r.t.Helper()
	for range n {
		m, ok := r.next()
		require.True(r.t, ok, "the stream ended")
		types, last = append(types, m.event), m
	}
	return types, last
}

func TestStream(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	live := a.stream("", "")
	event := a.event(nil)
	participant := a.join(event, "ann")
	a.as(annToken).do(request{method: "POST", path: "/v1/participants/" + participant + "/rsvp", body: object{"response": "declined"}, header: map[string]string{"X-Request-Id": "mine"}}).is(http.StatusOK)
	// Remembered, but nothing happened.
	a.keyed("/v1/participants/"+participant+"/rsvp", "k", object{"response": "declined"}).is(http.StatusOK)
	a.post("/v1/processor/stop", nil).is(http.StatusOK)

	m, ok := live.next()
	require.True(t, ok)
	require.Equal(t, "EventScheduled", m.event, "from now on")
	m, _ = live.next()
	require.Equal(t, "ParticipantRegistered", m.event)
	require.Equal(t, object{"name": "Ann", "email": "ann@example.org"}, m.data["data"].(object)["personal"])
	require.NotContains(t, m.data["data"], "email_digest")
	m, _ = live.next()
	require.Equal(t, object{
		"type": "ParticipantResponded", "stream": "event-" + event, "revision": 2.0, "occurred_at": "2031-04-01T09:00:00Z", "actor": "ann",
		"data":     object{"event_id": event, "participant_id": participant, "response": "declined"},
		"metadata": object{"actor": "ann", "$correlationId": "mine", "$causationId": "mine", "occurred_at": "2031-04-01T09:00:00Z"},
	}, m.data)
	responded := m.id
	m, _ = live.next()
	require.Equal(t, "ProcessorStopped", m.event)

	types, _ := a.stream("", responded).take(1)
	require.Equal(t, []string{"ProcessorStopped"}, types)
	types, _ = a.stream("", "0").take(5)
	require.Equal(t, []string{"EventScheduled", "EventScheduled", "ParticipantRegistered", "ParticipantResponded", "ProcessorStopped"}, types)
}

func TestStreamIsNarrowed(t *testing.T) {
	a := newAPI(t)
	event, other := a.event(nil), a.event(nil)
	a.join(event, "ann")
	a.join(other, "ann")
	a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start})
	a.plan(events.NotificationScheduled{EventID: other, ScheduledTime: start})
	a.post("/v1/processor/stop", nil).is(http.StatusOK)
	for query, want := range map[string][]string{
		"?event_id=" + event: {"EventScheduled", "ParticipantRegistered", "NotificationScheduled"},
		"?event_id=" + strings.ToUpper(event) + "&type=EventScheduled": {"EventScheduled"},
		"?type=ProcessorStopped":                            {"ProcessorStopped"},
		"?type=ProcessorStopped&type=ParticipantRegistered": {"ParticipantRegistered", "ParticipantRegistered", "ProcessorStopped"},
		"?type=ProcessorStopped,ParticipantRegistered":      {"ParticipantRegistered", "ParticipantRegistered", "ProcessorStopped"},
	} {
		r := a.stream(query, "0")
		types, last := r.take(len(want))
		require.Equal(t, want, types, query)
		if strings.HasPrefix(query, "?event_id") {
			require.Equal(t, event, last.data["data"].(object)["event_id"])
		}
	}
	a.do(request{method: "GET", path: "/v1/stream", header: map[string]string{"Last-Event-ID": "x"}}).refused(http.StatusBadRequest, "bad_last_event_id")
	// A log that was restored from a backup: what comes up to that position would never be sent.
	a.do(request{method: "GET", path: "/v1/stream", header: map[string]string{"Last-Event-ID": "1000000"}}).refused(http.StatusBadRequest, "bad_last_event_id")
}

func TestStreamWithoutAGapOrARepeat(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(nil)
	const n = 300
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for i := range n {
			if _, err := a.try(request{method: "PATCH", path: "/v1/events/" + event, body: object{"title": fmt.Sprint("t", i)}}); err != nil {
				t.Error(err)
			}
		}
	})
	last, revision := "0", -1.0
	for revision < n {
		r := a.stream("?event_id="+event, last)
		for range 40 {
			if revision == n {
				break
			}
			m, ok := r.next()
			require.True(t, ok)
			revision++
			require.Equal(t, revision, m.data["revision"])
			last = m.id
		}
		r.close()
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	a := newAPI(t)
	r := a.stream("", "")
	require.NoError(t, a.server.Shutdown(t.Context()))
	_, ok := r.next()
	require.False(t, ok)
	require.NoError(t, r.lines.Err(), "it ends as it should")
}

func TestAStreamEndsWithTheLog(t *testing.T) {
	a := newAPI(t)
	r := a.stream("", "")
	require.NoError(t, a.store.Close())
	_, ok := r.next()
	require.False(t, ok)
	a.do(request{method: "GET", path: "/v1/stream"}).refused(http.StatusServiceUnavailable, "unavailable")
}

func TestAStreamEndsBeforeWhatItDoesntKnow(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	r := a.stream("", "0")
	_, err := a.store.Append(t.Context(), "event-x", eventstore.NoStream, []eventstore.NewRecord{{Type: "FromTheFuture", Data: []byte("{}"), Metadata: []byte("{}")}})
	require.NoError(t, err)
	_, ok := r.next()
	require.True(t, ok)
	_, ok = r.next()
	require.False(t, ok, "a gap would not be seen")
	// What instances tell each other is no domain event.
	_, err = a.store.Append(t.Context(), "lease", eventstore.NoStream, []eventstore.NewRecord{{Type: "Lease", Data: []byte("{}"), Metadata: []byte("{}")}})
	require.NoError(t, err)
}

// pipes is a listener whose connections are in memory, so that time-outs pass by a bubble's clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAStreamLivesLongerThanTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		server := httpapi.Server(httpapi.New(httpapi.Options{
			Commands: commands.NewHandler(commands.Options{Store: store}), Store: store,
			Tokens: []httpapi.Token{{Name: "admin", Value: adminToken}}, Logger: slog.New(slog.DiscardHandler),
		}))
		listener := make(pipes)
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) })
		ours, theirs := net.Pipe()
		listener <- theirs
		_, err := fmt.Fprintf(ours, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", adminToken)
		require.NoError(t, err)
		time.AfterFunc(2*max(server.ReadTimeout, server.WriteTimeout, server.IdleTimeout), func() {
			_, _ = store.Append(context.Background(), "event-e", eventstore.NoStream, []eventstore.NewRecord{
				{Type: "EventDeleted", Data: []byte(`{"event_id":"e"}`), Metadata: []byte("{}")},
			})
		})
		lines, came := bufio.NewScanner(ours), false
		for !came && lines.Scan() {
			came = lines.Text() == "event: EventDeleted"
		}
		require.True(t, came, "%v", lines.Err())
		require.NoError(t, ours.Close())
		require.NoError(t, server.Close())
		serving.Wait()
	})
}

// A reader who doesn't read is cut off once nothing more fits on the way.
func TestAReaderWhoDoesntReadIsDropped(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for ten seconds")
	}
	a := newAPI(t)
	a.loose = true
	event := a.event(nil)
	for i := range 40 {
		long := strings.Repeat(fmt.Sprint(i%10), 100_000)
		a.patch("/v1/events/"+event, object{"description": long}).is(http.StatusOK)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(conn, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nLast-Event-ID: 0\r\n\r\n", adminToken)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return strings.Contains(a.logs.String(), "route=/v1/stream")
	}, patience, 100*time.Millisecond)
}

func TestAQuietStreamShowsThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		h := httpapi.New(httpapi.Options{
			Commands: commands.NewHandler(commands.Options{Store: store}), Store: store,
			Tokens: []httpapi.Token{{Name: "admin", Value: adminToken}}, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 46*time.Second)
		defer cancel()
		req := httptest.NewRequestWithContext(ctx, "GET", "/v1/stream", nil)
		req.Header.Set("Authorization", "Bearer "+adminToken)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		require.Equal(t, http.StatusOK, w.Code)
		require.True(t, w.Flushed)
		require.Equal(t, ": connected\n\n"+strings.Repeat(": still here\n\n", 3), w.Body.String())
	})
}
