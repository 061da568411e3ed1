package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/cli"
)

// inside starts the service in this process.
func inside(t *testing.T, folder string) *service {
	t.Helper()
	s := settings{listen: "127.0.0.1:0", data: folder, store: embeddedStore, readModels: "sqlite", adminToken: testAdmin}
	service, err := start(t.Context(), s, io.Discard, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return service
}

// commandLine asks a service by the command line.
type commandLine struct {
	t   *testing.T
	env []string
}

func asking(t *testing.T) commandLine {
	t.Helper()
	service := inside(t, filepath.Join(t.TempDir(), "data"))
	t.Cleanup(func() { require.NoError(t, service.stop()) })
	return commandLine{t, []string{"BELLTOWER_URL=" + service.url, "BELLTOWER_TOKEN=" + testAdmin, "TZ=Europe/Vienna"}}
}

// ends runs a command, expects an exit code, and gives what it wrote.
func (c commandLine) ends(code int, args ...string) (out, said string) {
	c.t.Helper()
	var stdout, stderr text
	got := run(c.t.Context(), args, c.env, output{&stdout, &stderr})
	require.Equal(c.t, code, got, "%s\n%s%s", args, &stdout, &stderr)
	require.NotContains(c.t, stdout.String()+stderr.String(), "\x1b", "no colour where there is no terminal")
	require.NotContains(c.t, stderr.String(), "goroutine")
	return stdout.String(), stderr.String()
}

// does runs one that goes well.
func (c commandLine) does(args ...string) string {
	c.t.Helper()
	out, said := c.ends(exitOK, args...)
	require.Empty(c.t, said)
	return out
}

// asks gives what the service itself answers.
func (c commandLine) asks(path string) string {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, strings.TrimPrefix(c.env[0], "BELLTOWER_URL=")+path, nil)
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+testAdmin)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	require.Equal(c.t, 200, answer.StatusCode, string(body))
	return string(body)
}

// position is the end of the log: what appends moves it.
func (c commandLine) position() string {
	c.t.Helper()
	var stats struct{ Store struct{ Position string } }
	require.NoError(c.t, json.Unmarshal([]byte(c.does("stats", "--json")), &stats))
	require.NotEmpty(c.t, stats.Store.Position)
	return stats.Store.Position
}

// event schedules one and gives its id.
func (c commandLine) event(more ...string) string {
	c.t.Helper()
	args := []string{"events", "create", "-q", "--title", "Bell-ringing course", "--description", "Rounds", "--start", "+30d", "--duration", "2h"}
	return strings.TrimSpace(c.does(append(args, more...)...))
}

