package torture

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// simulator is SendGrid, Twilio and somebody's webhook in one, within the test's
// process: what arrived stays known whatever becomes of the service. It speaks as much
// of their contracts as the service uses, and fails by its script.
type simulator struct {
	t      *testing.T
	script providerScript
	server *httptest.Server

	mu       sync.Mutex
	arrivals []arrived
	calls    map[string]int  // by channel and recipient
	open     map[string]bool // connections, by who called
}

// arrived is a call by which a provider was given a message, once all of it was there.
type arrived struct {
	channel      string
	notification string
	attempt      int // 0: the contract doesn't tell
	to, text     string
	what         doing
	at           time.Time
	ref          string // the provider's id of the message; empty: it didn't take it
}

// Who the service is to them.
const (
	sendGridKey   = "SG.simulated"
	twilioAccount = "AC00000000000000000000000000000000"
	twilioToken   = "simulated-token"
	webhookKey    = "0123456789abcdef0123456789abcdef"
)

func newSimulator(t *testing.T, s providerScript) *simulator {
	sim := &simulator{t: t, script: s, calls: map[string]int{}, open: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/mail/send", sim.sendGrid)
	mux.HandleFunc("POST /2010-04-01/Accounts/"+twilioAccount+"/Messages.json", sim.twilio)
	mux.HandleFunc("GET /2010-04-01/Accounts/"+twilioAccount+"/Messages.json", sim.twilioList)
	mux.HandleFunc("POST /hook", sim.webhook)
	mux.HandleFunc("GET /drain", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		assert.Fail(t, "a call that no provider knows", "%s %s", r.Method, r.URL)
		http.NotFound(w, r)
	})
	sim.server = httptest.NewUnstartedServer(mux)
	sim.server.Config.ConnState = sim.connection
	sim.server.Start()
	t.Cleanup(func() {
		sim.server.CloseClientConnections()
		sim.server.Close()
	})
	return sim
}

// env has the service use the simulator, by the settings that operators have.
func (s *simulator) env(t *testing.T) []string {
	dir := t.TempDir()
	secret := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o600))
		return path
	}
	return []string{
		"BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8,::1/128",
		"BELLTOWER_PUBLIC_URL=https://bells.example.org",
		"BELLTOWER_SENDGRID_KEY_FILE=" + secret("sendgrid", sendGridKey),
		"BELLTOWER_SENDGRID_FROM=Choir <choir@example.org>",
		"BELLTOWER_SENDGRID_URL=" + s.server.URL,
		"BELLTOWER_TWILIO_ACCOUNT=" + twilioAccount,
		"BELLTOWER_TWILIO_TOKEN_FILE=" + secret("twilio", twilioToken),
		"BELLTOWER_TWILIO_FROM=+15005550006",
		"BELLTOWER_TWILIO_URL=" + s.server.URL,
		"BELLTOWER_WEBHOOK_URL=" + s.server.URL + "/hook",
		"BELLTOWER_WEBHOOK_SECRET_FILE=" + secret("webhook", "whsec_"+base64.StdEncoding.EncodeToString([]byte(webhookKey))),
	}
}

// taken is how many calls have arrived.
func (s *simulator) taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.arrivals))
}

// all gives the calls in the order of their arrival.
func (s *simulator) all() []arrived {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrived{}, s.arrivals...)
}

// arrive enters a call and decides what becomes of it. A provider that takes a
// message has it from then on, whatever becomes of the answer.
func (s *simulator) arrive(a arrived) (arrived, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := a.channel + " " + a.to
	s.calls[who]++
	var after time.Duration
	if a.what == "" {
		a.what, after = s.script.does(a.channel, a.to, s.calls[who])
	}
	if a.at = time.Now(); a.what.takes() {
		a.ref = fmt.Sprintf("SM%032x", len(s.arrivals))
	}
	s.arrivals = append(s.arrivals, a)
	return a, after
}

// answers gives a call its answer, if it gets one; ok is what the provider says where it
// takes the message, and no by what it refuses.
func (s *simulator) answers(w http.ResponseWriter, r *http.Request, a arrived, after time.Duration, ok func(), no map[doing]func()) {
	select {
	case <-time.After(after):
	case <-r.Context().Done(): // whoever asked was killed
		return
	}
	switch a.what {
	case busy:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "{}", http.StatusTooManyRequests)
	case erring, erringLate:
		http.Error(w, "{}", http.StatusInternalServerError)
	case unavailable:
		http.Error(w, "{}", http.StatusServiceUnavailable)
	case cut, cutLate:
		reset(w, "")
	case cutAnswer:
		reset(w, "HTTP/1.1 20")
	case refused, stopped, nobody:
		no[a.what]()
	case forged:
		http.Error(w, "{}", http.StatusUnauthorized)
	default:
		ok()
	}
}

