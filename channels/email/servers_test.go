package email_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto/x509"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// These tests read mails back from servers that others wrote. .ci/run brings them.

// needs skips the test where a command isn't there.
func needs(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("%s is not installed; .ci/run mail brings it", command)
		}
	}
}

// started runs a command until the test ends, and waits until its ports answer.
func started(t *testing.T, ports []int, name string, args ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.Now().Add(2 * time.Minute)
	for _, port := range ports {
		for {
			conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err == nil {
				require.NoError(t, conn.Close())
				break
			}
			select {
			case <-ended:
				require.FailNow(t, name+" ended", said.String())
			case <-time.After(20 * time.Millisecond):
			}
			require.True(t, time.Now().Before(deadline), "%s does not answer", name)
		}
	}
}

// mailpit is a server whose mails are read over HTTP.
type mailpit struct {
	t    *testing.T
	url  string
	smtp int
}

func startMailpit(t *testing.T) mailpit {
	needs(t, "mailpit")
	smtp, web := closedPort(t), closedPort(t)
	started(t, []int{smtp, web}, "mailpit", "--listen", fmt.Sprintf("127.0.0.1:%d", web), "--smtp", fmt.Sprintf("127.0.0.1:%d", smtp),
		"--disable-version-check", "--enable-chaos", "--database", filepath.Join(t.TempDir(), "mailpit.db"))
	return mailpit{t, fmt.Sprintf("http://127.0.0.1:%d", web), smtp}
}

