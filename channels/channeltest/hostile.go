package channeltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
)

// hostile is what people put into fields to break out of them, or by accident.
var hostile = map[string]string{
	"CR":              "one\rBcc: eve@example.org",
	"LF":              "one\n{\"notification_id\":\"forged\"}",
	"CR LF":           "one\r\n\r\nSubject: two",
	"NUL":             "one\x00two",
	"DEL":             "one\x7ftwo",
	"C1 controls":     "one\u0085two\u009b2Jthree",
	"separators":      "one\u2028two\u2029three",
	"direction":       "one\u202etwo\u2066three",
	"byte order mark": "\ufeffone",
	"escape sequence": "\x1b[2J\x1b]0;owned\x07one",
	"encoded word":    "=?utf-8?B?RXZlCkJjYzogZXZlQGV4YW1wbGUub3Jn?=",
	"mention of all":  "<!channel> <!here|here> <@U012AB3CD>",
	"markup":          `<a href="https://example.org">one</a> &lt;two&gt; &amp;`,
	"link":            "<https://example.org|your bank>",
	"template":        "{{ event.title }} {% include 'x' %} ${jndi:ldap://x} %s%n",
	"quotes":          "\"'`\\\",\"message\":\"forged",
	"invalid UTF-8":   "one\xff\xfe\xc3(two\xed\xa0\x80",
	"beyond the BMP":  "one 👩‍👩‍👧 \U000e0041two",
	"very long":       strings.Repeat("long ", 10_000),
	"very wide":       strings.Repeat("é<\u2028", 20_000),
}

// survivesHostileText puts each hostile string into each field. A channel may
// refuse it, in Check and in Send alike and without a call, or send it so that it
// arrives as the text that it is.
func survivesHostileText(t *testing.T, s Subject, r Rig) {
	calls := 0
	for name, text := range hostile {
		for field, m := range s.with(text) {
			what := fmt.Sprintf("%s as %s", name, field)
			refused := r.Channel.Check(m)
			result := r.Channel.Send(t.Context(), m)
			s.keepsQuiet(t, m, result.Code+"\n"+result.Detail) // Ref may hold the ID
			if refused != nil {
				s.keepsQuiet(t, m, refused.Error())
				require.Equal(t, channels.Rejected, result.Outcome, what)
				require.Len(t, r.Sent(), calls, what)
				continue
			}
			require.Equal(t, channels.Accepted, result.Outcome, "%s: %s", what, result.Detail)
			calls++
			sent := r.Sent()
			require.Len(t, sent, calls, what)
			// Text on the wire is UTF-8: each byte that is not comes as U+FFFD.
			require.True(t, strings.Contains(sent[calls-1].Text, string([]rune(m.Text))), what)
			if sent[calls-1].ID != "" {
				require.Equal(t, string([]rune(m.ID)), sent[calls-1].ID, what)
			}
		}
	}
}

// with returns messages that hold text in one field each, by the field's name.
func (s Subject) with(text string) map[string]channels.Message {
	fields := map[string]func(*channels.Message) *string{
		"ID":      func(m *channels.Message) *string { return &m.ID },
		"Channel": func(m *channels.Message) *string { return &m.Channel },
		"To":      func(m *channels.Message) *string { return &m.To },
		"Name":    func(m *channels.Message) *string { return &m.Name },
		"Subject": func(m *channels.Message) *string { return &m.Subject },
		"Text":    func(m *channels.Message) *string { return &m.Text },
		"OptOut":  func(m *channels.Message) *string { return &m.OptOut },

		"Event.UID":         func(m *channels.Message) *string { return &m.Event.UID },
		"Event.Title":       func(m *channels.Message) *string { return &m.Event.Title },
		"Event.Description": func(m *channels.Message) *string { return &m.Event.Description },
		"Event.Location":    func(m *channels.Message) *string { return &m.Event.Location },
	}
	messages := map[string]channels.Message{}
	for name, field := range fields {
		m := s.message()
		*field(&m) = text
		messages[name] = m
	}
	return messages
}