// What a command has done, the next one sees; and --json is what the service says.
func TestClientCommands(t *testing.T) {
	c := asking(t)
	require.Equal(t, "There are no such events.\n", c.does("events", "list"))
	require.Empty(t, c.does("events", "list", "--json"))
	event := c.event("--time-zone", "Europe/Vienna", "--location", "The tower", "--capacity", "2", "--tag", "course,bells")
	path := "/v1/events/" + event
	require.Equal(t, c.asks(path), c.does("events", "get", event, "--json"))
	shown := c.does("events", "list", "--tag", "bells", "--search", "course", "--status", "SCHEDULED", "--from", "today")
	require.Regexp(t, `^ID +STARTS +TITLE +LOCATION +PARTICIPANTS +STATUS\n`+event+`  20\d\d-\d\d-\d\d \d\d:\d\d CES?T  Bell-ringing course  The tower  0 of 2        scheduled\n$`, shown)
	require.Equal(t, "There are no such events.\n", c.does("events", "list", "--to", "+1d"))

	var people []string
	for _, name := range []string{"Ann", "Bob", "Cem"} {
		lower := strings.ToLower(name)
		people = append(people, strings.TrimSpace(c.does("participants", "add", event, "-q", "--user", lower, "--name", name, "--email", lower+"@example.org")))
	}
	require.Equal(t, strings.Join(people, "\n")+"\n", c.does("participants", "list", event, "-q"))
	require.Equal(t, people[2]+"\n", c.does("participants", "list", event, "-q", "--status", "waitlisted"))
	require.Contains(t, c.does("participants", "get", people[2]), "waitlisted (1)")
	require.Contains(t, c.does("participants", "rsvp", people[0], "declined"), "released")
	require.Contains(t, c.does("participants", "get", people[2]), "confirmed")
	require.Contains(t, c.does("participants", "update", people[1], "--phone", "+43 1 234 5678", "--channel", "email"), "+4312345678")
	require.NotContains(t, c.does("participants", "update", people[1], "--clear", "phone"), "+43")
	require.Equal(t, "removed\n", c.does("participants", "remove", people[0]))

	reminder := strings.TrimSpace(c.does("reminders", "add", event, "--before", "1d", "-q"))
	require.Contains(t, c.does("reminders", "list", event), reminder+"  1 d before  each one's own")
	until(t, "it is planned", func() bool {
		return strings.Count(c.does("notifications", "list", "-q", "--status", "pending"), "\n") == 2
	})
	pending, _, _ := strings.Cut(c.does("notifications", "list", "--participant", people[1], "-q"), "\n")
	require.Contains(t, c.does("notifications", "explain", pending), "nothing: it is sent when it is due")
	require.Contains(t, c.does("processor", "stop"), "stopped")
	require.Contains(t, c.does("notifications", "explain", pending), "the processor is stopped, so that it won't be sent")
	_, said := c.ends(exitFailure, "processor", "interval", "5s")
	require.Contains(t, said, "the processor is stopped")
	require.Contains(t, c.does("processor", "start", "--interval", "2m"), "check interval  120 s")
	require.Contains(t, c.does("processor", "interval", "30"), "check interval  30 s")
	require.Contains(t, c.does("notifications", "cancel", pending), "CANCELLED")
	require.Contains(t, c.does("notifications", "explain", pending), "cancelled by admin: it was cancelled by hand")
	require.Equal(t, "removed\n", c.does("reminders", "remove", event, reminder))

	require.Contains(t, c.does("announce", event, "--message", "{{ participant.name }}, hear, hear", "--status", "confirmed"), "recipients    2")
	until(t, "they are sent", func() bool {
		return strings.Count(c.does("notifications", "list", "--event", event, "--status", "sent", "-q"), "\n") == 2
	})
	sent := strings.TrimSpace(c.does("notifications", "list", "--status", "SENT", "--limit", "1", "-q"))
	require.Contains(t, c.does("notifications", "get", sent), "attempt 1")
	require.Equal(t, c.asks("/v1/notifications/"+sent), c.does("notifications", "get", sent, "--json"))
	require.Contains(t, c.does("notifications", "explain", sent), "attempt 1: the provider took it, to ")
	var all struct {
		Notification, Event, Participant map[string]any
		Facts                            []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(c.does("notifications", "explain", sent, "--json")), &all))
	require.Len(t, all.Facts, 3)
	require.Equal(t, "NotificationSent", all.Facts[2]["type"])

	// A list is its items, a line each, in all pages.
	var items struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(c.asks(path+"/history?limit=200")), &items))
	var lines []string
	for _, item := range items.Items {
		lines = append(lines, string(item)+"\n")
	}
	require.Equal(t, strings.Join(lines, ""), c.does("events", "history", event, "--json"))
	require.Equal(t, strings.Join(lines[:2], ""), c.does("events", "history", event, "--json", "--limit", "2"))
	require.Contains(t, c.does("events", "history", event), "ParticipantPromoted")
	require.Contains(t, c.does("events", "get", event, "--as-of", "0"), "participants  0")
	require.Empty(t, c.does("participants", "list", event, "--as-of", "0", "-q"))
	require.Empty(t, c.does("reminders", "list", event, "--as-of", "0", "-q"))
	require.Contains(t, c.does("notifications", "get", sent, "--as-of", "0"), "READY")

	// A time of day is one of the event's own zone.
	moved := c.does("events", "update", event, "--start", "2099-06-01 18:00", "--duration", "90m", "--clear", "location", "--json")
	require.Contains(t, moved, `"start_time":"2099-06-01T16:00:00Z","end_time":"2099-06-01T17:30:00Z"`)
	require.Contains(t, moved, `"location":null`)
	require.Contains(t, c.does("events", "cancel", event, "--reason", "repairs"), "cancelled")
	require.Contains(t, c.does("notifications", "send-due"), "still due  0")
	require.Regexp(t, `removed  [1-9]`, c.does("notifications", "clear", "--older-than-days", "0"))
	require.Contains(t, c.does("stats"), "holes 0")
	require.Equal(t, "deleted\n", c.does("events", "delete", event, "--yes"))
	require.Empty(t, c.does("events", "list", "-q"))
}