// ask does a request and reads the JSON that comes.
func (m mailpit) ask(method, path, body string, into any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, strings.NewReader(body))
	require.NoError(m.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(m.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(m.t, err)
	require.Equal(m.t, http.StatusOK, resp.StatusCode, "%s", data)
	if into != nil {
		require.NoError(m.t, json.Unmarshal(data, into))
	}
}

func (m mailpit) channel() *email.Channel {
	c, err := email.New(email.Options{
		Host: "127.0.0.1", Port: m.smtp, Security: email.Plaintext, From: mail.Address{Name: "Belltower", Address: "bells@sender.example"},
	})
	require.NoError(m.t, err)
	return c
}

func TestMailpit(t *testing.T) {
	server := startMailpit(t)
	m := message()
	result := server.channel().Send(t.Context(), m)
	require.Equal(t, channels.Accepted, result.Outcome, result.Detail)

	var got struct {
		MessageID       string
		From            struct{ Name, Address string }
		To              []struct{ Name, Address string }
		Cc, Bcc         []any
		Subject         string
		Date            time.Time
		Text, HTML      string
		Attachments     []struct{ PartID, FileName, ContentType string }
		ListUnsubscribe struct {
			Links      []string
			Errors     string
			HeaderPost string
		}
	}
	server.ask("GET", "/api/v1/message/latest", "", &got)
	require.Equal(t, m.ID+"@sender.example", got.MessageID)
	require.Equal(t, "bells@sender.example", got.From.Address)
	require.Len(t, got.To, 1)
	require.Equal(t, "Ann Ünver", got.To[0].Name)
	require.Equal(t, m.To, got.To[0].Address)
	require.Empty(t, got.Cc)
	require.Empty(t, got.Bcc)
	require.Equal(t, m.Subject, got.Subject)
	require.True(t, m.Due.Equal(got.Date), got.Date)
	require.Contains(t, strings.ReplaceAll(got.Text, "\r\n", "\n"), m.Text)
	require.Contains(t, got.HTML, "starts in 2 hours &lt;&amp;&gt;")
	require.Equal(t, []string{m.OptOut}, got.ListUnsubscribe.Links)
	require.Empty(t, got.ListUnsubscribe.Errors)
	require.Equal(t, "List-Unsubscribe=One-Click", got.ListUnsubscribe.HeaderPost)
	require.Len(t, got.Attachments, 1)
	require.Equal(t, "event.ics", got.Attachments[0].FileName)
	require.Equal(t, "text/calendar", got.Attachments[0].ContentType)
}

// Mailpit refuses on request, at each stage.
func TestMailpitsChaos(t *testing.T) {
	server := startMailpit(t)
	for _, row := range []struct {
		trigger string
		code    int
		want    channels.Outcome
	}{
		{"Sender", 451, channels.Later}, {"Sender", 550, channels.Broken},
		{"Recipient", 451, channels.Later}, {"Recipient", 550, channels.Rejected}, {"Recipient", 553, channels.Gone},
	} {
		server.ask("PUT", "/api/v1/chaos", fmt.Sprintf(`{%q: {"ErrorCode": %d, "Probability": 100}}`, row.trigger, row.code), nil)
		result := server.channel().Send(t.Context(), message())
		require.Equal(t, row.want, result.Outcome, "%s %d: %s", row.trigger, row.code, result.Detail)
		require.True(t, strings.HasPrefix(result.Code, strconv.Itoa(row.code)), result.Code)
	}
	server.ask("PUT", "/api/v1/chaos", `{}`, nil)
	require.Equal(t, channels.Accepted, server.channel().Send(t.Context(), message()).Outcome)
}

func TestPostfixSink(t *testing.T) {
	needs(t, "smtp-sink")
	for name, row := range map[string]struct {
		args []string
		want channels.Outcome
		code string
	}{
		"taken":                        {nil, channels.Accepted, ""},
		"not now":                      {[]string{"-r", "rcpt"}, channels.Later, "450 4.3.0"},
		"not this recipient":           {[]string{"-f", "rcpt"}, channels.Rejected, "500 5.3.0"},
		"not now, having read it":      {[]string{"-r", "."}, channels.Later, "450 4.3.0"},
		"never, having read it":        {[]string{"-f", "."}, channels.Rejected, "500 5.3.0"},
		"gone at the sender":           {[]string{"-q", "mail"}, channels.Later, "connection_lost"},
		"gone at the recipient":        {[]string{"-q", "rcpt"}, channels.Later, "connection_lost"},
		"gone before the mail":         {[]string{"-q", "data"}, channels.Later, "connection_lost"},
		"gone once it has the mail":    {[]string{"-q", "."}, channels.Unknown, "no_answer"},
		"taken, and gone at goodbye":   {[]string{"-q", "quit"}, channels.Accepted, ""},
		"without any extension":        {[]string{"-e"}, channels.Accepted, ""},
		"without extended status code": {[]string{"-E", "-r", "rcpt"}, channels.Later, "450 4.3.0"},
	} {
		t.Run(name, func(t *testing.T) {
			port := closedPort(t)
			args := row.args
			if os.Getuid() == 0 {
				args = append([]string{"-u", "nobody"}, args...)
			}
			started(t, []int{port}, "smtp-sink", append(args, fmt.Sprintf("127.0.0.1:%d", port), "16")...)
			c, err := email.New(email.Options{
				Host: "127.0.0.1", Port: port, Security: email.Plaintext, From: mail.Address{Address: "bells@sender.example"},
			})
			require.NoError(t, err)
			result := c.Send(t.Context(), message())
			require.Equal(t, row.want, result.Outcome, result.Detail)
			require.Equal(t, row.code, result.Code)
		})
	}
}

// A sink that waits before each answer longer than we do.
func TestPostfixSinkThatIsSlow(t *testing.T) {
	needs(t, "smtp-sink")
	port := closedPort(t)
	args := []string{"-w", "3600", fmt.Sprintf("127.0.0.1:%d", port), "16"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	started(t, []int{port}, "smtp-sink", args...)
	c, err := email.New(email.Options{Host: "127.0.0.1", Port: port, Security: email.Plaintext, From: mail.Address{Address: "bells@sender.example"}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	result := c.Send(ctx, message())
	require.Contains(t, []channels.Outcome{channels.Later, channels.Unknown}, result.Outcome, "-w delays the answer to the mail")
	require.Error(t, ctx.Err())
}

// chasquid insists on encryption and a password, and delivers into files.
func TestChasquid(t *testing.T) {
	needs(t, "chasquid", "chasquid-util")
	certificate, pool := certify(t, "localhost")
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	write("certs/localhost/fullchain.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})), 0o600)
	write("certs/localhost/privkey.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), 0o600)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "domains", "bells.test"), 0o700))
	inbox := filepath.Join(dir, "inbox")
	agent := write("deliver", "#!/bin/sh\ncat >"+inbox+".new && mv "+inbox+".new "+inbox+"\n", 0o700)
	smtp, submission, secured := closedPort(t), closedPort(t), closedPort(t)
	write("chasquid.conf", fmt.Sprintf("hostname: \"localhost\"\nsmtp_address: \"127.0.0.1:%d\"\nsubmission_address: \"127.0.0.1:%d\"\n"+
		"submission_over_tls_address: \"127.0.0.1:%d\"\nmail_delivery_agent_bin: %q\nmail_delivery_agent_args: \"%%to_user%%\"\n"+
		"data_dir: %q\nmail_log_path: \"<stderr>\"\n", smtp, submission, secured, agent, filepath.Join(dir, "data")), 0o600)
	for _, user := range []string{"bells@bells.test", "ann@bells.test"} {
		out, err := exec.Command("chasquid-util", "--configdir="+dir, "user-add", user, "--password="+password).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	started(t, []int{smtp, submission, secured}, "chasquid", "-config_dir", dir)

	send := func(change func(*email.Options), to string) channels.Result {
		o := email.Options{
			Host: "localhost", Port: submission, Security: email.STARTTLS, RootCAs: pool, Username: "bells@bells.test", Password: password,
			From: mail.Address{Name: "Belltower", Address: "bells@bells.test"},
		}
		change(&o)
		c, err := email.New(o)
		require.NoError(t, err)
		m := message()
		m.To = to
		return c.Send(t.Context(), m)
	}
	received := func() read {
		var data []byte
		require.Eventually(t, func() bool {
			var err error
			data, err = os.ReadFile(inbox)
			return err == nil
		}, 2*time.Minute, 20*time.Millisecond)
		require.NoError(t, os.Remove(inbox))
		// What comes before our first header is chasquid's own.
		_, data, _ = bytes.Cut(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\nAuto-Submitted:"))
		return parse(t, bytes.ReplaceAll(append([]byte("Auto-Submitted:"), data...), []byte("\n"), []byte("\r\n")))
	}
	for name, change := range map[string]func(*email.Options){
		"STARTTLS":     func(*email.Options) {},
		"implicit TLS": func(o *email.Options) { o.Port, o.Security = secured, email.ImplicitTLS },
	} {
		result := send(change, "ann@bells.test")
		require.Equal(t, channels.Accepted, result.Outcome, "%s: %s", name, result.Detail)
		r := received()
		require.Equal(t, message().Subject, r.subject)
		require.Equal(t, "<"+message().ID+"@bells.test>", r.header.Get("Message-Id"))
		require.Contains(t, r.calendar, "BEGIN:VEVENT")
	}
	for name, row := range map[string]struct {
		change func(*email.Options)
		to     string
		want   channels.Outcome
		code   string
	}{
		"a wrong password":     {func(o *email.Options) { o.Password = "wrong" }, "ann@bells.test", channels.Broken, "535 5.7.8"},
		"no password":          {func(o *email.Options) { o.Username = "" }, "ann@bells.test", channels.Broken, "550 5.7.9"},
		"an unknown authority": {func(o *email.Options) { o.RootCAs = x509.NewCertPool() }, "ann@bells.test", channels.Broken, "certificate"},
		"not encrypted":        {func(o *email.Options) { o.Security = email.Plaintext }, "ann@bells.test", channels.Broken, "setup"},
		"nobody there":         {func(*email.Options) {}, "nobody@bells.test", channels.Gone, "550 5.1.1"},
	} {
		result := send(row.change, row.to)
		require.Equal(t, row.want, result.Outcome, "%s: %s", name, result.Detail)
		require.Equal(t, row.code, result.Code, name)
	}
}
