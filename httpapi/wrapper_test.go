package httpapi_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

func TestATokenIsNeeded(t *testing.T) {
	a := newAPI(t)
	for name, authorization := range map[string]string{
		"none":           "",
		"no token":       "Bearer",
		"an empty token": "Bearer  ",
		"a wrong one":    "Bearer wrong",
		"a part":         "Bearer " + adminToken[:8],
		"more":           "Bearer " + adminToken + "x",
		"another scheme": "Basic " + adminToken,
		"no scheme":      adminToken,
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/v1/events", "/v1/nothing", "/metrics", "/"} {
				r := a.do(request{method: "GET", path: path, header: map[string]string{"Authorization": authorization}, wrong: true})
				r.refused(http.StatusUnauthorized, "unauthorized")
				require.Equal(t, []string{"Bearer"}, r.header.Values("WWW-Authenticate"))
			}
		})
	}
}

func TestAnyTokenLetsIn(t *testing.T) {
	a := newAPI(t)
	for _, authorization := range []string{"Bearer " + adminToken, "bearer " + annToken, "BEARER  " + annToken} {
		a.do(request{method: "GET", path: "/v1/events", header: map[string]string{"Authorization": authorization}}).is(http.StatusOK)
	}
	require.Equal(t, "ann", a.as(annToken).post("/v1/events", newEvent).is(http.StatusCreated)["creator_id"])
}

func TestTwoAuthorizationsAreNone(t *testing.T) {
	a := newAPI(t)
	req := httptest.NewRequest("GET", "/v1/events", nil)
	req.Header["Authorization"] = []string{"Bearer " + adminToken, "Bearer " + adminToken}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, req)
	require.Equal(t, http.StatusUnauthorized, w.Code)
}

func TestRequestIDs(t *testing.T) {
	a := newAPI(t)
	for given, taken := range map[string]bool{
		"b7d6c5b4": true, "a.b_c~d:e+f/g=h-1": true, strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false, "a b": false, "a\"b": false, "é": false, "{{x}}": false,
	} {
		for _, path := range []string{"/healthz", "/v1/events", "/nothing"} {
			r := a.do(request{method: "GET", path: path, header: map[string]string{"X-Request-Id": given}, wrong: true})
			if taken {
				require.Equal(t, given, r.header.Get("X-Request-Id"))
			} else {
				require.NotEqual(t, given, r.header.Get("X-Request-Id"))
				require.Len(t, r.header.Get("X-Request-Id"), 36)
			}
		}
	}
	made := a.get("/healthz").header.Get("X-Request-Id")
	require.NotEqual(t, made, a.get("/healthz").header.Get("X-Request-Id"))
}

func TestMethodsAndPaths(t *testing.T) {
	a := newAPI(t)
	id := unknownID()
	for _, tt := range []struct{ method, path, allow string }{
		{"PUT", "/v1/events", "GET, HEAD, POST"},
		{"DELETE", "/v1/events", "GET, HEAD, POST"},
		{"POST", "/v1/events/" + id, "DELETE, GET, HEAD, PATCH"},
		{"GET", "/v1/events/" + id + "/cancel", "POST"},
		{"HEAD", "/v1/events/" + id + "/cancel", "POST"},
		{"OPTIONS", "/v1/notifications", "DELETE, GET, HEAD"},
		{"GET", "/v1/notifications/send-due", "POST"},
		{"TRACE", "/v1/stats", "GET, HEAD"},
		{"POST", "/healthz", "GET, HEAD"},
		{"BREW", "/docs", "GET, HEAD"},
	} {
		r := a.do(request{method: tt.method, path: tt.path, wrong: true})
		require.Equal(t, tt.allow, r.header.Get("Allow"), "%s %s", tt.method, tt.path)
		if tt.method != "HEAD" {
			r.refused(http.StatusMethodNotAllowed, "method_not_allowed")
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/docs"} {
		// Open to all, for other methods too.
		a.as("").do(request{method: "POST", path: path, wrong: true}).refused(http.StatusMethodNotAllowed, "method_not_allowed")
	}
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/events/", "//v1/events", "/v1//events", "/v1/events/" + id + "/", "/v2/events", "/docs/../v1", "/v1/events/" + id + "/nothing"} {
		a.do(request{method: "GET", path: path, wrong: true}).refused(http.StatusNotFound, "not_found")
		a.do(request{method: "POST", path: path, wrong: true}).refused(http.StatusNotFound, "not_found")
	}
}