// A mistake is told with all that is wrong, by the names of the flags, and its exit code.
func TestClientMistakes(t *testing.T) {
	c := asking(t)
	event := c.event()
	before := c.position()
	for _, row := range []struct {
		code int
		args string
		says []string
	}{
		{cli.ExitRefused, "events create --time-zone Mars --capacity 0", []string{"(422 invalid)", "\n  --title: ", "\n  --description: ", "\n  --start: ", "\n  --end: ", "\n  --time-zone: ", "\n  --capacity: "}},
		{cli.ExitUsage, "events create --start noon --end 18:00", []string{`--start: "noon" is not a time`, `--end: "18:00" is not a time`}},
		{cli.ExitUsage, "events create --start 2099-06-01T18:00", []string{"name one with --time-zone"}},
		{cli.ExitUsage, "events create --start now --end now --duration 1h", []string{"give one"}},
		{cli.ExitUsage, "events create --duration 1h", []string{"give --start as well"}},
		{cli.ExitUsage, "events create --capacity many", []string{"--capacity"}},
		{cli.ExitUsage, "events update " + event, []string{"at least one field"}},
		{cli.ExitUsage, "events update " + event + " --clear title", []string{"what can is location, capacity, tag, time-zone"}},
		{cli.ExitUsage, "events update " + event + " --clear location --location x", []string{"sets the same field"}},
		{cli.ExitRefused, "events update " + event + " --title x --if-match 7", []string{"412 precondition_failed"}},
		{cli.ExitRefused, "events get nonesuch", []string{"404 event_not_found"}},
		{cli.ExitUsage, "events get", []string{"takes an event's id, and was given 0 arguments"}},
		{cli.ExitUsage, "events get <empty>", []string{"it is empty"}},
		{cli.ExitUsage, "events lost", []string{`events has no command "lost"; did you mean list?`}},
		{cli.ExitUsage, "events list --status gone", []string{"is not one of scheduled, cancelled"}},
		{cli.ExitUsage, "events list --limit -1", []string{"--limit"}},
		{cli.ExitUsage, "events list --json -q", []string{"give one"}},
		{cli.ExitUsage, "events get " + event + " --as-of 0 --watch", []string{"don't go together"}},
		{cli.ExitRefused, "events get " + event + " --as-of 99", []string{"--as-of: the event has no such revision"}},
		{cli.ExitUsage, "events delete " + event, []string{"say --yes"}},
		{cli.ExitUsage, "notifications list --event <empty>", []string{"--event: it is empty"}},
		{cli.ExitRefused, "suppressions add fax 1", []string{"kind: must be email, phone, push_token or endpoint"}},
		{cli.ExitRefused, "suppressions lookup email ann", []string{"address: must be an address of this kind"}},
		{cli.ExitUsage, "suppressions release email", []string{"takes a kind of address and an address"}},
		{cli.ExitUsage, "suppressions list --reason bored", []string{"--reason: "}},
		{cli.ExitUsage, "events list --url localhost", []string{"--url"}},
		{cli.ExitRefused, "participants add " + event + " --email x", []string{"--user: ", "--name: ", "--email: "}},
		{cli.ExitRefused, "reminders add " + event + " --before 9999d", []string{"--before: "}},
		{cli.ExitUsage, "reminders add " + event + " --before 90s", []string{"no whole number of minutes"}},
		{cli.ExitRefused, "announce " + event + " --message {{event.secret}} --status gone", []string{"--message: ", "--status: "}},
		{cli.ExitRefused, "processor start --interval 2h", []string{"--interval: must be between"}},
		{cli.ExitRefused, "notifications clear --older-than-days -1", []string{"--older-than-days: "}},
		{cli.ExitRefused, "watch --type Nothing", []string{"--type: "}},
		{cli.ExitRefused, "watch --after 9999999", []string{"beyond the end of the log"}},
		{cli.ExitUnreachable, "stats --url http://127.0.0.1:1", []string{"can't reach http://127.0.0.1:1", "Is 'belltower serve' running"}},
		{cli.ExitUnreachable, "watch --url http://127.0.0.1:1", []string{"can't reach"}},
		{exitFailure, "participants import nowhere.csv --event " + event, []string{"nowhere.csv"}},
		{cli.ExitUsage, "participants import nowhere.csv", []string{"--event"}},
	} {
		t.Run(row.args, func(t *testing.T) {
			c.t = t
			args := strings.Fields(row.args)
			for i, a := range args {
				if a == "<empty>" {
					args[i] = ""
				}
			}
			out, said := c.ends(row.code, args...)
			require.Empty(t, out)
			for _, text := range row.says {
				require.Contains(t, said, text)
			}
			require.True(t, strings.HasPrefix(said, "belltower: "), said)
			require.Equal(t, row.code == cli.ExitUsage, strings.Contains(said, "--help' for what there is"), said)
		})
	}
	c.t = t
	require.Equal(t, before, c.position(), "nothing was appended")
	c.env[1] = "BELLTOWER_TOKEN=guessed"
	_, said := c.ends(cli.ExitRefused, "stats")
	require.Contains(t, said, "BELLTOWER_TOKEN")
}

