package email_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/email"
	"github.com/belltower/belltower/channels/outgoing"
)

var toldAt = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)

func telling(t *testing.T, key *ecdsa.PublicKey, now time.Time) *email.SendGrid {
	t.Helper()
	c, err := email.NewSendGrid(email.SendGridOptions{
		URL: email.SendGridURL, Key: sendGridKey, From: mail.Address{Address: "choir@example.org"}, EventsKey: key,
		Client: outgoing.New(outgoing.Options{}), Now: func() time.Time { return now },
	})
	require.NoError(t, err)
	return c
}

func tell(c *email.SendGrid, stamp, signature, body string) ([]channels.Receipt, error) {
	r := httptest.NewRequest("POST", "/v1/receipts/sendgrid", strings.NewReader(body))
	r.Header.Set("X-Twilio-Email-Event-Webhook-Timestamp", stamp)
	r.Header.Set("X-Twilio-Email-Event-Webhook-Signature", signature)
	return c.Receive(r, []byte(body))
}

func TestSendGridSignaturesOfTheVectors(t *testing.T) {
	var v struct {
		Key       string `json:"public_key"`
		Timestamp string
		Signature string
		Body      string
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "sendgrid/event_webhook_vector.json"), &v))
	key, err := email.ParseEventsKey(v.Key + "\n")
	require.NoError(t, err)
	signed := time.Unix(1600112502, 0)
	got, err := tell(telling(t, key, signed.Add(time.Minute)), v.Timestamp, v.Signature, v.Body)
	require.NoError(t, err)
	require.Empty(t, got, "it is of mail that isn't ours")

	for name, now := range map[string]time.Time{"old": signed.Add(25*time.Hour + time.Second), "of the future": signed.Add(-5*time.Minute - time.Second)} {
		_, err := tell(telling(t, key, now), v.Timestamp, v.Signature, v.Body)
		require.ErrorIs(t, err, channels.ErrStale, name)
	}
	c := telling(t, key, signed)
	for name, call := range map[string][3]string{
		"another body":    {v.Timestamp, v.Signature, strings.TrimSpace(v.Body)}, // it ends in CR LF
		"another time":    {"1600112503", v.Signature, v.Body},
		"no time":         {"", v.Signature, v.Body},
		"no signature":    {v.Timestamp, "", v.Body},
		"no base64":       {v.Timestamp, "?", v.Body},
		"no signature's":  {v.Timestamp, "AAAA", v.Body},
		"moved timestamp": {"160011250", v.Signature, "2" + v.Body},
	} {
		got, err := tell(c, call[0], call[1], call[2])
		if name == "moved timestamp" { // the same bytes are signed: then the time is long ago, or the body is none
			require.Error(t, err)
			require.Empty(t, got)
			continue
		}
		require.ErrorIs(t, err, channels.ErrForged, name)
	}
	_, err = tell(telling(t, nil, signed), v.Timestamp, v.Signature, v.Body)
	require.ErrorIs(t, err, channels.ErrForged, "without a key nothing is believed")
}