// reset ends the connection after so much of an answer.
func reset(w http.ResponseWriter, after string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, after)
	if tcp, ok := conn.(*net.TCPConn); ok && after == "" {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (s *simulator) sendGrid(w http.ResponseWriter, r *http.Request) {
	var mail struct {
		Personalizations []struct {
			To         []struct{ Email string }
			CustomArgs map[string]string `json:"custom_args"`
		}
		Content []struct{ Value string }
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it never came
	}
	if err := json.Unmarshal(body, &mail); !assert.NoError(s.t, err) || !assert.Len(s.t, mail.Personalizations, 1) ||
		!assert.Len(s.t, mail.Personalizations[0].To, 1) || !assert.NotEmpty(s.t, mail.Content) {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	to := mail.Personalizations[0]
	attempt, _ := strconv.Atoi(to.CustomArgs["attempt"])
	a := arrived{channel: "email", notification: to.CustomArgs["notification_id"], attempt: attempt, to: to.To[0].Email, text: mail.Content[0].Value}
	if r.Header.Get("Authorization") != "Bearer "+sendGridKey {
		a.what = forged
	}
	a, after := s.arrive(a)
	s.answers(w, r, a, after, func() {
		w.Header().Set("X-Message-Id", a.ref)
		w.WriteHeader(http.StatusAccepted)
	}, map[doing]func(){refused: func() { http.Error(w, `{"errors":[{"message":"no"}]}`, http.StatusBadRequest) }})
}

func (s *simulator) twilio(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	form, err := url.ParseQuery(string(body))
	callback, callbackErr := url.Parse(form.Get("StatusCallback"))
	if !assert.NoError(s.t, err) || !assert.NoError(s.t, callbackErr) {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	attempt, _ := strconv.Atoi(callback.Query().Get("attempt"))
	a := arrived{channel: "sms", notification: callback.Query().Get("notification"), attempt: attempt, to: form.Get("To"), text: form.Get("Body")}
	if account, token, _ := r.BasicAuth(); account != twilioAccount || token != twilioToken {
		a.what = forged
	}
	a, after := s.arrive(a)
	no := func(code int) func() {
		return func() { http.Error(w, fmt.Sprintf(`{"code":%d,"status":400}`, code), http.StatusBadRequest) }
	}
	s.answers(w, r, a, after, func() {
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(object{"sid": a.ref, "status": "queued"})
	}, map[doing]func(){refused: no(21617), stopped: no(21610), nobody: no(21211)})
}

// twilioList tells what was taken for a number, the newest first, on one page.
func (s *simulator) twilioList(w http.ResponseWriter, r *http.Request) {
	to := r.URL.Query().Get("To")
	s.mu.Lock()
	s.calls["list "+to]++
	what := s.script.lists(to, s.calls["list "+to])
	list := []object{}
	for i := len(s.arrivals) - 1; i >= 0; i-- {
		if a := s.arrivals[i]; a.channel == "sms" && a.to == to && a.ref != "" {
			list = append(list, object{
				"sid": a.ref, "to": a.to, "body": a.text, "direction": "outbound-api", "date_created": a.at.UTC().Format(time.RFC1123Z),
			})
		}
	}
	s.mu.Unlock()
	switch what {
	case unlisted:
		http.Error(w, "{}", http.StatusServiceUnavailable)
	case unlistedCut:
		reset(w, "")
	default:
		_ = json.NewEncoder(w).Encode(object{"messages": list, "next_page_uri": nil})
	}
}

// webhook verifies as Standard Webhooks says.
func (s *simulator) webhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var payload struct {
		Data struct {
			To      string
			Message string
		}
	}
	if err := json.Unmarshal(body, &payload); !assert.NoError(s.t, err) {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	a := arrived{channel: "webhook", notification: r.Header.Get("Webhook-Id"), to: payload.Data.To, text: payload.Data.Message}
	mac := hmac.New(sha256.New, []byte(webhookKey))
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", a.notification, r.Header.Get("Webhook-Timestamp"), body)
	if !strings.Contains(r.Header.Get("Webhook-Signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))) {
		a.what = forged
	}
	a, after := s.arrive(a)
	s.answers(w, r, a, after, func() { w.WriteHeader(http.StatusNoContent) }, nil)
}

// connection keeps the connections that there are.
func (s *simulator) connection(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.open[c.RemoteAddr().String()] = true
	case http.StateClosed, http.StateHijacked:
		delete(s.open, c.RemoteAddr().String())
	}
}

// drain waits, once the service was killed, until all that it had sent has arrived,
// so that it comes before whatever the next process is told. Connections are
// accepted in their order: where one of our own is answered, those before it are known.
func (s *simulator) drain(t *testing.T) {
	t.Helper()
	ours := &http.Transport{}
	defer ours.CloseIdleConnections()
	resp, err := (&http.Client{Transport: ours}).Get(s.server.URL + "/drain")
	require.NoError(t, err)
	mine, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 1 && s.open[string(mine)]
	}, patience, time.Millisecond, "connections of a killed process stay open")
}
