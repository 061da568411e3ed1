package email_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/email"
)

// digestOf is a keyed digest, another one for each key.
func digestOf(key string) func([]byte) []byte {
	return func(data []byte) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(data)
		return mac.Sum(nil)
	}
}

const bounceAddress = "bounces@back.example"

func bouncing(o *email.Options) { o.Bounces, o.Digest = bounceAddress, digestOf("ours") }

// now is later than what the reports of these tests tell of.
var now = time.Date(2031, 5, 7, 0, 0, 0, 0, time.UTC)

func receiver(t testing.TB, changes ...func(*email.Options)) *email.Channel {
	o := (&server{host: "localhost", port: 25}).options()
	o.Now = func() time.Time { return now }
	bouncing(&o)
	for _, change := range changes {
		change(&o)
	}
	c, err := email.New(o)
	require.NoError(t, err)
	return c
}

func receive(c *email.Channel, mail string) ([]channels.Receipt, error) {
	return c.Receive(httptest.NewRequest(http.MethodPost, "/v1/receipts/smtp", nil), []byte(mail))
}

// sent is the envelope that a message goes out in.
func sent(t testing.TB, m channels.Message, tweaks ...tweak) envelope {
	t.Helper()
	s := serve(t.(*testing.T), false, tweaks...)
	require.Equal(t, channels.Accepted, s.channel(t.(*testing.T), bouncing).Send(t.Context(), m).Outcome)
	return s.taken()[0]
}

func TestEnvelopeOfItsOwn(t *testing.T) {
	m := message()
	m.To = "ann+bells=x@example.org"
	e := sent(t, m, withDSN)
	require.Regexp(t, `^bounces\+[a-z2-7]{42}@back\.example$`, e.from)
	require.LessOrEqual(t, strings.IndexByte(e.from, '@'), 64)
	require.Equal(t, smtp.DSNReturnHeaders, e.mail.Return)
	require.Equal(t, envidOf(uuid.MustParse(m.ID)), e.mail.EnvelopeID)
	require.LessOrEqual(t, len(e.mail.EnvelopeID), 38, "RFC 3461, section 5.4")
	require.Equal(t, []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}, e.rcpt.Notify)
	require.Equal(t, smtp.DSNAddressTypeRFC822, e.rcpt.OriginalRecipientType)
	require.Equal(t, m.To, e.rcpt.OriginalRecipient)
	require.Equal(t, "bells@sender.example", parse(t, e.data).header.Get("From")[len(`"Belltower" <`):len(`"Belltower" <bells@sender.example`)])

	again, bare := sent(t, m, withDSN), sent(t, m)
	require.Equal(t, e.from, again.from, "every attempt has the same")
	require.Equal(t, e.from, bare.from)
	require.Equal(t, smtp.MailOptions{Body: bare.mail.Body}, bare.mail, "who doesn't announce DSN is not asked for it")
	require.Equal(t, smtp.RcptOptions{}, bare.rcpt)
	m.ID = uuid.NewString()
	require.NotEqual(t, e.from, sent(t, m).from)

	m.ID = "not-a-uuid"
	require.Equal(t, bounceAddress, sent(t, m, withDSN).from)
	m = message()
	m.To = "jörg@example.org"
	e = sent(t, m, withDSN, withUTF8)
	require.Empty(t, e.rcpt.OriginalRecipient)
	require.NotEmpty(t, e.rcpt.Notify)
}

func TestBounceAddressesThatAreRefused(t *testing.T) {
	for address, says := range map[string]string{
		"bounces":                            "not one address",
		"Bounces <bounces@back.example>":     "not one address",
		`"a b"@back.example`:                 "not one address",
		"jörg@back.example":                  "many servers don't take",
		strings.Repeat("b", 22) + "@back.ex": "more than 21 characters",
	} {
		o := (&server{host: "localhost", port: 25}).options()
		o.Bounces, o.Digest = address, digestOf("ours")
		_, err := email.New(o)
		require.ErrorContains(t, err, says, address)
	}
	o := (&server{host: "localhost", port: 25}).options()
	o.Bounces = bounceAddress
	_, err := email.New(o)
	require.ErrorContains(t, err, "need a key")
}

