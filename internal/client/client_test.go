package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving answers as do says, and gives a client for that.
func serving(t *testing.T, do http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(do)
	t.Cleanup(func() {
		CloseIdle()
		s.CloseClientConnections()
		s.Close()
	})
	return &Client{URL: s.URL, Token: "a-token", Patience: time.Minute}
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"status":%d,"detail":"no","code":%q,"errors":[{"field":"title","code":"required","message":"must not be blank"}]}`, status, code)
}

func TestARequestSaysWhatIsAsked(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{
			r.Method, r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"),
			r.Header.Get("If-Match"), r.Header.Get("Consistency-Token"), string(body),
		})
	})
	reply, err := c.Do(t.Context(), Request{
		Method: "POST", Path: "/v1/events", Query: url.Values{"a": {"b c"}}, Body: map[string]int{"n": 1}, Key: "k", IfMatch: "3", After: "t",
	})
	require.NoError(t, err)
	require.JSONEq(t, `["POST","/v1/events?a=b+c","Bearer a-token","application/json","k","\"3\"","t","{\"n\":1}"]`, string(reply.Body))
}

func TestRefusals(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/no":
			problem(w, 422, "invalid")
		case "/moved":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusMovedPermanently)
		default:
			http.Error(w, "<h1>Oh</h1>", http.StatusInternalServerError)
		}
	})
	var p *Problem
	_, err := c.Do(t.Context(), Request{Method: "POST", Path: "/no", Key: "k"})
	require.ErrorAs(t, err, &p)
	require.Equal(t, Problem{Status: 422, Detail: "no", Code: "invalid", Errors: []Fault{{"title", "required", "must not be blank"}}}, *p)
	_, err = c.Do(t.Context(), Request{Method: "GET", Path: "/moved"})
	require.ErrorContains(t, err, "sends on to https://elsewhere.example/; name that address")
	_, err = c.Do(t.Context(), Request{Method: "GET", Path: "/"})
	require.ErrorContains(t, err, `answers "Internal Server Error", and not as Belltower does (500)`)
}

// Only what may be repeated is: a read, and what has a key.
func TestPatience(t *testing.T) {
	var asked atomic.Int64
	fails := func(w http.ResponseWriter, n int64) bool {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			problem(w, 503, "unavailable")
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks off
		case 3:
			problem(w, 429, "slow_down")
		default:
			return false
		}
		return true
	}
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		if !fails(w, asked.Add(1)) {
			_, _ = w.Write([]byte(`{}`))
		}
	})
	for _, r := range []Request{{Method: "GET"}, {Method: "POST", Key: "k", Body: 1}} {
		asked.Store(0)
		_, err := c.Do(t.Context(), r)
		require.NoError(t, err)
		require.EqualValues(t, 4, asked.Load())
	}
	for _, r := range []Request{{Method: "POST"}, {Method: "PATCH"}, {Method: "DELETE"}} {
		asked.Store(0)
		_, err := c.Do(t.Context(), r)
		require.ErrorContains(t, err, "503")
		require.EqualValues(t, 1, asked.Load())
	}
	asked.Store(0)
	c.Patience = 0
	_, err := c.Do(t.Context(), Request{Method: "GET"})
	require.Error(t, err)
	require.EqualValues(t, 1, asked.Load())
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c := &Client{URL: s.URL, Patience: time.Hour}
	var gone *Unreachable
	_, err := c.Do(t.Context(), Request{Method: "GET"})
	require.ErrorAs(t, err, &gone, "it isn't waited for")
	require.ErrorContains(t, err, "can't reach "+s.URL)

	c.Reconnect = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Do(ctx, Request{Method: "GET"})
	require.ErrorIs(t, err, context.Canceled)
}

func TestListsGoOn(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		size, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		if from == 400 && r.URL.Query().Get("tag") == "broken" {
			problem(w, 400, "bad_cursor")
			return
		}
		page := map[string]any{}
		var items []int
		for i := from; i < min(from+size, 500); i++ {
			items = append(items, i)
		}
		if page["items"] = items; from+size < 500 {
			page["next_cursor"] = strconv.Itoa(from + size)
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	for limit, want := range map[int]int{0: 500, 1: 1, 200: 200, 201: 201, 600: 500} {
		n := 0
		for item, err := range c.List(t.Context(), "/", nil, limit) {
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(n), string(item))
			n++
		}
		require.Equal(t, want, n)
	}
	n := 0
	var last error
	query := url.Values{"tag": {"broken"}}
	for _, err := range c.List(t.Context(), "/", query, 0) {
		if last = err; err == nil {
			n++
		}
	}
	require.ErrorContains(t, last, "bad_cursor")
	require.Equal(t, 400, n)
	require.Equal(t, url.Values{"tag": {"broken"}}, query, "it is the caller's")
	for range c.List(t.Context(), "/", nil, 0) {
		break
	}
}

// A stream that breaks off at any place is gone on with, and every fact comes once.
func TestWatchResumes(t *testing.T) {
	const facts = 40
	var (
		mu       sync.Mutex
		attempts int
		resumed  []string
	)
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		attempts++
		attempt := attempts
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		mu.Unlock()
		if attempt%3 == 0 {
			problem(w, 503, "unavailable")
			return
		}
		from, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": connected\n\n")
		for i := from + 1; i <= facts; i++ {
			text := fmt.Sprintf("id: %d\nevent: T\ndata: {\"n\":%d}\n\n", i, i)
			if i%7 == 0 && attempt < 20 {
				_, _ = io.WriteString(w, text[:len(text)-i%5-1]) // half of it is none
				return
			}
			_, _ = io.WriteString(w, text)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	var (
		got         []string
		lost, found int
	)
	done := errors.New("all are there")
	err := c.Watch(t.Context(), Stream{EventID: "e", Types: []string{"T", "U"}, After: "0", Lost: func(error) { lost++ }, Found: func() { found++ }}, func(f Fact) error {
		require.Equal(t, "T", f.Type)
		require.JSONEq(t, fmt.Sprintf(`{"n":%s}`, f.Position), string(f.Data))
		if got = append(got, f.Position); len(got) == facts {
			return done
		}
		return nil
	})
	require.ErrorIs(t, err, done)
	for i, position := range got {
		require.Equal(t, strconv.Itoa(i+1), position)
	}
	require.Equal(t, lost, found)
	require.Positive(t, lost)
	require.Equal(t, "0", resumed[0])
}

func TestWatchEnds(t *testing.T) {
	var attempts atomic.Int64
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if attempts.Add(1); r.Header.Get("Last-Event-ID") == "gone" || attempts.Load() > 1 {
			problem(w, 400, "bad_last_event_id")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": connected\n\n")
	})
	var p *Problem
	never := func(Fact) error { return errors.New("there is none") }
	err := c.Watch(t.Context(), Stream{After: "gone"}, never)
	require.ErrorAs(t, err, &p)
	attempts.Store(0)
	err = c.Watch(t.Context(), Stream{After: "1"}, never)
	require.ErrorAs(t, err, &p, "a refusal after the connection was lost")

	ctx, cancel := context.WithCancel(t.Context())
	attempts.Store(0)
	err = c.Watch(ctx, Stream{Lost: func(error) { cancel() }}, never)
	require.ErrorIs(t, err, context.Canceled)

	var gone *Unreachable
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	require.ErrorAs(t, (&Client{URL: s.URL}).Watch(t.Context(), Stream{}, never), &gone)
}

func TestPosition(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/v1/stats") {
			problem(w, 404, "not_found")
			return
		}
		_, _ = io.WriteString(w, `{"store":{"position":"12/3"}}`)
	})
	position, err := c.Position(t.Context())
	require.NoError(t, err)
	require.Equal(t, "12/3", position)
}
