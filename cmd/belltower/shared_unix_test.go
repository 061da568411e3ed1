//go:build unix

package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/freeport"
)

// storeServing serves the log of a folder to EventStoreDB's clients, and gives
// how to reach it.
func storeServing(t *testing.T, folder, listen string, env ...string) (p *process, at string) {
	t.Helper()
	p = launch(t, launchOptions{args: []string{"store", "serve", "--listen", listen, "--data", folder}, env: env})
	at = field(p.says(t, &p.out, "  data "), "address")
	require.NotEmpty(t, at)
	return p, at
}

// shared is some instances of serve on one store, each with a folder of its own.
type sharedStore struct {
	t      *testing.T
	folder string
	at     string
}

func shared(t *testing.T) *sharedStore {
	s := &sharedStore{t: t, folder: t.TempDir()}
	_, s.at = storeServing(t, filepath.Join(s.folder, "store"), "127.0.0.1:0")
	return s
}

// start starts the instance of a number.
func (s *sharedStore) start(n int) *process {
	s.t.Helper()
	p := launch(s.t, launchOptions{
		args: []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(s.folder, fmt.Sprint("instance", n)), "--keys", filepath.Join(s.folder, "keys")},
		env:  []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + s.at},
	})
	p.await(s.t)
	p.ready(s.t)
	return p
}

// leads tells whether an instance has said last that it leads.
func (p *process) leads() bool {
	said := p.err.String()
	return strings.LastIndex(said, "this instance leads") > strings.LastIndex(said, "this instance no longer leads")
}

// leader waits until one of some instances leads, and gives the others too.
func leader(t *testing.T, all ...*process) (leader *process, others []*process) {
	t.Helper()
	until(t, "one leads", func() bool {
		leader, others = nil, nil
		for _, p := range all {
			if p.leads() {
				leader = p
			} else {
				others = append(others, p)
			}
		}
		return len(others) == len(all)-1 // who has lost the lease may be about to say so
	})
	return leader, others
}

// announce announces to all participants of an event.
func announce(t *testing.T, p *process, path, text string) {
	t.Helper()
	p.does(t, 202, "POST", path+"/announcements", object{"message": text})
}

// sentBy gathers what instances have sent, by message.
func sentBy(t *testing.T, all ...*process) map[string][]sentLine {
	t.Helper()
	sent := map[string][]sentLine{}
	for _, p := range all {
		for _, l := range sentLines(t, p.out.String()) {
			sent[l.Message] = append(sent[l.Message], l)
		}
	}
	return sent
}

// Instances on one store answer alike, one of them sends, and when it goes,
// however it does, another sends.
func TestSeveralInstances(t *testing.T) {
	s := shared(t)
	all := []*process{s.start(0), s.start(1), s.start(2)}
	first, others := leader(t, all...)

	// What is written through one is seen through the others behind its token.
	event := others[0].sees(t, 201, "POST", "/v1/events", "", anEvent(far, nil))
	path := "/v1/events/" + event.body.text("id")
	token := event.token()
	for i := range 5 {
		joined := all[i%3].sees(t, 201, "POST", path+"/participants", token, aPerson(i, nil))
		token = joined.token()
	}
	for _, p := range all {
		require.Len(t, p.sees(t, 200, "GET", path+"/participants", token, nil).body.items(), 5)
		// Nor is anything answered from a state that has passed.
		p.does(t, 409, "POST", path+"/participants", aPerson(2, nil))
	}
	capacity := others[1].sees(t, 200, "PATCH", path, token, object{"title": "Another title"})
	require.Equal(t, "Another title", first.sees(t, 200, "GET", path, capacity.token(), nil).body.text("title"))
	keyed := others[0].client()
	keyed.key = "of the gone"
	gone, err := keyed.ask(t.Context(), "POST", "/v1/suppressions", "", object{"kind": "email", "address": "gone@example.org"})
	require.NoError(t, err)
	require.Equal(t, 200, gone.status, gone.body)
	require.Len(t, first.sees(t, 200, "GET", "/v1/suppressions", gone.token(), nil).body.items(), 1)

	sent := func(message string) {
		t.Helper()
		until(t, message, func() bool { return len(sentBy(t, all...)[message]) == 5 })
	}
	announce(t, others[0], path, "one")
	sent("one")
	require.Len(t, sentBy(t, first)["one"], 5, "who leads sends")
	figures := metricsOf(t, first)
	require.Contains(t, figures, "belltower_look_to_call_seconds_count 5\n")
	require.Regexp(t, `\nbelltower_append_seconds_count [1-9]`, figures)
	require.NotContains(t, figures, "belltower_log_", "the store syncs")

	// What is asked of one that doesn't lead is done too.
	others[1].does(t, 200, "POST", "/v1/processor/stop", nil)
	announce(t, first, path, "two")
	swept := others[0].does(t, 200, "POST", "/v1/notifications/send-due", nil)
	require.Equal(t, 5, swept.number("sent"), swept)
	sent("two")
	others[0].does(t, 200, "POST", "/v1/processor/start", nil)

	// Killed: another takes over within ten seconds.
	killed := time.Now()
	first.kill(t)
	announce(t, others[0], path, "three")
	sent("three")
	t.Logf("after a kill the first message went out within %v", time.Since(killed).Round(10*time.Millisecond))
	second, others := leader(t, others...)
	require.Len(t, sentBy(t, second)["three"], 5)

	// Paused: the same, and when it wakes it sends nothing again.
	again := s.start(0)
	all, others = append(all, again), append(others, again)
	require.NoError(t, second.cmd.Process.Signal(syscall.SIGSTOP))
	announce(t, others[0], path, "four")
	sent("four")
	require.NoError(t, second.cmd.Process.Signal(syscall.SIGCONT))
	second.says(t, &second.err, "no longer leads")
	announce(t, second, path, "five")
	sent("five")
	require.Empty(t, sentBy(t, second)["four"])
	require.Empty(t, sentBy(t, second)["five"])

	// In order: another goes on at once. Nothing is lost or repeated.
	third, others := leader(t, append(others, second)...)
	third.finish(t, syscall.SIGTERM)
	fourth, _ := leader(t, others...)
	announce(t, fourth, path, "six")
	sent("six")
	for message, lines := range sentBy(t, all...) {
		require.Len(t, lines, 5, message)
		for _, l := range lines {
			require.Equal(t, 1, l.Attempt)
		}
	}
	for _, p := range others {
		require.Zero(t, p.does(t, 200, "GET", "/v1/stats", nil).inner("conservation").number("holes"))
	}
}