// bounce writes a report as servers do.
type bounce struct {
	to         string   // the header
	perMessage []string // fields
	recipients [][]string
	kind       string // of the report's part
	outer      string // Content-Type of the whole
	tail       string // in place of what comes after the report
}

func (b bounce) String() string {
	if b.kind == "" {
		b.kind = "message/delivery-status"
	}
	if b.outer == "" {
		b.outer = `multipart/report; report-type=delivery-status; boundary="AbC.1/mx"`
	}
	if b.perMessage == nil {
		b.perMessage = []string{"Reporting-MTA: dns; mx.example.net", "Arrival-Date: Tue, 6 May 2031 16:00:01 +0000"}
	}
	if b.tail == "" {
		b.tail = "\r\n--AbC.1/mx\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: Choir\r\n\r\n--AbC.1/mx--\r\n"
	}
	status := strings.Join(b.perMessage, "\r\n") + "\r\n"
	for _, fields := range b.recipients {
		status += "\r\n" + strings.Join(fields, "\r\n") + "\r\n"
	}
	return "Return-Path: <>\r\nDate: Tue, 6 May 2031 18:00:00 +0200\r\nFrom: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nTo: " + b.to +
		"\r\nSubject: Undelivered Mail\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: " + b.outer +
		"\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n--AbC.1/mx\r\nContent-Type: text/plain\r\n\r\nI'm sorry to tell that <ann@example.org> is no more.\r\n" +
		"\r\n--AbC.1/mx\r\nContent-Type: " + b.kind + "\r\n\r\n" + status + b.tail
}

