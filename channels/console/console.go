// Package console carries messages nowhere: it writes each as a line of JSON, for
// development, demonstrations and tests.
package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/belltower/belltower/channels"
)

// Channel writes messages to one writer. Its methods may be called concurrently;
// one Channel may be registered under several names and kinds of address, so that
// their lines don't mix.
type Channel struct {
	// Now is the clock that messages expire by; New sets time.Now. It is set
	// before the first Send.
	Now func() time.Time

	w io.Writer
	// turn holds a token for whoever writes next. A mutex would make those who
	// wait deaf to their contexts.
	turn   chan struct{}
	broken bool // the last line was cut short; guarded by turn
}

// New makes a channel that writes to w, one Write call for each message. Nothing
// else may write to w in the middle of a line.
func New(w io.Writer) *Channel {
	return &Channel{Now: time.Now, w: w, turn: make(chan struct{}, 1)}
}

// line is one message as it is written. These names are part of the HTTP contract.
type line struct {
	NotificationID string `json:"notification_id"`
	Channel        string `json:"channel"`
	To             string `json:"to"`
	Attempt        int    `json:"attempt"`
	Message        string `json:"message"`
}

// Check refuses a message without an address.
func (c *Channel) Check(m channels.Message) error {
	if strings.TrimSpace(m.To) == "" {
		return errors.New("console: the message has no address")
	}
	return nil
}

// Send writes one line. It is Later when nothing of the line was written, and
// Unknown when it may have been: a part was, or ctx ended during the write.
//
// A writer can't be interrupted, so a Write that blocks goes on in the background
// after Send has returned; the line may still appear. It keeps its turn, and every
// Send after it is Later until it ends, so there is never more than one.
func (c *Channel) Send(ctx context.Context, m channels.Message) channels.Result {
	if err := c.Check(m); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "no_address", Detail: err.Error()}
	}
	if c.Now().After(m.Expires) {
		return channels.Result{Outcome: channels.Rejected, Code: "expired", Detail: "console: the message has expired"}
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return notWritten
	}
	if ctx.Err() != nil { // select chooses at random when both are ready
		<-c.turn
		return notWritten
	}
	written := make(chan channels.Result, 1)
	go func() {
		defer func() { <-c.turn }()
		written <- c.write(m)
	}()
	select {
	case result := <-written:
		return result
	case <-ctx.Done():
		return channels.Result{Outcome: channels.Unknown, Code: "timeout", Detail: "console: the writer has not taken the line in time"}
	}
}

var notWritten = channels.Result{Outcome: channels.Later, Code: "timeout", Detail: "console: the writer was busy for too long"}

// write is called by whoever has the turn. The writer's error is not passed on:
// it may quote what it was given.
func (c *Channel) write(m channels.Message) channels.Result {
	text := encode(m)
	if c.broken {
		text = append([]byte{'\n'}, text...) // ends the line that was cut short
	}
	n, err := c.w.Write(text)
	switch {
	case err == nil && n == len(text):
		c.broken = false
		return channels.Result{Outcome: channels.Accepted, Ref: fmt.Sprintf("console-%s-%d", m.ID, m.Attempt)}
	case n <= 0:
		return channels.Result{Outcome: channels.Later, Code: "write_failed", Detail: "console: the line could not be written"}
	}
	c.broken = true
	return channels.Result{Outcome: channels.Unknown, Code: "write_failed", Detail: "console: the line may not be whole"}
}

// encode makes the line. encoding/json escapes what would break it; what a
// terminal would obey or hide (DEL, C1 controls, direction marks) is escaped too.
func encode(m channels.Message) []byte {
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false) // people read this
	// Strings and numbers into memory: nothing here can fail.
	_ = enc.Encode(line{m.ID, m.Channel, channels.Mask(kind(m.To), m.To), m.Attempt, m.Text})
	var text []byte
	for _, r := range strings.TrimSuffix(plain.String(), "\n") {
		switch {
		case unicode.IsPrint(r):
			text = utf8.AppendRune(text, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			text = fmt.Appendf(text, `\u%04x\u%04x`, high, low)
		default:
			text = fmt.Appendf(text, `\u%04x`, r)
		}
	}
	return append(text, '\n')
}

// kind guesses what an address is, as one Channel serves all kinds. A wrong guess
// shows no more of it than masking that kind would.
func kind(to string) channels.Kind {
	switch {
	case strings.HasPrefix(to, "+"):
		return channels.Phone
	case strings.Count(to, "@") == 1 && !strings.ContainsAny(to, ":/ "):
		return channels.Email
	}
	return channels.Push
}