func TestHead(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	for _, path := range []string{"/v1/events/" + id, "/v1/events", "/v1/stats", "/healthz", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/metrics", "/v1/stream"} {
		r := a.do(request{method: "HEAD", path: path, header: map[string]string{"Consistency-Token": a.latest()}})
		require.Equal(t, http.StatusOK, r.status, path)
		require.Empty(t, r.body)
	}
	read := a.get("/v1/events/" + id)
	r := a.do(request{method: "HEAD", path: "/v1/events/" + id})
	require.Equal(t, read.header.Get("ETag"), r.header.Get("ETag"))
	require.Equal(t, read.header.Get("Content-Length"), r.header.Get("Content-Length"))
	require.Equal(t, http.StatusNotFound, a.do(request{method: "HEAD", path: "/v1/events/" + unknownID()}).status)
	require.Equal(t, http.StatusNotModified, a.do(request{
		method: "HEAD", path: "/v1/events/" + id, header: map[string]string{"If-None-Match": read.header.Get("ETag")},
	}).status)

	w := httptest.NewRecorder()
	req := httptest.NewRequest("HEAD", "/healthz", nil)
	a.handler.ServeHTTP(w, req)
	require.Empty(t, w.Body.String(), "without a server that drops it too")
}

func TestHeadersThatProtect(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/v1/events", "/nothing", "/healthz", "/docs", "/openapi.json"} {
		h := a.do(request{method: "GET", path: path, wrong: true}).header
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
		require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
	}
}

