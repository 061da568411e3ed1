package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

// webPush takes subscriptions with one push service.
var webPush = httpapi.WebPush{
	PublicKey: func() (string, error) { return "BPublicKey", nil },
	Subscription: func(text string) (string, error) {
		var s struct {
			Endpoint string `json:"endpoint"`
		}
		if json.Unmarshal([]byte(text), &s) != nil || !strings.HasPrefix(s.Endpoint, "https://push.example.org/") {
			return "", errors.New("it names a push service that is not among those allowed")
		}
		return `{"endpoint":"` + s.Endpoint + `"}`, nil
	},
	Link: func(event, participant string) string {
		return "https://bells.example.org/v1/push/" + optOutToken(event, participant)
	},
	ReadLink: readOptOut,
}

func subscriptionAt(endpoint string) object {
	return object{"endpoint": endpoint, "expirationTime": nil, "keys": object{"p256dh": "BKey", "auth": "secret"}}
}

func (a *api) put(path string, body object) *reply {
	return a.as("").do(request{method: "PUT", path: path, body: body})
}

// shown is the browser that a page says pushes go to.
func shown(t *testing.T, page string) string {
	found := regexp.MustCompile(`data-shown="([^"]*)"`).FindStringSubmatch(page)
	require.NotNil(t, found, page)
	return found[1]
}

func TestPushPage(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"title": `Bells & "whistles"`, "location": "<North> tower", "time_zone": "Europe/Vienna"})
	ann := a.join(event, "ann")
	link := a.get("/v1/participants/" + ann + "/push-link").is(http.StatusOK)["url"].(string)
	path := strings.TrimPrefix(link, "https://bells.example.org")

	before := a.facts()
	page := a.page(request{method: "GET"}, path)
	require.Contains(t, page, "<h1>Bells &amp; &#34;whistles&#34;</h1>")
	require.Contains(t, page, "(Europe/Vienna), &lt;North&gt; tower")
	require.Contains(t, page, `data-key="BPublicKey"`)
	require.Empty(t, shown(t, page))
	require.Equal(t, before, a.facts(), "looking changes nothing")

	participant := func() object { return a.get("/v1/participants/" + ann).is(http.StatusOK) }
	here := subscriptionAt("https://push.example.org/here")
	for range 2 {
		a.put(path, here).is(http.StatusNoContent)
	}
	require.Equal(t, before+1, a.facts(), "the same again changes nothing")
	require.Equal(t, []any{"email", "push"}, participant()["channels"])
	page = a.page(request{method: "GET"}, path)
	require.Equal(t, "OZ80FGiN4GllRgQG6kexVxCIKAig6TfjdU54OnqG5j0", shown(t, page))
	require.NotContains(t, page, "push.example.org", "who looks needn't know how to reach the browser")
	a.put(path, subscriptionAt("https://push.example.org/there")).is(http.StatusNoContent)
	require.NotEqual(t, shown(t, page), shown(t, a.page(request{method: "GET"}, path)))
	history := a.items("/v1/events/" + event + "/history")
	last := history[len(history)-1].(object)
	require.Equal(t, "ParticipantContactChanged", last["type"])
	require.Equal(t, "participant", last["actor"])

	for range 2 {
		a.as("").do(request{method: "DELETE", path: path}).is(http.StatusNoContent)
	}
	require.Equal(t, before+3, a.facts())
	require.Equal(t, []any{"email"}, participant()["channels"])
	require.Empty(t, shown(t, a.page(request{method: "GET"}, path)))

	a.delete("/v1/participants/" + ann).is(http.StatusNoContent)
	require.Contains(t, a.page(request{method: "GET"}, path), "not on this event any more")
	a.put(path, here).refused(http.StatusNotFound, "participant_not_found")
	a.as("").do(request{method: "DELETE", path: path}).is(http.StatusNoContent)
	a.delete("/v1/events/" + event).is(http.StatusNoContent)
	require.Contains(t, a.page(request{method: "GET"}, path), "not on this event any more")
	require.NotContains(t, a.logs.String(), optOutToken(event, ann), "the link is a secret")
	require.NotContains(t, a.logs.String(), "push.example.org")
}

