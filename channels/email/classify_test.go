package email_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/email"
)

// failing lets one command of a transaction fail, and gives the outcome.
func failing(t *testing.T, command string, do func(*smtp.Conn) error) channels.Result {
	t.Helper()
	s := serve(t, false)
	s.at(command, do)
	result := s.channel(t, login).Send(t.Context(), message())
	require.Empty(t, s.taken())
	return result
}

// The table that all channels' senders are held to, read where it stands.
func TestClassesOfTheTable(t *testing.T) {
	rows := 0
	for _, row := range channeltest.Classes(t, "smtp") {
		rows++
		number, _ := row.When["code"].(float64)
		code, enhanced, stage := int(number), row.Text("enhanced"), row.Text("stage")
		t.Run(strings.TrimSpace(fmt.Sprint(code, " ", enhanced, " ", stage)), func(t *testing.T) {
			for _, at := range stages(stage) {
				var result channels.Result
				switch code {
				case 250:
					result = serve(t, false).channel(t).Send(t.Context(), message())
				case 0:
					result = failing(t, at, cut)
				default:
					result = failing(t, at, answer(code, enhancedCode(t, enhanced), "said the server"))
					require.Equal(t, strings.TrimSpace(strconv.Itoa(code)+" "+enhanced), result.Code)
				}
				require.Equal(t, row.Outcome, result.Outcome, "%s: %s", at, result.Detail)
			}
		})
	}
	require.Greater(t, rows, 15)
}

// stages are the commands that a row of the table is about.
func stages(of string) []string {
	switch of {
	case "end of DATA":
		return []string{"END"}
	case "AUTH or STARTTLS":
		return []string{"AUTH"}
	case "dial failed, or connection lost before the final dot":
		return []string{"EHLO", "AUTH", "MAIL", "RCPT"}
	case "connection lost after the final dot, no reply":
		return []string{"END"}
	}
	return []string{"RCPT", "END"}
}

func enhancedCode(t *testing.T, text string) smtp.EnhancedCode {
	t.Helper()
	if text == "" {
		return smtp.NoEnhancedCode
	}
	var code smtp.EnhancedCode
	_, err := fmt.Sscanf(text, "%d.%d.%d", &code[0], &code[1], &code[2])
	require.NoError(t, err)
	return code
}

func TestClasses(t *testing.T) {
	none := smtp.NoEnhancedCode
	for _, row := range []struct {
		at       string
		code     int
		enhanced smtp.EnhancedCode
		want     channels.Outcome
	}{
		{"EHLO", 421, smtp.EnhancedCode{4, 3, 2}, channels.Later},
		{"EHLO", 554, smtp.EnhancedCode{5, 7, 1}, channels.Broken},
		{"AUTH", 535, smtp.EnhancedCode{5, 7, 8}, channels.Broken},
		{"AUTH", 534, smtp.EnhancedCode{5, 7, 9}, channels.Broken},
		{"AUTH", 454, smtp.EnhancedCode{4, 7, 0}, channels.Later},
		{"MAIL", 530, smtp.EnhancedCode{5, 7, 0}, channels.Broken},
		{"MAIL", 550, smtp.EnhancedCode{5, 7, 1}, channels.Broken}, // nobody was named yet
		{"MAIL", 501, none, channels.Broken},
		{"MAIL", 552, none, channels.Rejected},
		{"MAIL", 451, smtp.EnhancedCode{4, 3, 0}, channels.Later},
		{"RCPT", 421, none, channels.Later},
		{"RCPT", 450, smtp.EnhancedCode{4, 2, 1}, channels.Later},
		{"RCPT", 451, smtp.EnhancedCode{4, 7, 1}, channels.Later},
		{"RCPT", 452, smtp.EnhancedCode{4, 5, 3}, channels.Later},
		{"RCPT", 550, smtp.EnhancedCode{5, 1, 1}, channels.Gone},
		{"RCPT", 550, smtp.EnhancedCode{5, 1, 2}, channels.Gone},
		{"RCPT", 550, smtp.EnhancedCode{5, 1, 6}, channels.Gone},
		{"RCPT", 550, smtp.EnhancedCode{5, 1, 10}, channels.Gone},
		{"RCPT", 550, smtp.EnhancedCode{5, 7, 1}, channels.Rejected},
		{"RCPT", 550, none, channels.Rejected},
		{"RCPT", 551, none, channels.Rejected},
		{"RCPT", 552, smtp.EnhancedCode{5, 2, 2}, channels.Later},
		{"RCPT", 553, none, channels.Gone},
		{"RCPT", 553, smtp.EnhancedCode{5, 1, 3}, channels.Gone},
		{"RCPT", 553, smtp.EnhancedCode{5, 7, 1}, channels.Rejected}, // the sender is not ours to use
		{"RCPT", 554, none, channels.Rejected},
		{"RCPT", 530, none, channels.Broken},
		{"END", 452, smtp.EnhancedCode{4, 3, 1}, channels.Later},
		{"END", 550, smtp.EnhancedCode{5, 7, 1}, channels.Rejected},
		{"END", 550, smtp.EnhancedCode{5, 1, 1}, channels.Gone},
		{"END", 552, smtp.EnhancedCode{5, 3, 4}, channels.Rejected},
		{"END", 552, smtp.EnhancedCode{5, 2, 2}, channels.Later},
		{"END", 554, none, channels.Rejected},
	} {
		t.Run(fmt.Sprint(row.at, " ", row.code, " ", row.enhanced), func(t *testing.T) {
			result := failing(t, row.at, answer(row.code, row.enhanced, "said the server"))
			require.Equal(t, row.want, result.Outcome, result.Detail)
			require.True(t, strings.HasPrefix(result.Code, strconv.Itoa(row.code)), result.Code)
			require.NotContains(t, result.Detail, "said the server")
		})
	}
}