// The same command with the same key is done once.
func TestClientKeys(t *testing.T) {
	c := asking(t)
	same := []string{"--key", "k-1", "--start", "2099-06-01T18:00:00Z"}
	first, again := c.event(same...), c.event(same...)
	require.Equal(t, first, again)
	first, another := c.event(), c.event()
	require.NotEqual(t, first, another)
	require.Equal(t, 3, strings.Count(c.does("events", "list", "-q"), "\n"))
}

func TestClientHelpAndCompletion(t *testing.T) {
	c := asking(t)
	event := c.event()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := c.does("completion", shell)
		require.Contains(t, script, "belltower")
		if path, err := exec.LookPath(shell); err == nil {
			check := exec.CommandContext(t.Context(), path, "-n")
			check.Stdin = strings.NewReader(script)
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s: %s", shell, out)
		}
	}
	suggested := func(args ...string) string {
		var out, said text
		require.Equal(t, exitOK, run(t.Context(), append([]string{"__complete"}, args...), c.env, output{&out, &said}), said.String())
		return out.String()
	}
	require.Contains(t, suggested("ev"), "events\tSchedule events")
	require.Contains(t, suggested("events", ""), "history\t")
	require.Contains(t, suggested("events", "get", ""), event+"\tBell-ringing course, ")
	require.NotContains(t, suggested("events", "get", event, ""), event)
	require.Contains(t, suggested("notifications", "list", "--event", ""), event)
	require.Contains(t, suggested("notifications", "list", "--status", ""), "DELIVERED")
	require.Contains(t, suggested("participants", "rsvp", "x", ""), "tentative")
	require.Contains(t, suggested("participants", "import", ""), "csv\n:8")
	reminder := strings.TrimSpace(c.does("reminders", "add", event, "-q"))
	require.Contains(t, suggested("reminders", "remove", event, ""), reminder+"\t1 h before")
	// Where nobody answers, nothing is suggested, and nothing said.
	c.env[0] = "BELLTOWER_URL=http://127.0.0.1:1"
	require.Equal(t, ":4\n", suggested("events", "get", ""))
}

// gate stands before a service, and lets nobody through while it is closed.
type gate struct {
	to     atomic.Pointer[url.URL] // nil: it is closed
	before func(*http.Request)     // nil: nothing is done before a request goes through
	server *httptest.Server
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{}
	g.server = httptest.NewServer(g)
	t.Cleanup(func() {
		g.server.CloseClientConnections()
		g.server.Close()
	})
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := g.to.Load()
	if to == nil {
		panic(http.ErrAbortHandler)
	}
	if g.before != nil {
		g.before(r)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy.ServeHTTP(w, r)
}

func (g *gate) open(t *testing.T, address string) {
	t.Helper()
	to, err := url.Parse(address)
	require.NoError(t, err)
	g.to.Store(to)
}

// watching runs a command that goes on until stop.
func (c commandLine) watching(args ...string) (out, said *text, stop func()) {
	c.t.Helper()
	out, said = &text{}, &text{}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, c.env, output{out, said}) }()
	return out, said, func() {
		c.t.Helper()
		cancel()
		require.Equal(c.t, exitOK, <-ended, said.String())
	}
}

func (c commandLine) sees(out *text, want string) {
	c.t.Helper()
	until(c.t, "it shows "+want, func() bool { return strings.Contains(out.String(), want) })
}