func TestPushPageTellsWhatElseIsSo(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	ann := a.join(event, "ann")
	path := "/v1/push/" + optOutToken(event, ann)
	a.patch("/v1/participants/"+ann, object{"push_token": "an app's token", "channels": []string{"push"}}).is(http.StatusOK)
	require.Equal(t, "app", shown(t, a.page(request{method: "GET"}, path)))
	a.as("").do(request{method: "DELETE", path: path}).is(http.StatusNoContent)
	require.Empty(t, a.get("/v1/participants/" + ann).is(http.StatusOK)["channels"], "e-mail is left")
	a.page(form("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"), "/v1/opt-out/"+optOutToken(event, ann))
	require.Contains(t, a.page(request{method: "GET"}, path), "You have asked for no more messages")
	a.post("/v1/events/"+event+"/cancel", object{}).is(http.StatusOK)
	require.Contains(t, a.page(request{method: "GET"}, path), "It is cancelled")
}

// Nothing but its own scripts runs in the page, and nothing of it is somebody else's.
func TestPushPagePolicy(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	path := "/v1/push/" + optOutToken(event, a.join(event, "ann"))
	page := a.as("").do(request{method: "GET", path: path})
	policy := page.header.Get("Content-Security-Policy")
	for _, rule := range []string{"default-src 'none'", "script-src 'self'", "worker-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		require.Contains(t, policy, rule)
	}
	require.NotContains(t, policy, "unsafe")
	require.Equal(t, "no-referrer", page.header.Get("Referrer-Policy"))
	require.NotRegexp(t, `(src|href)="[^"]*//`, string(page.body))
	require.NotRegexp(t, `<script>| on[a-z]+="`, string(page.body))
	for _, file := range []string{"page.js", "worker.js"} {
		script := a.as("").do(request{method: "GET", path: "/v1/push/" + file})
		script.is(http.StatusOK)
		require.Equal(t, "text/javascript; charset=utf-8", script.header.Get("Content-Type"))
		require.NotContains(t, string(script.body), "://")
		require.NotContains(t, string(script.body), "innerHTML")
	}
}

func TestPushRefusals(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	ann := a.join(event, "ann")
	path := "/v1/push/" + optOutToken(event, ann)
	before := a.facts()
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		a.as("").do(request{method: method, path: "/v1/push/unsigned", wrong: true}).refused(http.StatusNotFound, "not_found")
	}
	a.as("").do(request{method: "POST", path: path, wrong: true}).refused(http.StatusMethodNotAllowed, "method_not_allowed")
	refused := a.put(path, subscriptionAt("https://elsewhere.example.org/s3cr3t"))
	refused.refused(http.StatusUnprocessableEntity, "invalid_subscription")
	require.NotContains(t, string(refused.body), "s3cr3t")
	raw := func(contentType, body string) *reply {
		return a.as("").do(request{method: "PUT", path: path, body: body, wrong: true, header: map[string]string{"Content-Type": contentType}})
	}
	raw("application/json", "no JSON").refused(http.StatusUnprocessableEntity, "invalid_subscription")
	raw("text/plain", `{"endpoint": "https://push.example.org/here"}`).refused(http.StatusUnsupportedMediaType, "unsupported_media_type")
	raw("application/json", strings.Repeat(" ", 1<<20)).refused(http.StatusRequestEntityTooLarge, "body_too_large")
	a.get("/v1/participants/"+unknownID()+"/push-link").refused(http.StatusNotFound, "participant_not_found")
	require.Equal(t, before, a.facts())
}

func TestPushWhereItIsNotSetUp(t *testing.T) {
	a := newAPI(t, func(a *api) {
		a.webPush.PublicKey, a.webPush.Subscription = nil, nil
	})
	event := a.event(nil)
	ann := a.join(event, "ann")
	path := "/v1/push/" + optOutToken(event, ann)
	a.get("/v1/participants/"+ann+"/push-link").refused(http.StatusConflict, "web_push_not_set_up")
	page := a.page(request{method: "GET"}, path)
	require.Contains(t, page, "No notifications are sent to browsers here")
	require.NotContains(t, page, "<script")
	a.put(path, subscriptionAt("https://push.example.org/here")).refused(http.StatusConflict, "web_push_not_set_up")
	a.as("").do(request{method: "DELETE", path: path}).is(http.StatusNoContent)

	nowhere := newAPI(t, func(a *api) { a.webPush.Link = func(string, string) string { return "" } })
	nowhere.get("/v1/participants/"+nowhere.join(nowhere.event(nil), "ann")+"/push-link").refused(http.StatusConflict, "no_public_url")
}
