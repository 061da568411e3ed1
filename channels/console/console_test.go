package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writer is an io.Writer that does as it is told.
type writer struct {
	mu     sync.Mutex
	writes []string
	next   func(p []byte) (int, error) // nil: all is well
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	next := w.next
	w.mu.Unlock()
	n, err := len(p), error(nil)
	if next != nil {
		n, err = next(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > 0 {
		w.writes = append(w.writes, string(p[:n]))
	}
	return n, err
}

func (w *writer) then(next func(p []byte) (int, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
}

func (w *writer) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

func TestContract(t *testing.T) {
	channeltest.Run(t, channeltest.Subject{
		To: "zebulon@example.org",
		New: func(t *testing.T) channeltest.Rig {
			w := &writer{}
			return channeltest.Rig{
				Channel: console.New(w),
				Sent: func() (sent []channeltest.Sent) {
					for _, line := range w.all() {
						sent = append(sent, read(t, line))
					}
					return sent
				},
				Refuse: func(reason string) {
					w.then(func([]byte) (int, error) { return 0, errors.New(reason) })
				},
				Stall: func() <-chan struct{} {
					arrived, end := make(chan struct{}), make(chan struct{})
					w.then(func([]byte) (int, error) {
						close(arrived)
						<-end
						return 0, io.ErrClosedPipe
					})
					t.Cleanup(func() { close(end) })
					return arrived
				},
			}
		},
	})
}

// read reads one write as a consumer of the lines does.
func read(t *testing.T, write string) channeltest.Sent {
	t.Helper()
	line, ended := strings.CutSuffix(write, "\n")
	require.True(t, ended, "%q", write)
	unsafe := func(r rune) bool { return !unicode.IsPrint(r) }
	require.False(t, strings.ContainsFunc(line, unsafe), "%q", line)

	var keys map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &keys))
	require.Len(t, keys, 5)
	var fields struct {
		ID      *string `json:"notification_id"`
		Channel *string `json:"channel"`
		To      *string `json:"to"`
		Attempt *int    `json:"attempt"`
		Message *string `json:"message"`
	}
	require.NoError(t, json.Unmarshal([]byte(line), &fields))
	require.NotNil(t, fields.Channel)
	require.NotNil(t, fields.To)
	require.NotNil(t, fields.Attempt)
	return channeltest.Sent{ID: *fields.ID, Text: *fields.Message}
}

func message() channels.Message {
	return channels.Message{
		ID: "b1c5", Channel: "email", Attempt: 2, To: "ann@example.org", Name: "Ann", Subject: "Choir",
		Text: "Choir at six & <later>", Expires: time.Now().Add(time.Hour),
	}
}

func TestALine(t *testing.T) {
	for to, masked := range map[string]string{
		"ann@example.org":                     "a***@example.org",
		"+1234567890":                         "+12*****90",
		"dGhpcyBpcyBhIHRva2Vu":                "dGhp…",
		"https://ann:secret@push.example.org": "http…",
		"?":                                   "***",
	} {
		var out bytes.Buffer
		m := message()
		m.To = to
		result := console.New(&out).Send(t.Context(), m)
		require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "console-b1c5-2"}, result)
		require.Equal(t, `{"notification_id":"b1c5","channel":"email","to":"`+masked+
			`","attempt":2,"message":"Choir at six & <later>"}`+"\n", out.String())
	}
}

func TestExpiryIsInclusive(t *testing.T) {
	var out bytes.Buffer
	c, m := console.New(&out), message()
	c.Now = func() time.Time { return m.Expires }
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
	c.Now = func() time.Time { return m.Expires.Add(1) }
	require.Equal(t, channels.Rejected, c.Send(t.Context(), m).Outcome)
}

func TestAFailedWrite(t *testing.T) {
	failed := errors.New("disk full")
	for name, tt := range map[string]struct {
		write func(p []byte) (int, error)
		want  channels.Outcome
	}{
		"nothing was written":             {func([]byte) (int, error) { return 0, failed }, channels.Later},
		"a part was written":              {func([]byte) (int, error) { return 7, failed }, channels.Unknown},
		"all was written, and yet failed": {func(p []byte) (int, error) { return len(p), failed }, channels.Unknown},
		"a part without an error":         {func([]byte) (int, error) { return 7, nil }, channels.Unknown},
		"the file is closed":              {closedFile(t).Write, channels.Later},
	} {
		t.Run(name, func(t *testing.T) {
			w := &writer{next: tt.write}
			c := console.New(w)
			result := c.Send(t.Context(), message())
			require.Equal(t, tt.want, result.Outcome)
			require.NotContains(t, result.Detail, failed.Error())

			w.then(nil)
			require.Equal(t, channels.Accepted, c.Send(t.Context(), message()).Outcome)
			lines := strings.Split(strings.TrimSuffix(strings.Join(w.all(), ""), "\n"), "\n")
			read(t, lines[len(lines)-1]+"\n") // a line that was cut short spoils no other
		})
	}
}

func closedFile(t *testing.T) *os.File {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return f
}

func TestABlockedWriterHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := &writer{next: func(p []byte) (int, error) {
			<-release
			return len(p), nil
		}}
		c := console.New(w)
		limited := func() channels.Result {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return c.Send(ctx, message())
		}
		begun := time.Now()
		require.Equal(t, channels.Unknown, limited().Outcome, "it may yet be written")
		require.Equal(t, channels.Later, limited().Outcome, "it never had its turn")
		require.Equal(t, 2*time.Second, time.Since(begun))

		close(release)
		require.Equal(t, channels.Accepted, limited().Outcome)
		require.Len(t, w.all(), 2)
	})
}
