package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/freeport"
)

// exim is a mail server by others that relays what it is given to a server far
// away, and pipes what comes back into 'belltower bounce'.
const exim = `
exim_path = %[1]s
primary_hostname = mx.sender.example
spool_directory = %[2]s
log_file_path = %[2]s/%%slog
pid_file_path = %[2]s/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[3]s
acl_smtp_rcpt = accept
tls_advertise_hosts =
dsn_advertise_hosts = *
never_users =
deliver_drop_privilege = true
begin routers
far:
  driver = manualroute
  domains = far.example
  route_list = * 127.0.0.1
  self = send
  transport = far
back:
  driver = accept
  domains = back.example
  local_parts = bounces
  local_part_suffix = +*
  transport = belltower
begin transports
far:
  driver = smtp
  port = %[4]s
  allow_localhost
belltower:
  driver = pipe
  command = %[5]s bounce --url %[6]s
  temp_errors = 75
  return_fail_output
  log_output
begin retry
* * F,1h,1m
`

// startExim starts Exim, and gives its address and folder.
func startExim(t *testing.T, far, service string) (address, folder string) {
	t.Helper()
	path, err := exec.LookPath("exim4")
	if err != nil {
		t.Skip("exim4 is not installed; .ci/run mail brings it")
	}
	as, err := user.Lookup("Debian-exim")
	if err != nil || os.Getuid() != 0 {
		t.Skip("Exim needs root and a user Debian-exim; .ci/run mail makes one")
	}
	path, err = filepath.EvalSymlinks(path)
	require.NoError(t, err)
	uid, err := strconv.Atoi(as.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(as.Gid)
	require.NoError(t, err)
	// Exim isn't root when it delivers, so that it needs a binary that all may run.
	home, err := os.MkdirTemp("", "exim") //nolint:usetesting // nobody else may go into t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
	require.NoError(t, os.Chmod(home, 0o755))
	binary := filepath.Join(home, "belltower")
	data, err := os.ReadFile(built(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, data, 0o755))
	folder = filepath.Join(home, "spool")
	require.NoError(t, os.Mkdir(folder, 0o750))
	require.NoError(t, os.Chown(folder, uid, gid))
	address = freeport.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	_, farPort, err := net.SplitHostPort(far)
	require.NoError(t, err)
	config := filepath.Join(home, "exim.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, exim, path, folder, port, farPort, binary, service), 0o644))
	cmd := exec.Command(path, "-C", config, "-bdf")
	var said text
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			for _, name := range []string{"mainlog", "paniclog"} {
				log, _ := os.ReadFile(filepath.Join(folder, name))
				t.Logf("%s:\n%s", name, log)
			}
			t.Log(said.String())
		}
	})
	until(t, "Exim answers", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address, folder
}

// nobody is a mail server that has nobody of that name.
type nobody struct{}

func (nobody) Reset()                               {}
func (nobody) Logout() error                        { return nil }
func (nobody) Mail(string, *smtp.MailOptions) error { return nil }
func (nobody) Data(io.Reader) error                 { return nil }
func (nobody) Rcpt(string, *smtp.RcptOptions) error {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody of that name"}
}

// What a mail server on the way can't deliver comes back, and tells which
// notification it was and that the address is dead.
func TestMailThatComesBack(t *testing.T) {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return nobody{}, nil }))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	defer func() {
		_ = server.Close()
		_ = listener.Close() // which the server may not have taken yet
		<-ended
	}()
	var (
		mu      sync.Mutex
		service = "" // where the service is, which needs Exim's address to start
		back    []byte
	)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		back, _ = io.ReadAll(r.Body)
		answer, err := http.Post(service+r.URL.Path, r.Header.Get("Content-Type"), bytes.NewReader(back))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
	}))
	defer between.Close()
	relay, _ := startExim(t, listener.Addr().String(), between.URL)

	folder := filepath.Join(t.TempDir(), "data")
	p := serving(t, folder, "BELLTOWER_SMTP=smtp://"+relay, "BELLTOWER_SMTP_TLS=none", "BELLTOWER_SMTP_FROM=choir@sender.example", "BELLTOWER_SMTP_BOUNCE_ADDRESS=bounces@back.example")
	mu.Lock()
	service = p.url
	mu.Unlock()
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil)).text("id")
	p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, object{"email": "ann@far.example"}))
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Hear, hear"})
	until(t, "it comes back", func() bool {
		all := p.does(t, 200, "GET", "/v1/notifications", nil).items()
		return len(all) == 1 && all[0].text("status") == "FAILED"
	})
	n := p.does(t, 200, "GET", "/v1/notifications/"+p.does(t, 200, "GET", "/v1/notifications", nil).items()[0].text("id"), nil)
	require.Equal(t, "email: the mail came back with 550 5.1.1, says mx.sender.example", n.text("last_error"))
	found := p.does(t, 200, "POST", "/v1/suppressions/lookup", object{"kind": "email", "address": "ann@far.example"})
	require.Equal(t, "gone", found.text("reason"))
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, string(back), "Original-Envelope-ID: ")
	require.NotContains(t, string(back), "Hear, hear", "RET=HDRS")
}