// A watcher goes on over a restart of the service, with every domain event once.
func TestClientWatchesAcrossARestart(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	service := inside(t, folder)
	g := newGate(t)
	g.open(t, service.url)
	c := commandLine{t, []string{"BELLTOWER_URL=" + g.server.URL, "BELLTOWER_TOKEN=" + testAdmin}}
	direct := func() commandLine {
		return commandLine{t, []string{"BELLTOWER_URL=" + service.url, "BELLTOWER_TOKEN=" + testAdmin}}
	}
	event := direct().event()
	began := c.position()
	all, said, stopAll := c.watching("watch", "--json", "--after", began)
	list, _, stopList := c.watching("participants", "list", event, "--watch")
	c.sees(list, "There are no such participants.")
	add := func(i int) {
		direct().does("participants", "add", event, "--user", fmt.Sprint(i), "--name", fmt.Sprintf("N%d", i), "--email", fmt.Sprintf("n%d@example.org", i))
	}
	add(1)
	c.sees(list, "n1@example.org")
	c.sees(all, "n1@example.org")

	g.to.Store(nil)
	require.NoError(t, service.stop())
	g.server.CloseClientConnections()
	c.sees(said, "The connection is lost")
	service = inside(t, folder)
	t.Cleanup(func() { require.NoError(t, service.stop()) })
	until(t, "it is ready", func() bool {
		var out, err text
		return run(t.Context(), []string{"stats"}, direct().env, output{&out, &err}) == exitOK
	})
	add(2) // while nobody can be watching
	g.open(t, service.url)
	c.sees(all, "n2@example.org")
	c.sees(list, "n2@example.org")
	c.sees(said, "nothing was missed")
	add(3)
	c.sees(all, "n3@example.org")
	c.sees(list, "n3@example.org")
	stopAll()
	stopList()
	var positions, emails []string
	for line := range strings.Lines(all.String()) {
		var f struct {
			Position, Type string
			Data           struct{ Personal struct{ Email string } }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		positions = append(positions, f.Position)
		if f.Type == "ParticipantRegistered" {
			emails = append(emails, f.Data.Personal.Email)
		}
	}
	require.Equal(t, []string{"n1@example.org", "n2@example.org", "n3@example.org"}, emails)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(positions))), len(positions))
	for _, email := range emails {
		require.Equal(t, 1, strings.Count(list.String(), email), list)
	}
	// And from a position that was seen.
	later, _, stop := direct().watching("watch", "--json", "--after", positions[0], "--type", "ParticipantRegistered", "--event", event)
	c.sees(later, "n3@example.org")
	stop()
	require.Equal(t, 2, strings.Count(later.String(), "\n"), later)
}

// Each list's --watch shows what belongs to it.
func TestClientWatchesLists(t *testing.T) {
	c := asking(t)
	event := c.event()
	events, _, stopEvents := c.watching("events", "list", "--watch")
	notifications, _, stopNotifications := c.watching("notifications", "list", "-w")
	processor, _, stopProcessor := c.watching("processor", "status", "-w")
	one, _, stopOne := c.watching("events", "get", event, "-w")
	stats, _, stopStats := c.watching("stats", "-w")
	c.sees(events, event)
	c.sees(stats, "running")
	c.sees(processor, "running")
	c.sees(one, "revision")
	c.sees(notifications, "There are no such notifications.")
	c.does("participants", "add", event, "--user", "ann", "--name", "Ann", "--email", "ann@example.org")
	c.does("announce", event, "--message", "Hear, hear")
	c.sees(notifications, "NotificationSent")
	c.does("processor", "stop")
	c.does("events", "update", event, "--title", "Call changes")
	c.sees(processor, "ProcessorStopped")
	c.sees(events, "EventDetailsChanged")
	c.sees(one, "EventDetailsChanged")
	for _, all := range []string{"ParticipantRegistered", "NotificationSent", "ProcessorStopped", "EventDetailsChanged"} {
		c.sees(stats, all)
	}
	for _, stop := range []func(){stopEvents, stopNotifications, stopProcessor, stopOne, stopStats} {
		stop()
	}
	require.NotContains(t, events.String(), "ParticipantRegistered")
	require.Contains(t, one.String(), "ParticipantRegistered")
}

// Which addresses are sent to is seen and changed by the command line.
func TestSuppressionCommands(t *testing.T) {
	c := asking(t)
	require.Contains(t, c.does("suppressions", "list"), "There are no such addresses.")
	require.Regexp(t, `suppressed +no\n`, c.does("suppressions", "lookup", "email", "ann@example.org"))
	require.Regexp(t, `suppressed +yes\nreason +by_hand\n`, c.does("suppressions", "add", "email", "Ann@Example.org", "--key", "k"))
	c.ends(cli.ExitRefused, "suppressions", "add", "email", "bob@example.org", "--key", "k")
	id := strings.TrimSpace(c.does("suppressions", "add", "phone", "+43 1 234 5678", "-q"))
	require.Regexp(t, `suppressed +yes\nreason +by_hand\nsince +\d`, c.does("suppressions", "lookup", "email", "ann@example.org"))
	shown := c.does("suppressions", "list", "--kind", "phone")
	require.Contains(t, shown, id)
	require.Contains(t, shown, "by_hand")
	require.NotContains(t, shown, "2345678")
	require.Len(t, strings.Fields(c.does("suppressions", "list", "-q")), 2)
	require.Regexp(t, `suppressed +no\n`, c.does("suppressions", "release", "phone", "+4312345678"))
	require.NotContains(t, c.does("suppressions", "list"), id)
}