// Some servers give a status and don't announce that, and a mail has one recipient:
// where one of several is refused, others would get nothing.
func TestAServerWithoutExtensions(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	asked := make(chan []string, 1)
	go func() {
		var commands []string
		defer func() { asked <- commands }()
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		say := func(line string) { _, _ = fmt.Fprintf(conn, "%s\r\n", line) }
		say("220 old.example")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			commands = append(commands, lines.Text())
			switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
			case "RCPT":
				say("550 5.1.1 nobody of that name")
			case "QUIT":
				say("221 bye")
				return
			default:
				say("250 old.example")
			}
		}
	}()
	s := &server{host: "127.0.0.1", port: listener.Addr().(*net.TCPAddr).Port}
	plainly := func(o *email.Options) { o.Security = email.Plaintext }
	result := s.channel(t, plainly, bouncing).Send(t.Context(), message())
	require.Equal(t, channels.Gone, result.Outcome, result.Detail)
	require.Equal(t, "550 5.1.1", result.Code)
	commands := <-asked
	require.Len(t, commands, 4, commands)
	require.Regexp(t, `^MAIL FROM:<bounces\+[a-z2-7]{42}@back.example>$`, commands[1])
	require.Equal(t, "RCPT TO:<ann@example.org>", commands[2])
}

// A connection that is lost before the end of the mail was sent has taken
// nothing; afterwards nobody knows.
func TestLostConnections(t *testing.T) {
	for at, want := range map[string]channels.Outcome{
		"EHLO": channels.Later, "AUTH": channels.Later, "MAIL": channels.Later, "RCPT": channels.Later, "END": channels.Unknown,
	} {
		t.Run(at, func(t *testing.T) {
			require.Equal(t, want, failing(t, at, cut).Outcome)
		})
	}
}

// A mail whose writing was cut short is never ended, so that nobody takes a
// part for the whole.
func TestACutMailIsNotTaken(t *testing.T) {
	s := serve(t, false)
	reading := make(chan struct{})
	s.at("DATA", func(c *smtp.Conn) error {
		close(reading)
		return cut(c)
	})
	m := message()
	m.Text = strings.Repeat("no buffer takes all of this ", 1<<17)
	result := s.channel(t).Send(t.Context(), m)
	<-reading
	require.Contains(t, []channels.Outcome{channels.Later, channels.Unknown}, result.Outcome)
	require.Empty(t, s.taken())
}

// A server that hangs holds nobody, wherever it does.
func TestHangs(t *testing.T) {
	for at, want := range map[string]channels.Outcome{
		"EHLO": channels.Later, "AUTH": channels.Later, "MAIL": channels.Later, "RCPT": channels.Later, "END": channels.Unknown,
	} {
		t.Run(at, func(t *testing.T) {
			s := serve(t, false)
			arrived, end := make(chan struct{}), make(chan struct{})
			s.at(at, func(*smtp.Conn) error {
				close(arrived)
				<-end
				return errors.New("too late")
			})
			t.Cleanup(func() { close(end) })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			results := make(chan channels.Result, 1)
			c := s.channel(t, login)
			go func() { results <- c.Send(ctx, message()) }()
			<-arrived
			cancel()
			select {
			case result := <-results:
				require.Equal(t, want, result.Outcome)
			case <-time.After(2 * time.Minute):
				require.Fail(t, "Send went on")
			}
			require.Empty(t, s.taken())
		})
	}
}
