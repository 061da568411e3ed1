package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOneServeForAFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	first := serving(t, folder)
	made := first.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	code, out, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=another"}, "serve", "--listen", "127.0.0.1:0", "--data", folder)
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, folder)
	require.Contains(t, said, "in use by another belltower")
	require.Empty(t, out)
	first.does(t, 200, "GET", "/v1/events/"+made.text("id"), nil)
	first.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	first.finish(t, syscall.SIGTERM)
	// Nor does one that was killed leave its lock behind.
	first = serving(t, folder)
	first.kill(t)
	serving(t, folder).finish(t, syscall.SIGTERM)
}

// slow is a request whose body comes in two parts.
type slow struct {
	t    *testing.T
	conn net.Conn
	rest string
}

func slowly(t *testing.T, p *process, path string) *slow {
	body := fmt.Sprintf(`{"title": "Slow", "description": "Its body comes in two parts", "start_time": %q, "end_time": %q}`,
		at(time.Now().Add(far)), at(time.Now().Add(far+time.Hour)))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, testAdmin, len(body), body[:20])
	require.NoError(t, err)
	return &slow{t, conn, body[20:]}
}

// end sends the rest and reads the answer.
func (s *slow) end() int {
	_, err := s.conn.Write([]byte(s.rest))
	require.NoError(s.t, err)
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(patience)))
	answer, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	return answer.StatusCode
}

// A request that has begun when the signal comes is answered, and what it asked for is kept.
func TestSignalsDrainRequests(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(s.String(), func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			p := serving(t, folder)
			request := slowly(t, p, "/v1/events")
			until(t, "the request has come", func() bool { return requestsInFlight(t, p) == 2 }) // the look is one itself
			require.NoError(t, p.cmd.Process.Signal(s))
			p.says(t, &p.err, "stopping")
			until(t, "nobody else is let in", func() bool {
				conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
				if err == nil {
					_ = conn.Close()
				}
				return err != nil
			})
			require.Equal(t, 201, request.end())
			require.Equal(t, exitOK, p.exit(t), &p.err)
			require.NotContains(t, p.err.String(), "level=ERROR")
			p = serving(t, folder)
			until(t, "it is there again", func() bool { return len(p.does(t, 200, "GET", "/v1/events?q=slow", nil).items()) == 1 })
		})
	}
}

// requestsInFlight reads how many requests are being answered.
func requestsInFlight(t *testing.T, p *process) (n int) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/metrics", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+testAdmin)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "belltower_http_requests_in_flight %d", &n); err == nil {
			return n
		}
	}
	require.Fail(t, "no such figure")
	return 0
}

// unread is a service whose standard output nobody reads, and an event on it
// with ten participants.
func unread(t *testing.T, folder string) (p *process, out *os.File, path string) {
	out, in, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	p = launch(t, launchOptions{
		args: []string{"serve", "--listen", "127.0.0.1:0", "--data", folder}, env: []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, stdout: in,
	})
	require.NoError(t, in.Close())
	begun := bufio.NewReader(out) // nothing follows what serve says at its start
	for said := ""; !strings.Contains(said, "delivers to nobody"); {
		line, err := begun.ReadString('\n')
		require.NoError(t, err)
		if said += line; p.url == "" {
			p.url = field(said, "address")
		}
	}
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	path = "/v1/events/" + event.text("id")
	for i := range 10 {
		p.does(t, 201, "POST", path+"/participants", aPerson(i, nil))
	}
	return p, out, path
}

// announceMuch has more sent than a pipe holds.
func announceMuch(t *testing.T, p *process, path string) {
	p.does(t, 202, "POST", path+"/announcements", object{"message": strings.Repeat("Ding dong. ", 900)})
}