func TestBodies(t *testing.T) {
	a := newAPI(t)
	good := `{"title":"t","description":"d","start_time":"2031-05-06T18:00:00Z","end_time":"2031-05-06T20:00:00Z"}`
	id := a.event(nil)
	for _, tt := range []struct {
		name, method, path, body, contentType string
		status                                int
		code                                  string
	}{
		{"a charset", "POST", "/v1/events", good, "application/json; charset=UTF-8", 201, ""},
		{"no type", "POST", "/v1/events", good, "", 415, "unsupported_media_type"},
		{"a form", "POST", "/v1/events", good, "application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		{"another charset", "POST", "/v1/events", good, "application/json; charset=latin1", 415, "unsupported_media_type"},
		{"no media type at all", "POST", "/v1/events", good, ";;", 415, "unsupported_media_type"},
		{"a merge patch that is none", "POST", "/v1/events", good, "application/merge-patch+json", 415, "unsupported_media_type"},
		{"a merge patch", "PATCH", "/v1/events/" + id, `{}`, "application/merge-patch+json", 200, ""},
		{"a patch as JSON", "PATCH", "/v1/events/" + id, `{}`, "application/json", 200, ""},
		{"a JSON patch", "PATCH", "/v1/events/" + id, `[]`, "application/json-patch+json", 415, "unsupported_media_type"},
		{"nothing", "POST", "/v1/events", "", "application/json", 400, "bad_body"},
		{"spaces", "POST", "/v1/events", "  ", "application/json", 400, "bad_body"},
		{"text", "POST", "/v1/events", "hello", "application/json", 400, "bad_body"},
		{"half an object", "POST", "/v1/events", `{"title":`, "application/json", 400, "bad_body"},
		{"more behind it", "POST", "/v1/events", good + good, "application/json", 400, "bad_body"},
		{"a comma too many", "POST", "/v1/events", `{"title":"t",}`, "application/json", 400, "bad_body"},
		{"a list", "POST", "/v1/events", "[" + good + "]", "application/json", 400, "bad_body"},
		{"null", "POST", "/v1/events", "null", "application/json", 400, "bad_body"},
		{"a BOM", "POST", "/v1/events", "\ufeff" + good, "application/json", 400, "bad_body"},
		{"not UTF-8", "POST", "/v1/events", "{\"title\":\"\xff\"}", "application/json", 400, "bad_body"},
		{"too deep", "POST", "/v1/events", `{"tags":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`, "application/json", 400, "bad_body"},
		{"deep", "POST", "/v1/events", `{"tags":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "application/json", 400, "bad_body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := a.do(request{method: tt.method, path: tt.path, body: tt.body, header: map[string]string{"Content-Type": tt.contentType}, wrong: true})
			if tt.code == "" {
				r.is(tt.status)
			} else {
				r.refused(tt.status, tt.code)
			}
		})
	}
	a.do(request{method: "POST", path: "/v1/events", body: good, header: map[string]string{"Content-Encoding": "gzip"}, wrong: true}).
		refused(http.StatusUnsupportedMediaType, "unsupported_media_type")
}

func TestBodiesThatAreOptional(t *testing.T) {
	a := newAPI(t)
	for _, header := range []map[string]string{nil, {"Content-Type": ""}, {"Content-Type": "application/json"}} {
		a.do(request{method: "POST", path: "/v1/processor/stop", body: "", header: header, wrong: true}).is(http.StatusOK)
		a.do(request{method: "POST", path: "/v1/processor/start", body: "", header: header, wrong: true}).is(http.StatusOK)
		a.do(request{method: "POST", path: "/v1/notifications/send-due", body: "", header: header, wrong: true}).is(http.StatusOK)
		a.do(request{method: "POST", path: "/v1/events/" + a.event(nil) + "/cancel", body: "", header: header, wrong: true}).is(http.StatusOK)
	}
	a.do(request{method: "POST", path: "/v1/processor/stop", body: "x", header: map[string]string{"Content-Type": "text/plain"}, wrong: true}).
		refused(http.StatusUnsupportedMediaType, "unsupported_media_type")
	a.do(request{method: "POST", path: "/v1/processor/stop", body: `{"now":true}`, wrong: true}).refused(http.StatusBadRequest, "bad_body")
}

func TestTheLimitOfABody(t *testing.T) {
	a := newAPI(t)
	const limit = 1 << 20
	fit := with(newEvent, object{"location": "x"})
	padded := func(size int) string {
		body := `{"title":"t","description":"d","start_time":"2031-05-06T18:00:00Z","end_time":"2031-05-06T20:00:00Z"}`
		return strings.Repeat(" ", size-len(body)) + body
	}
	a.post("/v1/events", fit).is(http.StatusCreated)
	a.post("/v1/events", padded(limit)).is(http.StatusCreated)
	a.do(request{method: "POST", path: "/v1/events", body: padded(limit + 1), wrong: true}).
		refused(http.StatusRequestEntityTooLarge, "body_too_large")

	// Without a Content-Length it shows only on the way.
	req, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/v1/events", io.MultiReader(strings.NewReader(padded(limit+1))))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
}

func TestWhatIsInABody(t *testing.T) {
	a := newAPI(t)
	long := strings.Repeat("x", 1000)
	for name, tt := range map[string]struct {
		body   string
		faults []string
	}{
		"unknown fields":      {`{"title":"t","colour":"red","a":{}}`, []string{"a unknown_field", "colour unknown_field"}},
		"another case":        {`{"Title":"t"}`, []string{"Title unknown_field"}},
		"read-only fields":    {`{"id":"x","status":"cancelled"}`, []string{"id unknown_field", "status unknown_field"}},
		"twice":               {`{"title":"t","title":"u"}`, []string{"title duplicate_field"}},
		"twice, escaped":      {`{"title":"t","\u0074itle":"u"}`, []string{"title duplicate_field"}},
		"other types":         {`{"title":1,"description":null,"location":{},"capacity":"8","tags":"a","start_time":5}`, []string{"title wrong_type", "start_time wrong_type", "location wrong_type", "capacity wrong_type", "tags wrong_type"}},
		"a list of numbers":   {`{"tags":["a",1]}`, []string{"tags wrong_type"}},
		"half a seat":         {`{"capacity":1.5}`, []string{"capacity wrong_type"}},
		"a boolean":           {`{"capacity":true}`, []string{"capacity wrong_type"}},
		"a very long unknown": {`{"` + long + `":1}`, []string{long[:100] + "… unknown_field"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "POST", path: "/v1/events", body: tt.body, wrong: true})
			r.refused(http.StatusBadRequest, "bad_body")
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusBadRequest))
		})
	}
	r := a.do(request{method: "POST", path: "/v1/events/" + unknownID() + "/announcements", body: `{"message":"m","audience":{"status":[1],"x":1}}`, wrong: true})
	require.ElementsMatch(t, []string{"audience.status wrong_type", "audience.x unknown_field"}, r.faults(http.StatusBadRequest))
	r = a.do(request{method: "POST", path: "/v1/events/" + unknownID() + "/announcements", body: `{"message":"m","audience":[]}`, wrong: true})
	require.Equal(t, []string{"audience wrong_type"}, r.faults(http.StatusBadRequest))
}

func TestAPanicIsAnAnswer(t *testing.T) {
	a := newAPI(t)
	w := httptest.NewRecorder()
	httpapi.WithPanic(a.handler, "GET", "/boom", errors.New("secret")).ServeHTTP(w, httptest.NewRequest("GET", "/boom", nil))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, w.Body.String(), `"code":"internal"`)
	require.NotContains(t, w.Body.String(), "secret")
	require.Contains(t, a.logs.String(), "secret")
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		httpapi.WithPanic(a.handler, "GET", "/boom", http.ErrAbortHandler).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/boom", nil))
	})
}

func TestLogsNameNobody(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"title": "Secret title"})
	a.join(event, "gwendolyn")
	a.get("/v1/events/" + event + "/participants?q=gwendolyn")
	a.do(request{method: "GET", path: "/v1/gwendolyn?q=gwendolyn%0Afake", wrong: true})
	a.do(request{method: "GET", path: "/v1/events", header: map[string]string{"Authorization": "Bearer gwendolyn"}, wrong: true})
	logs := a.logs.String()
	require.NotContains(t, strings.ToLower(logs), "gwendolyn")
	require.NotContains(t, logs, "Secret title")
	require.NotContains(t, logs, adminToken)
	require.Contains(t, logs, "route=/v1/events/{id}/participants")
	require.Contains(t, logs, "actor=admin")
}

func TestMetrics(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	a.get("/v1/events/" + unknownID()).is(http.StatusNotFound)
	a.do(request{method: "BREW", path: "/v1/events", wrong: true})
	text := string(a.get("/metrics").body)
	require.Contains(t, text, `belltower_http_requests_total{method="POST",route="/v1/events",status="201"} 1`)
	require.Contains(t, text, `belltower_http_requests_total{method="GET",route="/v1/events/{id}",status="404"} 1`)
	require.Contains(t, text, `belltower_http_requests_total{method="other",route="/v1/events",status="405"} 1`)
	require.Contains(t, text, `belltower_build_info{version="test"} 1`)
	require.Contains(t, text, "belltower_read_models_lag_seconds")
}

func TestAServerWaitsForNobodyForEver(t *testing.T) {
	s := httpapi.Server(http.NotFoundHandler())
	require.Positive(t, s.ReadHeaderTimeout)
	require.Positive(t, s.ReadTimeout)
	require.Positive(t, s.WriteTimeout)
	require.Positive(t, s.IdleTimeout)
	require.Positive(t, s.MaxHeaderBytes)
}
