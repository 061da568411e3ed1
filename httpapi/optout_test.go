package httpapi_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

// The API doesn't know how links are signed; here they say in clear what they name.
func optOutToken(event, participant string) string { return event + "." + participant }

func readOptOut(token string) (httpapi.Link, bool) {
	event, participant, ok := strings.Cut(token, ".")
	return httpapi.Link{EventID: event, ParticipantID: participant}, ok
}

func form(contentType, body string) request {
	return request{method: "POST", body: body, header: map[string]string{"Content-Type": contentType}}
}

// page asks as a mail client does, without a token and without cookies.
func (a *api) page(r request, path string) string {
	a.t.Helper()
	r.path = path
	reply := a.as("").do(r)
	reply.is(http.StatusOK)
	require.Equal(a.t, "text/html; charset=utf-8", reply.header.Get("Content-Type"))
	require.Equal(a.t, "no-store", reply.header.Get("Cache-Control"))
	require.Empty(a.t, reply.header.Values("Set-Cookie"))
	return string(reply.body)
}

func multipartForm(t *testing.T, name, value string) request {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	require.NoError(t, w.WriteField(name, value))
	require.NoError(t, w.Close())
	return form(w.FormDataContentType(), b.String())
}

func TestOptOut(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"title": `Bells & "whistles"`, "capacity": 1})
	ann := a.join(event, "ann")
	a.join(event, "bob")
	path := "/v1/opt-out/" + optOutToken(event, ann)
	out := func() object { return a.get("/v1/participants/" + ann).is(http.StatusOK) }
	oneClick := form("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click")

	before := a.facts()
	for range 2 { // as scanners do that follow every link
		require.Contains(t, a.page(request{method: "GET"}, path), `Messages about “Bells &amp; &#34;whistles&#34;”`)
	}
	a.as("").do(request{method: "HEAD", path: path}).is(http.StatusOK)
	require.Equal(t, before, a.facts(), "looking changes nothing")
	require.NotContains(t, out(), "opted_out")

	for range 3 {
		require.Contains(t, a.page(oneClick, path), "You get no more messages")
	}
	require.Equal(t, before+1, a.facts(), "asking again changes nothing")
	require.Equal(t, true, out()["opted_out"])
	require.Equal(t, "confirmed", out()["status"], "the seat is kept")
	require.Equal(t, "needs_action", out()["response"])
	require.Contains(t, a.page(request{method: "GET"}, path), "Send me messages again")
	history := a.items("/v1/events/" + event + "/history")
	last := history[len(history)-1].(object)
	require.Equal(t, "ParticipantOptedOut", last["type"])
	require.Equal(t, "participant", last["actor"])

	require.Contains(t, a.page(multipartForm(t, "resume", "yes"), path), "No more messages</button>")
	require.NotContains(t, out(), "opted_out")
	a.page(multipartForm(t, "List-Unsubscribe", "One-Click"), path)
	require.Equal(t, true, out()["opted_out"])

	a.delete("/v1/participants/" + ann).is(http.StatusNoContent)
	require.Contains(t, a.page(oneClick, path), "not on this event any more")
	require.Contains(t, a.page(request{method: "GET"}, path), "not on this event any more")
	a.delete("/v1/events/" + event).is(http.StatusNoContent)
	require.Contains(t, a.page(oneClick, path), "not on this event any more")
	require.NotContains(t, a.logs.String(), optOutToken(event, ann), "the link is a secret")
}

// Whatever comes means the same: somebody wants to hear no more.
func TestOptOutTakesAnyBody(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	for name, r := range map[string]request{
		"nothing":       {method: "POST"},
		"JSON":          {method: "POST", body: object{"a": "b"}, wrong: true},
		"no form":       {method: "POST", body: "%zz", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, wrong: true},
		"no multipart":  {method: "POST", body: "x", header: map[string]string{"Content-Type": "multipart/form-data"}, wrong: true},
		"far too large": {method: "POST", body: strings.Repeat("x", 1<<20), header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			who := a.join(event, strings.ReplaceAll(name, " ", "-"))
			require.Contains(t, a.page(r, "/v1/opt-out/"+optOutToken(event, who)), "You get no more messages")
			require.Equal(t, true, a.get("/v1/participants/" + who).is(http.StatusOK)["opted_out"])
		})
	}
}

func TestOptOutRefusesWhatItHasNotSigned(t *testing.T) {
	a := newAPI(t).as("")
	for _, method := range []string{"GET", "POST"} {
		a.do(request{method: method, path: "/v1/opt-out/unsigned"}).refused(http.StatusNotFound, "not_found")
	}
	a.do(request{method: "DELETE", path: "/v1/opt-out/" + optOutToken("e", "p"), wrong: true}).refused(http.StatusMethodNotAllowed, "method_not_allowed")
}