func TestBounces(t *testing.T) {
	m := message()
	address := sent(t, m).from
	c := receiver(t)
	ann := "Final-Recipient: rfc822; ann@example.org"
	failed := func(fields ...string) bounce {
		return bounce{to: address, recipients: [][]string{append([]string{ann, "Action: failed"}, fields...)}}
	}
	at := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		mail fmt.Stringer
		want channels.News // 0: none
		code string
		to   string
	}{
		"no such user":               {failed("Status: 5.1.1"), channels.AddressDied, "5.1.1", "ann@example.org"},
		"no such user, in full":      {failed("Status: 5.1.1", "Remote-MTA: dns; mx.example.org", "Diagnostic-Code: smtp; 550 5.1.1 <ann@example.org>: Recipient address rejected:", "    User unknown"), channels.AddressDied, "550 5.1.1", "ann@example.org"},
		"no such domain":             {failed("Status: 5.1.2"), channels.AddressDied, "5.1.2", "ann@example.org"},
		"moved":                      {failed("Status: 5.1.6"), channels.AddressDied, "5.1.6", "ann@example.org"},
		"takes no mail":              {failed("Status: 5.1.10"), channels.AddressDied, "5.1.10", "ann@example.org"},
		"full":                       {failed("Status: 5.2.2"), channels.Bounced, "5.2.2", "ann@example.org"},
		"policy":                     {failed("Status: 5.7.1", "Diagnostic-Code: smtp; 554-5.7.1 not", " wanted"), channels.Bounced, "554 5.7.1", "ann@example.org"},
		"tried for days":             {failed("Status: 4.4.7"), channels.Bounced, "4.4.7", "ann@example.org"},
		"vague":                      {failed("Status: 5.0.0"), channels.Bounced, "5.0.0", "ann@example.org"},
		"vague, remote knows":        {failed("Status: 5.0.0", "Diagnostic-Code: smtp; 550 5.1.1 unknown"), channels.AddressDied, "550 5.1.1", "ann@example.org"},
		"vague, remote says 4":       {failed("Status: 5.0.0", "Diagnostic-Code: smtp; 450 4.1.1 unknown"), channels.Bounced, "450 5.0.0", "ann@example.org"},
		"precise, remote says else":  {failed("Status: 5.7.1", "Diagnostic-Code: smtp; 550 5.1.1 unknown"), channels.Bounced, "550 5.7.1", "ann@example.org"},
		"no status":                  {failed("Diagnostic-Code: smtp; 550 5.1.1 unknown"), channels.AddressDied, "550 5.1.1", "ann@example.org"},
		"no status, only a reply":    {failed("Diagnostic-Code: SMTP; 553 sorry"), channels.AddressDied, "553", "ann@example.org"},
		"a reply in a sentence":      {failed("Status: 5.0.0", "Diagnostic-Code: smtp; error after RCPT TO:<ann@example.org>: host mx: 550 5.1.1 unknown"), channels.AddressDied, "550 5.1.1", "ann@example.org"},
		"nothing but failed":         {failed(), channels.Bounced, "", "ann@example.org"},
		"comments":                   {bounce{to: address, recipients: [][]string{{ann, "Action: FAILED (for good)", "Status: 5.1.1 (bad destination mailbox address)"}}}, channels.AddressDied, "5.1.1", "ann@example.org"},
		"no action":                  {bounce{to: address, recipients: [][]string{{ann, "Status: 5.1.1"}}}, channels.AddressDied, "5.1.1", "ann@example.org"},
		"forwarded":                  {failed("Original-Recipient: rfc822;ann@forward.example", "Status: 5.1.1"), channels.AddressDied, "5.1.1", "ann@forward.example"},
		"no address that is one":     {bounce{to: address, recipients: [][]string{{"Final-Recipient: rfc822; \xff\xfe", "Action: failed"}}}, channels.Bounced, "", ""},
		"a list, all dead":           {bounce{to: address, recipients: [][]string{{ann, "Action: failed", "Status: 5.1.1"}, {"Final-Recipient: rfc822; bob@example.org", "Action: failed", "Status: 5.1.1"}}}, channels.AddressDied, "5.1.1", "ann@example.org"},
		"a list, one dead":           {bounce{to: address, recipients: [][]string{{ann, "Action: failed", "Status: 5.1.1"}, {"Final-Recipient: rfc822; bob@example.org", "Action: failed", "Status: 5.2.2"}}}, channels.Bounced, "5.2.2", ""},
		"a list, one got it":         {bounce{to: address, recipients: [][]string{{ann, "Action: delivered", "Status: 2.0.0"}, {"Final-Recipient: rfc822; bob@example.org", "Action: failed", "Status: 5.2.2"}}}, channels.Bounced, "5.2.2", ""},
		"delayed":                    {bounce{to: address, recipients: [][]string{{ann, "Action: delayed", "Status: 4.4.1"}}}, 0, "", ""},
		"no action, for now":         {bounce{to: address, recipients: [][]string{{ann, "Status: 4.4.1"}}}, 0, "", ""},
		"relayed":                    {bounce{to: address, recipients: [][]string{{ann, "Action: relayed", "Status: 2.0.0"}}}, 0, "", ""},
		"expanded":                   {bounce{to: address, recipients: [][]string{{ann, "Action: expanded", "Status: 2.0.0"}}}, 0, "", ""},
		"delivered":                  {bounce{to: address, recipients: [][]string{{ann, "Action: delivered", "Status: 2.1.5"}}}, channels.Delivered, "2.1.5", "ann@example.org"},
		"no recipient":               {bounce{to: address}, 0, "", ""},
		"shouting":                   {failed("Status: 5.1.1").with(func(b *bounce) { b.to = strings.ToUpper(address) }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"with a name":                {failed("Status: 5.1.1").with(func(b *bounce) { b.to = `"Bells" <` + address + ">" }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"delivered into another box": {failed("Status: 5.1.1").with(func(b *bounce) { b.to = "postmaster@back.example\r\nX-Original-To: " + address }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"by the envelope's id": {failed("Status: 5.1.1").with(func(b *bounce) {
			b.to = "bounces@back.example"
			b.perMessage = []string{"Original-Envelope-Id: " + envidOf(uuid.MustParse(m.ID))}
		}), channels.AddressDied, "5.1.1", "ann@example.org"},
		"addresses outside ASCII": {failed("Status: 5.1.1").with(func(b *bounce) { b.kind = "message/global-delivery-status" }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"no report-type":          {failed("Status: 5.1.1").with(func(b *bounce) { b.outer = `multipart/report; boundary="AbC.1/mx"` }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"within another multipart": {failed("Status: 5.1.1").with(func(b *bounce) {
			b.outer = "multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: " + `multipart/report; report-type=delivery-status; boundary="AbC.1/mx"`
		}), channels.AddressDied, "5.1.1", "ann@example.org"},
		"empty lines between":       {failed("Status: 5.1.1").with(func(b *bounce) { b.perMessage = append(b.perMessage, "Reporting-MTA: dns; mx.example.net", "", "", "") }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"lines that are no fields":  {failed("what is this", ": nothing", "Status: 5.1.1"), channels.AddressDied, "5.1.1", "ann@example.org"},
		"encoded, quoted-printable": {failed("Status: 5=2E1=2E1").with(func(b *bounce) { b.kind = "message/delivery-status\r\nContent-Transfer-Encoding: quoted-printable" }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"cut off behind the report": {failed("Status: 5.1.1").with(func(b *bounce) { b.tail = "\r\n--AbC.1/mx\r\nContent-Type: message/rfc822\r\n\r\nSubject: Cho" }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"cut off within the report": {failed("Status: 5.1.1").with(func(b *bounce) { b.tail = " " }), channels.AddressDied, "5.1.1", "ann@example.org"},
		"with all of a large mail": {failed("Status: 5.1.1").with(func(b *bounce) {
			b.tail = "\r\n--AbC.1/mx\r\nContent-Type: message/rfc822\r\n\r\n" + strings.Repeat("A long line of a long mail.\r\n", 400_000)
		}), channels.AddressDied, "5.1.1", "ann@example.org"},
		"from an mbox":              {text("From MAILER-DAEMON Tue May  6 18:00:00 2031\n" + failed("Status: 5.1.1").String()), channels.AddressDied, "5.1.1", "ann@example.org"},
		"Unix's lines":              {text(strings.ReplaceAll(failed("Status: 5.1.1").String(), "\r\n", "\n")), channels.AddressDied, "5.1.1", "ann@example.org"},
		"out of office":             {text("To: " + address + "\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nStatus: 5.1.1\r\nAction: failed\r\n"), 0, "", ""},
		"an answer":                 {text("To: " + address + "\r\nSubject: Re: Choir\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nThanks\r\n--x--\r\n"), 0, "", ""},
		"an answer that breaks off": {text("To: " + address + "\r\nContent-Type: text/plain; charset=\"\xff\r\n\r\n\xff\xfe"), 0, "", ""},
		"has been read": {failed("Status: 5.1.1").with(func(b *bounce) {
			b.outer, b.kind = `multipart/report; report-type=disposition-notification; boundary="AbC.1/mx"`, "message/disposition-notification"
		}), 0, "", ""},
		"a bounce of somebody's mail": {text("To: " + address + "\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + failed("Status: 5.1.1").String() + "\r\n--x--\r\n"), 0, "", ""},
		"a complaint":                 {complaint("abuse", "bells@sender.example", "<"+address+">"), channels.Complained, "abuse", ""},
		"a complaint that is none":    {complaint("not-spam", address, ""), 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := receive(c, row.mail.String())
			require.NoError(t, err)
			if row.want == 0 {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, row.want, got[0].News, got[0].Detail)
			require.Equal(t, m.ID, got[0].MessageID)
			require.Equal(t, channels.Email, got[0].Kind)
			require.Equal(t, row.code, got[0].Code)
			require.Equal(t, row.to, got[0].To)
			require.Equal(t, at, got[0].At)
			require.NotContains(t, got[0].Detail, "ann@", "personal data")
			if row.want != channels.Complained {
				require.Contains(t, got[0].Detail, row.code)
			}
		})
	}
}

func (b bounce) with(change func(*bounce)) bounce {
	change(&b)
	return b
}

type text string

func (t text) String() string { return string(t) }

// complaint is a report of a feedback loop (RFC 5965).
func complaint(kind, to, from string) text {
	return text("Date: Tue, 6 May 2031 16:00:00 +0000\r\nTo: " + to + "\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: text/plain\r\n\r\nUnwanted.\r\n--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: " + kind +
		"\r\nVersion: 1\r\nOriginal-Mail-From: " + from + "\r\n\r\n--x--\r\n")
}

func TestTimesOfBounces(t *testing.T) {
	c, address := receiver(t), sent(t, message()).from
	for name, row := range map[string]struct {
		last, date string
		want       time.Time
	}{
		"the last attempt": {"Tue, 6 May 2031 09:00:00 -0500 (CDT)", "Tue, 6 May 2031 16:00:00 +0000", time.Date(2031, 5, 6, 14, 0, 0, 0, time.UTC)},
		"the mail's":       {"when it was", "Tue, 6 May 2031 16:00:00 +0000", time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)},
		"none":             {"", "", now},
		"to come":          {"", "Tue, 6 May 2036 16:00:00 +0000", now},
	} {
		mail := bounce{to: address, recipients: [][]string{{"Action: failed", "Status: 5.1.1", "Last-Attempt-Date: " + row.last}}}.String()
		mail = strings.Replace(mail, "Date: Tue, 6 May 2031 18:00:00 +0200", "Date: "+row.date, 1)
		got, err := receive(c, mail)
		require.NoError(t, err)
		require.Equal(t, row.want, got[0].At, name)
	}
}

func TestBouncesThatAreRefused(t *testing.T) {
	address := sent(t, message()).from
	c := receiver(t)
	report := func(to string) string {
		return bounce{to: to, recipients: [][]string{{"Action: failed", "Status: 5.1.1"}}}.String()
	}
	_, err := receive(c, report(address))
	require.NoError(t, err)
	at := len("bounces+")
	for i := at; i < at+42; i++ { // the last character has bits that stand for nothing
		other := byte('a')
		if address[i] == other {
			other = 'q'
		}
		_, err := receive(c, report(address[:i]+string(other)+address[i+1:]))
		require.ErrorIs(t, err, channels.ErrForged, i)
	}
	for name, mail := range map[string]string{
		"no mark":           report("bounces@back.example"),
		"half a mark":       report(address[:at+20] + "@back.example"),
		"a mark of no UUID": report("bounces+" + strings.Repeat("a", 42) + "@back.example"),
		"only in the text":  strings.Replace(report("bounces@back.example"), "I'm sorry", address, 1),
		"only in the subject": strings.Replace(report("bounces@back.example"), "Undelivered Mail",
			address, 1),
	} {
		_, err := receive(c, mail)
		require.ErrorIs(t, err, channels.ErrForged, name)
		require.NotContains(t, err.Error(), "back.example")
	}
	_, err = receive(receiver(t, func(o *email.Options) { o.Digest = digestOf("theirs") }), report(address))
	require.ErrorIs(t, err, channels.ErrForged)
	_, err = receive(receiver(t, func(o *email.Options) { o.Bounces = "" }), report(address))
	require.ErrorIs(t, err, channels.ErrForged)
	_, err = receive(receiver(t, func(o *email.Options) { o.Bounces = "back@elsewhere.example" }), report(address))
	require.NoError(t, err, "another bounce address was set meanwhile")

	deep := ""
	for i := range 100 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=x%d\r\n\r\n--x%d\r\n", i, i)
	}
	for name, mail := range map[string]string{
		"nothing":             "",
		"an empty line":       "\r\n",
		"no mail":             "bounced!",
		"a report without it": "To: " + address + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n--x--\r\n",
		"no boundary":         "To: " + address + "\r\nContent-Type: multipart/report; report-type=delivery-status\r\n\r\n",
		"broken parts":        "To: " + address + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\xff no header\r\n\r\nhello",
		"parts in parts":      "To: " + address + "\r\n" + deep,
		"very many parts":     "To: " + address + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n\r\n", 10_000),
	} {
		_, err := receive(c, mail)
		require.ErrorIs(t, err, channels.ErrUnreadable, name)
	}
}

// Every id comes back from the address of its own, however servers write that.
func TestAddressesOfAnyID(t *testing.T) {
	s := serve(t, false)
	sender, c := s.channel(t, bouncing), receiver(t)
	rapid.Check(t, func(t *rapid.T) {
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")).String()
		m := message()
		m.ID, m.Event = id, channels.Event{}
		require.Equal(t, channels.Accepted, sender.Send(t.Context(), m).Outcome)
		taken := s.taken()
		to := taken[len(taken)-1].from
		switch rapid.IntRange(0, 2).Draw(t, "written") {
		case 1:
			to = strings.ToUpper(to)
		case 2:
			to = `"A, B" <` + to + `>, eve@example.org`
		}
		got, err := receive(c, bounce{to: to, recipients: [][]string{{"Action: failed"}}}.String())
		require.NoError(t, err)
		require.Equal(t, id, got[0].MessageID)
	})
}

// Whatever comes, nothing is believed that isn't signed, and nothing is told but news of ours.
func FuzzReceive(f *testing.F) {
	c := receiver(f)
	id := uuid.MustParse(message().ID)
	tag := "7chr6cu5knofrdilnipq6ddoce" // of the id, without its MAC
	for _, b := range []bounce{
		{to: "bounces+" + tag + "aaaaaaaaaaaaaaaa@back.example", recipients: [][]string{{"Action: failed", "Status: 5.1.1"}}},
		{perMessage: []string{"Original-Envelope-Id: " + base64.RawURLEncoding.EncodeToString(id[:])}, outer: "multipart/mixed; boundary=AbC.1/mx"},
		{kind: "message/feedback-report", recipients: [][]string{{"Feedback-Type: abuse"}}},
	} {
		f.Add([]byte(b.String()), true)
	}
	f.Add([]byte(complaint("abuse", "a@b", "c@d")), true)
	f.Add([]byte("Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte("Action: failed\n"))), true)
	address := addressOf(id)
	f.Fuzz(func(t *testing.T, mail []byte, genuine bool) {
		if genuine {
			mail = append([]byte("To: "+address+"\r\n"), mail...)
		}
		got, err := c.Receive(nil, mail)
		switch {
		case err != nil:
			require.Empty(t, got)
			require.Regexp(t, `^email: `, err.Error())
			return
		case !genuine:
			t.Fatal("it was believed without the tag")
		}
		require.LessOrEqual(t, len(got), 1)
		for _, r := range got {
			require.Equal(t, id.String(), r.MessageID)
			require.Contains(t, []channels.News{channels.Delivered, channels.Bounced, channels.AddressDied, channels.Complained}, r.News)
			require.False(t, r.At.IsZero() || r.At.After(now))
			require.Regexp(t, `^([2-5]\d\d ?)?([245]\.\d{1,3}\.\d{1,3})?$|^abuse$`, r.Code)
			require.Less(t, len(r.Detail), 350)
			require.NotContains(t, r.Detail, "@")
		}
	})
}

// addressOf makes the bounce address that a mail goes out with, on its own.
func addressOf(id uuid.UUID) string {
	return "bounces+" + strings.ToLower(strings.TrimRight(base32.StdEncoding.EncodeToString(tagOf(id)), "=")) + "@back.example"
}

// envidOf makes the envelope's id of such a mail.
func envidOf(id uuid.UUID) string {
	return strings.TrimRight(base64.URLEncoding.EncodeToString(tagOf(id)), "=")
}

func tagOf(id uuid.UUID) []byte { return append(id[:], digestOf("ours")(id[:])[:10]...) }