// Whoever never ends a request is cut off, and the service stops as asked.
func TestAClientThatStallsHoldsUpNoStop(t *testing.T) {
	s := settings{listen: "127.0.0.1:0", data: filepath.Join(t.TempDir(), "data"), store: "embedded", readModels: "sqlite", adminToken: "token"}
	var logs text
	service, err := start(t.Context(), s, io.Discard, slog.New(slog.NewTextHandler(&logs, nil)))
	require.NoError(t, err)
	service.drain = 10 * time.Millisecond
	conn, err := net.Dial("tcp", strings.TrimPrefix(service.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n') // once the body is being read
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	require.NoError(t, service.stop())
	require.Contains(t, logs.String(), "cut off")
}

// untilBlocked waits until a send is in the middle of its line.
func untilBlocked(t *testing.T, p *process, path string) {
	until(t, "a send waits for its reader", func() bool {
		statuses := map[string]int{}
		for _, n := range p.does(t, 200, "GET", path+"/notifications", nil).items() {
			statuses[n.text("status")]++
		}
		return statuses["SENT"] >= 4 && statuses["SENDING"] == 10-statuses["SENT"]
	})
}

func blocked(t *testing.T, folder string) (p *process, out *os.File, path string) {
	p, out, path = unread(t, folder)
	announceMuch(t, p, path)
	untilBlocked(t, p, path)
	return p, out, path
}

// A send that has begun when the signal comes is finished, and its outcome kept.
func TestSignalDrainsSends(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	p, out, path := blocked(t, folder)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.says(t, &p.err, "stopping")
	select {
	case <-p.ended:
		require.Fail(t, "it did not wait for what is in flight")
	default:
	}
	var all text
	read := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(out).WriteTo(&all)
		read <- err
	}()
	require.Equal(t, exitOK, p.exit(t), &p.err)
	require.NoError(t, <-read)
	lines := sentLines(t, all.String())
	require.NotContains(t, p.err.String(), "level=ERROR")

	again := serving(t, folder)
	until(t, "all are sent", func() bool {
		return len(again.does(t, 200, "GET", path+"/notifications?status=SENT", nil).items()) == 10
	})
	again.finish(t, syscall.SIGTERM)
	lines = append(lines, sentLines(t, again.out.String())...)
	attempts := map[string]int{}
	for _, l := range lines {
		attempts[l.NotificationID]++
		require.Equal(t, 1, l.Attempt)
	}
	require.Len(t, attempts, 10)
	require.Len(t, lines, 10, "each once")
}

// Who asks a second time doesn't want to wait.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	p, _, _ := blocked(t, filepath.Join(t.TempDir(), "data"))
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	p.says(t, &p.err, "stopping")
	until(t, "it has ended", func() bool {
		_ = p.cmd.Process.Signal(os.Interrupt)
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	require.Equal(t, -1, p.exit(t), "a signal ended it")
}

// send-due that is under way when the signal comes is answered too.
func TestSignalAnswersSendDue(t *testing.T) {
	p, out, path := unread(t, filepath.Join(t.TempDir(), "data"))
	p.does(t, 200, "POST", "/v1/processor/stop", nil)
	announceMuch(t, p, path)
	type outcome struct {
		got reply
		err error
	}
	answered := make(chan outcome, 1)
	go func() {
		got, err := p.client().ask(t.Context(), "POST", "/v1/notifications/send-due", "", nil)
		answered <- outcome{got, err}
	}()
	untilBlocked(t, p, path)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.says(t, &p.err, "stopping")
	go func() { _, _ = bufio.NewReader(out).WriteTo(new(text)) }()
	o := <-answered
	require.NoError(t, o.err)
	require.Equal(t, 200, o.got.status, o.got.body)
	require.Equal(t, exitOK, p.exit(t), &p.err)
}

// A stop survives a restart: planning goes on, sending doesn't.
func TestStopSurvivesRestart(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	p := serving(t, folder)
	p.does(t, 200, "POST", "/v1/processor/start", object{"check_interval_seconds": 7})
	p.does(t, 200, "POST", "/v1/processor/stop", nil)
	p.finish(t, syscall.SIGTERM)
	p = serving(t, folder)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	path := "/v1/events/" + event.text("id")
	p.does(t, 201, "POST", path+"/participants", aPerson(1, nil))
	p.does(t, 202, "POST", path+"/announcements", object{"message": "Hear, hear"})
	until(t, "it is planned", func() bool { return len(p.does(t, 200, "GET", path+"/notifications?status=READY", nil).items()) == 1 })
	p.kill(t)
	require.Empty(t, sentLines(t, p.out.String()))
	p = serving(t, folder)
	p.ready(t)
	until(t, "the planner is there too", func() bool { return p.does(t, 200, "GET", "/v1/processor", nil).number("due") == 1 })
	processor := p.does(t, 200, "GET", "/v1/processor", nil)
	require.Equal(t, "stopped", processor.text("state"))
	require.Equal(t, 7, processor.number("check_interval_seconds"))
	require.Equal(t, 1, processor.number("due"))
	p.does(t, 200, "POST", "/v1/processor/start", nil)
	until(t, "it is sent", func() bool { return len(p.does(t, 200, "GET", path+"/notifications?status=SENT", nil).items()) == 1 })
	p.finish(t, syscall.SIGTERM)
	require.Len(t, sentLines(t, p.out.String()), 1)
}