// Instances that don't share their keys would make what each other can't read.
func TestOtherKeysAreRefused(t *testing.T) {
	s := shared(t)
	first := s.start(0)
	leader(t, first)
	code, _, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + s.at},
		"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(s.folder, "stranger"))
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, "--keys")
	code, _, said = once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + s.at},
		"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(s.folder, "instance0"), "--keys", filepath.Join(s.folder, "keys"))
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, "in use by another belltower")
}

// A log that instances have shared is not taken over by a service of its own.
func TestSharedLogIsRefused(t *testing.T) {
	folder := t.TempDir()
	store, at := storeServing(t, filepath.Join(folder, "store"), "127.0.0.1:0")
	s := &sharedStore{t: t, folder: folder, at: at}
	p := s.start(0)
	leader(t, p)
	p.finish(t, syscall.SIGTERM)
	store.finish(t, syscall.SIGTERM)
	code, _, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin},
		"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(folder, "store"), "--keys", filepath.Join(folder, "keys"))
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, "store serve")
}

// While the store is away writes are refused for now, reads go on, and what
// is due goes out once it is back.
func TestStoreAway(t *testing.T) {
	folder := t.TempDir()
	address := freeport.Address(t) // it comes back there
	store, at := storeServing(t, filepath.Join(folder, "store"), address)
	s := &sharedStore{t: t, folder: folder, at: at}
	p := s.start(0)
	leader(t, p)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	path := "/v1/events/" + event.text("id")
	p.does(t, 201, "POST", path+"/participants", aPerson(1, nil))
	until(t, "it is shown", func() bool { return len(p.does(t, 200, "GET", path+"/participants", nil).items()) == 1 })
	store.kill(t)

	until(t, "it says so", func() bool {
		got, err := p.client().ask(t.Context(), "GET", "/readyz", "", nil)
		return err == nil && got.status == http.StatusServiceUnavailable && strings.Contains(got.body.text("detail"), "event store")
	})
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.url+path+"/announcements", strings.NewReader(`{"message": "away"}`))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+testAdmin)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "the same")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
	require.NotEmpty(t, answer.Header.Get("Retry-After"))
	require.Len(t, p.does(t, 200, "GET", path+"/participants", nil).items(), 1)
	require.Equal(t, event.text("id"), p.does(t, 200, "GET", path, nil).text("id"))

	storeServing(t, filepath.Join(folder, "store"), address)
	p.ready(t)
	announce(t, p, path, "back")
	until(t, "it is sent", func() bool { return len(sentBy(t, p)["back"]) == 1 })
}

// EventStoreDB's clients may read the log of an ordinary service, and not write to it.
func TestServeToRead(t *testing.T) {
	p := launch(t, launchOptions{
		args: []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--esdb-listen", "127.0.0.1:0"},
		env:  []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin},
	})
	p.await(t)
	at := strings.TrimSuffix(field(p.out.String(), "EventStoreDB"), " (to read)")
	require.True(t, strings.HasPrefix(at, "esdb://127.0.0.1:"), at)
	p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	code, _, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + at},
		"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "other"))
	require.Equal(t, exitFailure, code, "it can't be written to")
	require.Contains(t, said, "read only")
	p.finish(t, syscall.SIGTERM)
}

// A wrong address, certificate or login list is refused by name, without its secrets.
func TestStoreServeSettings(t *testing.T) {
	for _, c := range []struct {
		args, env []string
		says      string
	}{
		{[]string{"store", "serve", "--listen", "nowhere"}, nil, "--listen"},
		{[]string{"store", "serve", "--listen", "0.0.0.0:0"}, nil, "TLS"},
		{[]string{"store", "serve", "--tls-cert", "a.pem"}, nil, "--tls-cert"},
		{[]string{"store", "serve", "--tls-cert", "a.pem", "--tls-key", "b.pem"}, nil, "--tls-cert"},
		{[]string{"store", "serve"}, []string{"BELLTOWER_ESDB_USERS=ann:secret,ann:secret"}, "BELLTOWER_ESDB_USERS"},
		{[]string{"store", "serve", "more"}, nil, "more"},
		{[]string{"store", "polish"}, nil, "polish"},
		{[]string{"serve", "--esdb-listen", "0.0.0.0:2113"}, nil, "--esdb-listen"},
		{[]string{"serve", "--store", "esdb://ann:secret@host:port"}, nil, "--store"},
		{[]string{"serve", "--store", "esdb://ann:secret@host:2113?tls=false"}, nil, "TLS"},
		{[]string{"serve", "--store", "esdb://host:2113", "--esdb-listen", "127.0.0.1:0"}, nil, "--esdb-listen"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			code, out, said := once(t, c.env, c.args...)
			require.Equal(t, exitUsage, code, said)
			require.Contains(t, said, c.says)
			require.NotContains(t, said, "secret")
			require.Empty(t, out)
		})
	}
}