func TestKeysOfEvents(t *testing.T) {
	encode := func(key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		require.NoError(t, err)
		return base64.StdEncoding.EncodeToString(der)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, text := range []string{"", "!", "AAAA", encode(&p384.PublicKey), encode(&other.PublicKey)} {
		_, err := email.ParseEventsKey(text)
		require.Error(t, err, text)
	}
}

// signedEvents gives what SendGrid tells by a body.
func signedEvents(t *testing.T, body string) ([]channels.Receipt, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	stamp := fmt.Sprint(toldAt.Unix())
	digest := sha256.Sum256([]byte(stamp + body))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	require.NoError(t, err)
	return tell(telling(t, &key.PublicKey, toldAt), stamp, base64.StdEncoding.EncodeToString(signature), body)
}

func events(t *testing.T, all ...map[string]any) []channels.Receipt {
	t.Helper()
	body, err := json.Marshal(all)
	require.NoError(t, err)
	got, err := signedEvents(t, string(body)+"\r\n")
	require.NoError(t, err)
	return got
}

// What each event means for the message and for the address, by the table that all
// channels are held to.
func TestSendGridEventClassesOfTheTable(t *testing.T) {
	of := func(fields map[string]any) (news []channels.News) {
		fields["email"], fields["notification_id"], fields["sg_event_id"] = "ann@example.org", "n-1", "ev"
		for _, r := range events(t, fields) {
			news = append(news, r.News)
		}
		return news
	}
	for _, class := range channeltest.EventClasses(t, "sendgrid-event") {
		name, detail, _ := strings.Cut(class.Text("event"), " ")
		fields := map[string]any{"event": name}
		if kind, ok := strings.CutPrefix(detail, "type="); ok {
			fields["type"] = kind
		}
		switch class.Class {
		case "accepted":
			require.Contains(t, []channels.News{channels.Delivered, channels.Taken}, of(fields)[0], name)
			require.Equal(t, name == "delivered", of(fields)[0] == channels.Delivered)
		case "later": // SendGrid goes on by itself
			require.Equal(t, []channels.News{channels.Taken}, of(fields), name)
		case "gone":
			require.Equal(t, []channels.News{channels.AddressDied}, of(fields), name)
		case "rejected":
			require.Equal(t, []channels.News{channels.Bounced}, of(fields), name)
		case "opted_out":
			want := channels.StopAsked
			if name == "spamreport" {
				want = channels.Complained // which suppresses the address too
			}
			require.Equal(t, []channels.News{want}, of(fields), name)
		case "by reason":
			for reason, want := range map[string][]channels.News{
				"Bounced Address": {channels.AddressDied}, "Invalid": {channels.AddressDied},
				"Unsubscribed Address": {channels.Bounced, channels.StopAsked}, "Spam Reporting Address": {channels.Bounced, channels.Complained},
			} {
				fields["reason"] = reason
				require.Equal(t, want, of(fields), reason)
			}
		default:
			require.Fail(t, "a class that nothing is said of", class.Class)
		}
	}
}

func TestEventsOfSendGrid(t *testing.T) {
	event := func(what string, more map[string]any) map[string]any {
		e := map[string]any{
			"event": what, "email": "ann@example.org", "timestamp": toldAt.Unix() - 10, "sg_event_id": "ev", "sg_message_id": "m.1",
			"notification_id": "n-1", "notification_attempt": "2", "attempt": "5", "smtp-id": "<x>", "ip": "192.0.2.1",
		}
		for name, value := range more {
			e[name] = value
		}
		return e
	}
	mail := func(news channels.News, code, detail string) channels.Receipt {
		return channels.Receipt{
			ID: "ev", MessageID: "n-1", Attempt: 2, News: news, Kind: channels.Email, To: "ann@example.org",
			At: time.Unix(toldAt.Unix()-10, 0), Ref: "m.1", Code: code, Detail: detail,
		}
	}
	person := func(news channels.News, code string) channels.Receipt {
		return channels.Receipt{ID: "ev/" + news.String(), News: news, Kind: channels.Email, To: "ann@example.org", At: time.Unix(toldAt.Unix()-10, 0), Code: code}
	}
	for name, c := range map[string]struct {
		event map[string]any
		want  []channels.Receipt
	}{
		"processed": {event("processed", nil), []channels.Receipt{mail(channels.Taken, "processed", "")}},
		"deferred":  {event("deferred", map[string]any{"response": "451 ann@example.org later"}), []channels.Receipt{mail(channels.Taken, "deferred", "")}},
		"delivered": {event("delivered", nil), []channels.Receipt{mail(channels.Delivered, "delivered", "")}},
		"bounce": {event("bounce", map[string]any{"type": "bounce", "status": "5.1.1", "reason": "550 no ann@example.org"}),
			[]channels.Receipt{mail(channels.AddressDied, "5.1.1", "sendgrid: it bounced (5.1.1)")}},
		"blocked":             {event("bounce", map[string]any{"type": "blocked", "status": "5.7.1"}), []channels.Receipt{mail(channels.Bounced, "5.7.1", "sendgrid: it was blocked (5.7.1)")}},
		"bounce of no status": {event("bounce", map[string]any{"status": "to ann@example.org"}), []channels.Receipt{mail(channels.AddressDied, "bounce", "sendgrid: it bounced")}},
		"dropped, bounced before": {event("dropped", map[string]any{"reason": "Bounced Address"}),
			[]channels.Receipt{mail(channels.AddressDied, "dropped", "sendgrid: dropped, as the address bounced before or is none")}},
		"dropped, invalid": {event("dropped", map[string]any{"reason": "Invalid"}),
			[]channels.Receipt{mail(channels.AddressDied, "dropped", "sendgrid: dropped, as the address bounced before or is none")}},
		"dropped, unsubscribed": {event("dropped", map[string]any{"reason": "Unsubscribed Address"}),
			[]channels.Receipt{mail(channels.Bounced, "dropped", "sendgrid: dropped, as the recipient has unsubscribed"), person(channels.StopAsked, "dropped")}},
		"dropped, spam before": {event("dropped", map[string]any{"reason": "Spam Reporting Address"}),
			[]channels.Receipt{mail(channels.Bounced, "dropped", "sendgrid: dropped, as the recipient has called an earlier one spam"), person(channels.Complained, "dropped")}},
		"dropped, as spam": {event("dropped", map[string]any{"reason": "Spam Content (if Spam Checker app enabled)"}), []channels.Receipt{mail(channels.Bounced, "dropped", "sendgrid: dropped")}},
		"spam report":      {event("spamreport", nil), []channels.Receipt{mail(channels.Complained, "spamreport", "")}},
		"unsubscribe":      {event("unsubscribe", nil), []channels.Receipt{person(channels.StopAsked, "unsubscribe")}},
		"of a group":       {event("group_unsubscribe", map[string]any{"asm_group_id": 7}), []channels.Receipt{person(channels.StopAsked, "group_unsubscribe")}},
		"back in a group":  {event("group_resubscribe", nil), []channels.Receipt{person(channels.StartAsked, "group_resubscribe")}},
		"open":             {event("open", nil), nil},
		"click":            {event("click", nil), nil},
		"a new one":        {event("teleported", nil), nil},
		"not ours":         {event("bounce", map[string]any{"notification_id": nil}), nil},
		"not as described": {event("bounce", map[string]any{"type": 7}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := events(t, c.event)
			require.Equal(t, c.want, got)
			for _, r := range got {
				require.NotContains(t, r.Detail+r.Code, "ann@")
			}
		})
	}
	require.Len(t, events(t, event("open", nil), event("delivered", nil), event("processed", nil)), 2)
	require.Empty(t, events(t))
	bare := events(t, map[string]any{"event": "unsubscribe", "notification_id": "n-1", "notification_attempt": "x"})
	require.Equal(t, []channels.Receipt{{News: channels.StopAsked, Kind: channels.Email, Code: "unsubscribe"}}, bare)
	for _, body := range []string{"", "{}", "[", "null x"} {
		_, err := signedEvents(t, body)
		require.ErrorIs(t, err, channels.ErrUnreadable, body)
	}
}
