package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gossip stands for all providers: whatever is wrong, it tells everybody all that
// it was given.
type gossip struct {
	last http.HandlerFunc // what it answers in the end

	mu    sync.Mutex
	calls map[string]int // by channel
}

// channelOf tells which channel makes a call.
func channelOf(path string) string {
	for prefix, channel := range map[string]string{
		"/v3/mail/send": "email", "/2010-04-01/": "sms", "/v1/projects/": "fcm", "/push/": "webpush", "/chat.postMessage": "slack", "/hook/": "webhook",
	} {
		if strings.HasPrefix(path, prefix) {
			return channel
		}
	}
	return ""
}

// quoted is an answer in every provider's form, with all that was said in each field.
func quoted(w http.ResponseWriter, r *http.Request, status int) {
	body, _ := io.ReadAll(r.Body)
	all := fmt.Sprint(r.URL, r.Header, string(body))
	if user, password, ok := r.BasicAuth(); ok {
		all += user + password
	}
	one := map[string]any{"message": all, "field": all, "status": all, "reason": all, "description": all}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"ok": false, "error": one, "errors": []any{one}, "message": all, "code": all, "reason": all, "status": all, "more_info": all, "detail": all,
	})
}

func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		_, _ = io.WriteString(w, `{"access_token": "`+hidden+`-access", "expires_in": 3599}`)
		return
	}
	g.mu.Lock()
	channel := channelOf(r.URL.Path)
	g.calls[channel]++
	n := g.calls[channel]
	g.mu.Unlock()
	switch n {
	case 1:
		quoted(w, r, http.StatusBadRequest)
	case 2:
		quoted(w, r, http.StatusInternalServerError)
	case 3:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 "+hidden+"\r\n\r\n")
			_ = conn.Close()
		}
	case 4:
		w.Header().Set("Retry-After", "0 "+hidden)
		quoted(w, r, http.StatusTooManyRequests)
	default:
		g.last(w, r)
	}
}

// Whatever goes wrong with whichever provider, neither logs nor what is kept of
// the attempts holds a secret, or anything of who the messages are for.
func TestFailuresTellNothingPrivate(t *testing.T) {
	for name, last := range map[string]http.HandlerFunc{
		"refuses us": func(w http.ResponseWriter, r *http.Request) { quoted(w, r, http.StatusForbidden) },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example.org/"+hidden+r.URL.Path)
			quoted(w, r, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			tellsNothingPrivate(t, last)
		})
	}
}

func tellsNothingPrivate(t *testing.T, last http.HandlerFunc) {
	g := &gossip{last: last, calls: map[string]int{}}
	server := httptest.NewServer(g)
	defer server.Close()
	signing := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(hidden, 3))[:24])
	env := []string{"BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8", "BELLTOWER_PUBLIC_URL=https://bells.example.org"}
	for variable, value := range map[string]string{
		"SENDGRID_KEY_FILE": written(t, "sendgrid", hidden), "SENDGRID_FROM": "choir@example.com", "SENDGRID_URL": server.URL,
		"TWILIO_ACCOUNT": "AC0123456789abcdef0123456789abcdef", "TWILIO_TOKEN_FILE": written(t, "twilio", hidden), "TWILIO_FROM": "+15005550006", "TWILIO_URL": server.URL,
		"FCM_ACCOUNT_FILE": serviceAccount(t, map[string]string{"token_uri": server.URL + "/token"}), "FCM_TOKEN_URL": server.URL + "/token", "FCM_URL": server.URL,
		"WEBPUSH_CONTACT": "mailto:choir@example.com", "WEBPUSH_SERVICES": "127.0.0.1",
		"SLACK_TOKEN_FILE": written(t, "slack", "xoxb-"+hidden), "SLACK_CHANNEL": "C012AB3CD", "SLACK_URL": server.URL,
		"WEBHOOK_URL": server.URL + "/hook/" + hidden, "WEBHOOK_SECRET_FILE": written(t, "webhook", "whsec_"+signing),
	} {
		env = append(env, "BELLTOWER_"+variable+"="+value)
	}
	// The two kinds of push are one channel, which waits as one: a service for each.
	for _, push := range []string{"fcm", "webpush"} {
		p := servingWithout(t, env, map[string]string{"fcm": "BELLTOWER_WEBPUSH_", "webpush": "BELLTOWER_FCM_"}[push])
		event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, object{"title": "Zebulon's carillon"})).text("id")
		const people = 5
		for i := range people {
			token := fmt.Sprintf("%s-token-%d", hidden, i)
			if push == "webpush" {
				token = subscription(t, server.URL+"/push/"+token)
			}
			p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(i, object{
				"name": "Zebulon Quist", "email": fmt.Sprintf("zebulon%d@example.org", i), "phone": fmt.Sprintf("+1500555%04d", 1000+i), "push_token": token,
			}))
		}
		wanted := []string{"push"}
		if push == "fcm" {
			wanted = []string{"email", "sms", "push", "slack", "webhook"}
		}
		p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "The carillon rings for {{ participant.name }}", "channels": wanted})
		until(t, "everything has gone wrong", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, channel := range wanted {
				if channel == "push" {
					channel = push
				}
				if g.calls[channel] < people {
					return false
				}
			}
			return true
		})
		until(t, "all attempts have ended", func() bool {
			return p.does(t, 200, "GET", "/v1/processor", nil)["in_flight"] == float64(0)
		})
		p.caughtUp(t)
		kept := ""
		for _, n := range p.does(t, 200, "GET", "/v1/notifications?limit=200", nil).items() {
			one := p.does(t, 200, "GET", "/v1/notifications/"+n.text("id"), nil)
			kept += fmt.Sprintln(one["last_error"], one["attempt_log"], one["provider_message_id"])
		}
		for _, path := range []string{"/v1/stats", "/metrics"} {
			kept += commandLine{t, []string{"BELLTOWER_URL=" + p.url}}.asks(path)
		}
		p.finish(t, syscall.SIGTERM)
		require.Contains(t, kept, "answered 400", "it says what went wrong")
		for what, said := range map[string]string{"what is kept": kept, "the log": p.err.String(), "the output": p.out.String()} {
			lower := strings.ToLower(said)
			for _, private := range []string{
				strings.ToLower(hidden), strings.ToLower(signing), "zebulon", "quist", "carillon", "1500555100", "/opt-out/", "elsewhere.example.org", "bearer ", "-----begin",
				"btbzmqhh6r4tts7j", testAdmin,
			} {
				require.NotContains(t, lower, private, what)
			}
		}
	}
}

// servingWithout starts the service without the settings that begin so.
func servingWithout(t *testing.T, env []string, prefix string) *process {
	t.Helper()
	var left []string
	for _, one := range env {
		if !strings.HasPrefix(one, prefix) {
			left = append(left, one)
		}
	}
	p := launch(t, launchOptions{
		args: []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")}, env: append(left, "BELLTOWER_ADMIN_TOKEN="+testAdmin),
	})
	p.url = field(p.says(t, &p.out, "by webhook through"), "address")
	return p
}
