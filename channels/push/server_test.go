package push_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is a request as it came.
type call struct {
	request *http.Request
	body    string
}

// server stands for a provider: it keeps what comes and answers as told.
type server struct {
	url    string
	client *outgoing.Client

	mu     sync.Mutex
	calls  []call
	answer http.HandlerFunc
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	s := &server{answer: answer, client: outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})}
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		s.client.CloseIdle()
		web.Close()
	})
	s.url = web.URL
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	if err == nil {
		s.calls = append(s.calls, call{r, string(body)})
	}
	answer := s.answer
	s.mu.Unlock()
	answer(w, r)
}

// then sets what is answered from now on.
func (s *server) then(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// to gives the calls of a path.
func (s *server) to(path string) (calls []call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.request.URL.Path == path {
			calls = append(calls, c)
		}
	}
	return calls
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// now is what the clock shows in tests.
var now = time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func message(to string) channels.Message {
	return channels.Message{
		ID: "3f8e1f0a-9d53-5c58-8d2b-6a1f2f0c7e11", Channel: "push", Attempt: 1, To: to, Name: "Ann Ünver",
		Subject: `"Grandsire" starts soon`, Text: "Hello Ann,\n\"Grandsire\" starts in 2 hours <&> 🔔", Due: now, Expires: now.Add(2*time.Hour + 500*time.Millisecond),
		Event:  channels.Event{UID: "0f8b6c0e-6d1c-4b8e-8a59-2f5a4f5b9a10", Title: "Grandsire", Start: now.Add(2 * time.Hour)},
		OptOut: "https://bells.example.org/v1/opt-out/c2lnbmVk",
	}
}
