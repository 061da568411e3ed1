package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

// crowded is an API that answers one request at a time and lets another wait.
func crowded(t *testing.T, patience time.Duration) (ask func(method, path string, body io.Reader) *httptest.ResponseRecorder, waiting func() int, release func()) {
	released := make(chan struct{})
	handler, waiting := httpapi.Crowded(newAPI(t).handler, patience, released)
	ask = func(method, path string, body io.Reader) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest(method, path, body), httptest.NewRecorder()
		r.Header.Set("Authorization", "Bearer "+adminToken)
		if body != nil {
			r.Header.Set("Content-Type", "application/json")
		}
		handler.ServeHTTP(w, r)
		return w
	}
	return ask, waiting, sync.OnceFunc(func() { close(released) })
}

func overloaded(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), `"code":"overloaded"`)
}

func eventually(t *testing.T, enough func() bool) {
	t.Helper()
	require.Eventually(t, enough, patience, time.Millisecond)
}

// What is more than can be done, and more than can wait, is told to come again;
// whoever watches the service is answered all the same.
func TestMoreThanCanBeDone(t *testing.T) {
	ask, waiting, release := crowded(t, time.Hour)
	defer release()
	var asking sync.WaitGroup
	for n := range 2 {
		asking.Go(func() { assert.Equal(t, http.StatusOK, ask("POST", "/v1/notifications/send-due", nil).Code) })
		eventually(t, func() bool { return waiting() == n+1 })
	}
	overloaded(t, ask("GET", "/v1/events", nil))
	overloaded(t, ask("POST", "/v1/events", strings.NewReader("{}")))
	for _, path := range []string{"/healthz", "/openapi.json", "/metrics"} {
		require.Equal(t, http.StatusOK, ask("GET", path, nil).Code, path)
	}
	release()
	asking.Wait()
	require.Zero(t, waiting())
	require.Equal(t, http.StatusOK, ask("GET", "/v1/events", nil).Code)
}

// Nobody stays in line for ever.
func TestNobodyStaysInLine(t *testing.T) {
	ask, waiting, release := crowded(t, time.Millisecond)
	defer release()
	var asking sync.WaitGroup
	asking.Go(func() { ask("POST", "/v1/notifications/send-due", nil) })
	eventually(t, func() bool { return waiting() == 1 })
	overloaded(t, ask("GET", "/v1/events", nil))
	release()
	asking.Wait()
}

// A body that comes slowly keeps nobody from being answered.
func TestASlowBodyHoldsUpNobody(t *testing.T) {
	ask, waiting, _ := crowded(t, time.Hour)
	var asking sync.WaitGroup
	var slow []*io.PipeWriter
	for range 2 {
		body, rest := io.Pipe()
		slow = append(slow, rest)
		asking.Go(func() { ask("POST", "/v1/events", body) })
		_, err := rest.Write([]byte(`{"title":`))
		require.NoError(t, err)
	}
	require.Zero(t, waiting())
	require.Equal(t, http.StatusOK, ask("GET", "/v1/events", nil).Code)

	body, rest := io.Pipe()
	slow = append(slow, rest)
	asking.Go(func() { ask("POST", "/v1/events", body) })
	_, err := rest.Write([]byte(`{`))
	require.NoError(t, err)
	overloaded(t, ask("GET", "/v1/events", nil)) // there are only so many of them
	for _, rest := range slow {
		require.NoError(t, rest.Close())
	}
	asking.Wait()
}

// Bodies may take only so much memory.
func TestMoreBodiesThanCanBeHeld(t *testing.T) {
	ask, waiting, _ := crowded(t, time.Hour)
	for range 3 {
		overloaded(t, ask("POST", "/v1/events", strings.NewReader(`{"title":"`+strings.Repeat("x", 200)+`"}`)))
		require.Equal(t, http.StatusUnprocessableEntity, ask("POST", "/v1/events", strings.NewReader(`{"title":"x"}`)).Code)
	}
	require.Zero(t, waiting())
}
