package email

import (
	"bytes"
	"fmt"
	"html/template"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/belltower/belltower/channels"
)

// Bounds, in characters, of texts that go into headers.
const (
	maxSubject = 200
	maxName    = 100
)

// compose writes the mail (RFC 5322). Header names are constants, and what goes
// into headers is one line each; what somebody typed stays text.
func (c *Channel) compose(m channels.Message, to address, id string) ([]byte, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithCharset(gomail.CharsetUTF8), gomail.WithEncoding(gomail.EncodingQP))
	msg.FromMailAddress(&mail.Address{Name: headerText(c.o.From.Name, maxName), Address: c.from.String()})
	msg.ToMailAddress(&mail.Address{Name: headerText(m.Name, maxName), Address: to.String()})
	msg.Subject(headerText(m.Subject, maxSubject))
	msg.SetMessageIDWithValue(id)
	msg.SetDateWithValue(m.Due.UTC())
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	if oneClick(m.OptOut) {
		msg.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+m.OptOut+">")
		msg.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click") // RFC 8058
	}
	shown := view{Text: string([]rune(m.Text)), OptOut: m.OptOut, Event: details(m.Event)}
	msg.SetBodyString(gomail.TypeTextPlain, shown.plain())
	html, err := shown.html()
	if err != nil {
		return nil, err
	}
	msg.AddAlternativeString(gomail.TypeTextHTML, html)
	if m.Event.UID != "" {
		file := strings.NewReader(calendar(m.Event))
		if err := msg.AttachReader("event.ics", file, gomail.WithFileContentType("text/calendar; charset=utf-8; method=PUBLISH")); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// headerText makes text fit into a header: one line, not too long, and nothing
// that a reader would decode (RFC 2047).
func headerText(text string, longest int) string {
	text = oneLine(text)
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest-1]) + "…"
	}
	return strings.ReplaceAll(text, "=?", "= ?")
}

// oneLine leaves of text what can be printed, on one line.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Join(strings.Fields(text), " ")
}

// view is what a reader sees.
type view struct {
	Text   string
	Event  []string // lines
	OptOut string
}

// details are the lines on an event that stand under a message.
func details(e channels.Event) []string {
	if e.UID == "" {
		return nil
	}
	start, end := e.Start.UTC(), e.End.UTC()
	if e.Zone != nil {
		start, end = start.In(e.Zone), end.In(e.Zone)
	}
	const day, clock = "Mon, 2 Jan 2006", "15:04"
	when := fmt.Sprintf("%s, %s – %s, %s %s", start.Format(day), start.Format(clock), end.Format(day), end.Format(clock), end.Format("MST"))
	if start.Format(day) == end.Format(day) {
		when = fmt.Sprintf("%s, %s–%s %s", start.Format(day), start.Format(clock), end.Format(clock), end.Format("MST"))
	}
	lines := []string{oneLine(e.Title), when}
	if e.Cancelled {
		lines[0] += " (cancelled)"
	}
	if where := oneLine(e.Location); where != "" {
		lines = append(lines, where)
	}
	return lines
}

const optOutText = "No more messages about this event:"

func (v view) plain() string {
	var b strings.Builder
	b.WriteString(v.Text)
	if len(v.Event) > 0 {
		b.WriteString("\n\n" + strings.Join(v.Event, "\n"))
	}
	if v.OptOut != "" {
		b.WriteString("\n\n" + optOutText + "\n" + v.OptOut)
	}
	b.WriteString("\n")
	return b.String()
}

var page = template.Must(template.New("mail").Parse(`<!doctype html>
<html><body style="font-family:system-ui,sans-serif;line-height:1.5">
<p style="white-space:pre-wrap">{{.Text}}</p>
{{- if .Event}}
<p style="border-left:3px solid #999;padding-left:.8em">{{range $i, $line := .Event}}{{if $i}}<br>{{end}}{{if $i}}{{$line}}{{else}}<strong>{{$line}}</strong>{{end}}{{end}}</p>
{{- end}}
{{- if .OptOut}}
<p style="font-size:.85em;color:#666"><a href="{{.OptOut}}" style="color:#666">No more messages about this event</a></p>
{{- end}}
</body></html>
`))

func (v view) html() (string, error) {
	var b strings.Builder
	err := page.Execute(&b, v)
	return b.String(), err
}
