package email_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	ics "github.com/arran4/golang-ical"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// read is a mail as its recipient's program takes it apart.
type read struct {
	header   mail.Header
	subject  string
	to       *mail.Address
	text     string
	html     string
	calendar string
}

// ours are the headers that a mail may have, each once.
var ours = map[string]bool{
	"From": true, "To": true, "Subject": true, "Date": true, "Message-Id": true, "Mime-Version": true, "Content-Type": true,
	"Auto-Submitted": true, "List-Unsubscribe": true, "List-Unsubscribe-Post": true,
}

// parse reads a mail with the standard library alone, and fails the test where
// it holds what we haven't put there.
func parse(t *testing.T, data []byte) read {
	t.Helper()
	for _, line := range bytes.Split(data, []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
			require.Fail(t, "a line that no mail may have", "%q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	require.NoError(t, err)
	r := read{header: m.Header}
	for name, values := range m.Header {
		require.True(t, ours[name], "header %s: %q", name, values)
		require.Len(t, values, 1, name)
	}
	decoder := new(mime.WordDecoder)
	r.subject, err = decoder.DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	list, err := m.Header.AddressList("To")
	require.NoError(t, err)
	require.Len(t, list, 1)
	r.to = list[0]
	kind := ""
	r.walk(t, m.Header.Get("Content-Type"), "", m.Body, &kind)
	require.Contains(t, []string{"text/plain text/html ", "text/plain text/html text/calendar "}, kind)
	return r
}

func (r *read) walk(t *testing.T, contentType, encoding string, body io.Reader, seen *string) {
	t.Helper()
	media, params, err := mime.ParseMediaType(contentType)
	require.NoError(t, err, contentType)
	if strings.HasPrefix(media, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			r.walk(t, part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part, seen)
		}
	}
	*seen += media + " "
	require.Equal(t, "utf-8", strings.ToLower(params["charset"]))
	switch encoding {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	default:
		require.Fail(t, "encoding", encoding)
	}
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	switch media {
	case "text/plain":
		r.text = string(data)
	case "text/html":
		r.html = string(data)
	case "text/calendar":
		require.Equal(t, "PUBLISH", params["method"])
		r.calendar = string(data)
	}
}

func delivered(t *testing.T, changes ...func(*channels.Message)) read {
	t.Helper()
	s := serve(t, false)
	m := message()
	for _, change := range changes {
		change(&m)
	}
	result := s.channel(t).Send(t.Context(), m)
	require.Equal(t, channels.Accepted, result.Outcome, result.Detail)
	require.Equal(t, "<"+m.ID+"@sender.example>", result.Ref)
	require.Equal(t, "bells@sender.example", s.taken()[0].from)
	require.Equal(t, m.To, s.taken()[0].to)
	return parse(t, s.taken()[0].data)
}

func TestAMail(t *testing.T) {
	m := message()
	r := delivered(t)
	require.Equal(t, &mail.Address{Name: "Ann Ünver", Address: "ann@example.org"}, r.to)
	require.Equal(t, m.Subject, r.subject)
	require.Equal(t, `"Belltower" <bells@sender.example>`, r.header.Get("From"))
	require.Equal(t, "<"+m.ID+"@sender.example>", r.header.Get("Message-Id"))
	require.Equal(t, "Tue, 06 May 2031 16:00:00 +0000", r.header.Get("Date"))
	require.Equal(t, "auto-generated", r.header.Get("Auto-Submitted"))
	require.Equal(t, "<"+m.OptOut+">", r.header.Get("List-Unsubscribe"))
	require.Equal(t, "List-Unsubscribe=One-Click", r.header.Get("List-Unsubscribe-Post"))
	text := strings.ReplaceAll(r.text, "\r\n", "\n")
	require.Equal(t, m.Text+"\n\nGrandsire; triples, and more\nTue, 6 May 2031, 20:00–22:00 CEST\nŁódź, north tower\n\n"+
		"No more messages about this event:\n"+m.OptOut+"\n", text)
	require.Contains(t, r.html, "starts in 2 hours &lt;&amp;&gt;")
	require.Contains(t, r.html, "<strong>Grandsire; triples, and more</strong><br>Tue, 6 May 2031, 20:00–22:00 CEST<br>Łódź, north tower")
	require.Contains(t, r.html, `<a href="`+m.OptOut+`"`)
}

// Attempts differ in nothing that mail programs tell mails apart by.
func TestEveryAttemptIsTheSameMail(t *testing.T) {
	s := serve(t, false)
	m := message()
	for m.Attempt = 1; m.Attempt <= 2; m.Attempt++ {
		require.Equal(t, channels.Accepted, s.channel(t).Send(t.Context(), m).Outcome)
	}
	first, second := parse(t, s.taken()[0].data), parse(t, s.taken()[1].data)
	for _, name := range []string{"Message-Id", "Date", "Subject", "From", "To", "List-Unsubscribe"} {
		require.Equal(t, first.header[name], second.header[name], name)
	}
	require.Equal(t, first.calendar, second.calendar)
}

func TestTheCalendar(t *testing.T) {
	m := message()
	raw := delivered(t).calendar
	for _, line := range strings.Split(strings.TrimSuffix(raw, "\r\n"), "\r\n") {
		require.LessOrEqual(t, len(line), 75, line)
	}
	calendar, err := ics.ParseCalendar(strings.NewReader(raw))
	require.NoError(t, err)
	require.Len(t, calendar.Events(), 1)
	event := calendar.Events()[0]
	value := func(p ics.ComponentProperty) string {
		property := event.GetProperty(p)
		require.NotNil(t, property, p)
		return property.Value
	}
	require.Equal(t, m.Event.UID, value(ics.ComponentPropertyUniqueId))
	require.Equal(t, "7", value(ics.ComponentPropertySequence))
	require.Equal(t, "20310505T160000Z", value(ics.ComponentPropertyDtstamp))
	require.Equal(t, "20310506T180000Z", value(ics.ComponentPropertyDtStart))
	require.Equal(t, "20310506T200000Z", value(ics.ComponentPropertyDtEnd))
	require.Equal(t, "CONFIRMED", value(ics.ComponentPropertyStatus))
	require.Equal(t, m.Event.Title, value(ics.ComponentPropertySummary))
	require.Equal(t, m.Event.Description, value(ics.ComponentPropertyDescription))
	require.Equal(t, m.Event.Location, value(ics.ComponentPropertyLocation))

	cancelled := delivered(t, func(m *channels.Message) { m.Event.Cancelled = true })
	require.Contains(t, cancelled.calendar, "STATUS:CANCELLED")
	require.Contains(t, cancelled.text, "Grandsire; triples, and more (cancelled)")
}

func TestWhatIsNotThereIsNotShown(t *testing.T) {
	r := delivered(t, func(m *channels.Message) { m.Event, m.OptOut, m.Name = channels.Event{}, "", "" })
	require.Empty(t, r.calendar)
	require.Equal(t, message().Text+"\n", strings.ReplaceAll(r.text, "\r\n", "\n"))
	require.Equal(t, &mail.Address{Address: "ann@example.org"}, r.to)
	require.Empty(t, r.header.Get("List-Unsubscribe"))
	require.Empty(t, r.header.Get("List-Unsubscribe-Post"))
	require.NotContains(t, r.html, "<a ")
}

// RFC 8058 wants https; without it the link is for people alone.
func TestNoOneClickWithoutHTTPS(t *testing.T) {
	r := delivered(t, func(m *channels.Message) { m.OptOut = "http://localhost:8080/v1/opt-out/x" })
	require.Empty(t, r.header.Get("List-Unsubscribe"))
	require.Contains(t, r.text, "http://localhost:8080/v1/opt-out/x")
}

func TestAnEventOverMidnight(t *testing.T) {
	r := delivered(t, func(m *channels.Message) { m.Event.End = m.Event.End.Add(4 * time.Hour); m.Event.Zone = nil })
	require.Contains(t, r.text, "Tue, 6 May 2031, 18:00 – Wed, 7 May 2031, 00:00 UTC")
}

// What somebody typed arrives as text, and as nothing else.
func TestHostileHeaders(t *testing.T) {
	for name, text := range map[string]string{
		"CR": "a\rBcc: eve@example.org", "LF": "a\nBcc: eve@example.org", "CR LF": "a\r\nBcc: eve@example.org\r\n\r\nbody", "NUL": "a\x00b",
		"separator": "a\u2028Bcc: eve@example.org", "encoded": "=?utf-8?Q?a=0D=0ABcc:_eve@example.org?=", "wide": strings.Repeat("W", 3000),
		"quotes": `a" <eve@example.org>, "b`, "direction": "a\u202eb", "comma": "Eve <eve@example.org>, Ann",
	} {
		t.Run(name, func(t *testing.T) {
			r := delivered(t, func(m *channels.Message) {
				m.Name, m.Subject, m.Event.Title, m.Event.Location, m.Event.Description = text, text, text, text, text
			})
			require.Equal(t, "ann@example.org", r.to.Address)
			for _, shown := range []string{r.subject, r.to.Name} {
				require.NotContains(t, shown, "\n")
				require.NotContains(t, shown, "\r")
				require.NotEmpty(t, shown)
				require.NotEqual(t, "a\r\nBcc: eve@example.org", shown)
			}
			calendar, err := ics.ParseCalendar(strings.NewReader(r.calendar))
			require.NoError(t, err)
			require.Len(t, calendar.Events(), 1)
			require.Len(t, calendar.Components, 1)
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	c, err := email.New((&server{host: "localhost", port: 25}).options())
	require.NoError(t, err)
	require.NoError(t, c.Check(message()))
	for name, change := range map[string]func(*channels.Message){
		"no address":      func(m *channels.Message) { m.To = "" },
		"a name with it":  func(m *channels.Message) { m.To = "Ann <ann@example.org>" },
		"two":             func(m *channels.Message) { m.To = "ann@example.org, bob@example.org" },
		"a bracket in it": func(m *channels.Message) { m.To = "ann@example.org> NOTIFY=NEVER <x@y" },
		"a line break":    func(m *channels.Message) { m.To = "ann@example.org\r\nRCPT TO:<eve@example.org>" },
		"no domain":       func(m *channels.Message) { m.To = "ann" },
		"too long":        func(m *channels.Message) { m.To = strings.Repeat("a", 250) + "@example.org" },
		"id":              func(m *channels.Message) { m.ID = "a@b>\r\n" },
		"no id":           func(m *channels.Message) { m.ID = "" },
		"uid":             func(m *channels.Message) { m.Event.UID = "a\nATTENDEE:mailto:eve@example.org" },
		"link":            func(m *channels.Message) { m.OptOut = "javascript:alert(1)" },
		"broken link":     func(m *channels.Message) { m.OptOut = "https://x.example/\r\nBcc: eve@example.org" },
		"closed link":     func(m *channels.Message) { m.OptOut = "https://x.example/>,<mailto:eve@example.org" },
		"long link":       func(m *channels.Message) { m.OptOut = "https://x.example/" + strings.Repeat("a", 900) },
	} {
		m := message()
		change(&m)
		require.Error(t, c.Check(m), name)
		require.Equal(t, channels.Rejected, c.Send(t.Context(), m).Outcome, name)
	}
}
