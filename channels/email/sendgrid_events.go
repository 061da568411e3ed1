package email

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// What goes along with a mail and comes back with the news of it. SendGrid's own
// members are called otherwise; "attempt" is one of them.
const (
	argNotification = "notification_id"
	argAttempt      = "notification_attempt"
)

const (
	// oldestEvents is how long SendGrid goes on trying to tell what it could not, 24 h,
	// and some.
	oldestEvents = 25 * time.Hour
	clocksDiffer = 5 * time.Minute
)

// ParseEventsKey reads the key that SendGrid's settings show for its signed Event
// Webhook: one of ECDSA on P-256, in base64.
func ParseEventsKey(text string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("it is no public key")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no key of ECDSA on P-256")
	}
	return key, nil
}

// sendGridEvent is what is read of an event.
type sendGridEvent struct {
	Event        string `json:"event"`
	Email        string `json:"email"`
	Timestamp    int64  `json:"timestamp"` // Unix seconds
	EventID      string `json:"sg_event_id"`
	MessageID    string `json:"sg_message_id"`
	Type         string `json:"type"`   // of a bounce
	Reason       string `json:"reason"` // may quote anything
	Status       string `json:"status"` // RFC 3463
	Notification string `json:"notification_id"`
	Attempt      string `json:"notification_attempt"`
}

// Receive implements channels.Receiver: SendGrid's signed Event Webhook. Events of
// mail that isn't ours, of the same account, are passed over.
func (s *SendGrid) Receive(r *http.Request, body []byte) ([]channels.Receipt, error) {
	if s.o.EventsKey == nil {
		return nil, fmt.Errorf("%w: no key to verify it with is set", channels.ErrForged)
	}
	stamp := r.Header.Get("X-Twilio-Email-Event-Webhook-Timestamp")
	signature, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Twilio-Email-Event-Webhook-Signature"))
	if err != nil || stamp == "" {
		return nil, channels.ErrForged
	}
	digest := sha256.New()
	digest.Write([]byte(stamp))
	digest.Write(body)
	if !ecdsa.VerifyASN1(s.o.EventsKey, digest.Sum(nil), signature) {
		return nil, channels.ErrForged
	}
	seconds, err := strconv.ParseInt(stamp, 10, 40)
	if err != nil {
		return nil, fmt.Errorf("%w: the time is none", channels.ErrUnreadable)
	}
	if age := s.o.Now().Sub(time.Unix(seconds, 0)); age > oldestEvents || age < -clocksDiffer {
		return nil, channels.ErrStale
	}
	var told []json.RawMessage
	if err := json.Unmarshal(body, &told); err != nil {
		return nil, fmt.Errorf("%w: it is no list of events", channels.ErrUnreadable)
	}
	var receipts []channels.Receipt
	for _, one := range told {
		var e sendGridEvent
		// Other members of the account's mail may be anything; its events are not ours.
		if json.Unmarshal(one, &e) == nil && e.Notification != "" {
			receipts = append(receipts, e.receipts()...)
		}
	}
	return receipts, nil
}

var enhancedStatus = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// receipts is the news in an event. "processed" and "deferred" tell at least that
// SendGrid has the mail; opens and clicks tell nothing that is asked for.
func (e sendGridEvent) receipts() []channels.Receipt {
	attempt, err := strconv.Atoi(e.Attempt)
	if err != nil || attempt < 0 {
		attempt = 0
	}
	r := channels.Receipt{
		ID: outgoing.Ref(e.EventID), MessageID: e.Notification, Attempt: attempt,
		Kind: channels.Email, To: e.Email, Ref: outgoing.Ref(e.MessageID), Code: outgoing.Word(e.Event),
	}
	if e.Timestamp > 0 {
		r.At = time.Unix(e.Timestamp, 0)
	}
	wish := func(news channels.News) channels.Receipt {
		w := channels.Receipt{News: news, Kind: r.Kind, To: r.To, At: r.At, Code: r.Code}
		if r.ID != "" {
			w.ID = r.ID + "/" + news.String()
		}
		return w
	}
	switch e.Event {
	case "processed", "deferred":
		r.News = channels.Taken
	case "delivered":
		r.News = channels.Delivered
	case "bounce":
		r.News, r.Detail = channels.AddressDied, "sendgrid: it bounced"
		if e.Type == "blocked" { // the mail was refused, not its address
			r.News, r.Detail = channels.Bounced, "sendgrid: it was blocked"
		}
		if enhancedStatus.MatchString(e.Status) {
			r.Code, r.Detail = e.Status, r.Detail+" ("+e.Status+")"
		}
	case "dropped":
		return e.dropped(r, wish)
	case "spamreport":
		r.News = channels.Complained
	case "unsubscribe", "group_unsubscribe":
		return []channels.Receipt{wish(channels.StopAsked)}
	case "group_resubscribe":
		return []channels.Receipt{wish(channels.StartAsked)}
	default:
		return nil
	}
	return []channels.Receipt{r}
}

// dropped is the news in a mail that SendGrid didn't try to deliver: what it knows of
// the address from before.
func (e sendGridEvent) dropped(r channels.Receipt, wish func(channels.News) channels.Receipt) []channels.Receipt {
	r.News = channels.Bounced
	switch reason := strings.ToLower(e.Reason); {
	case strings.HasPrefix(reason, "bounced address"), strings.HasPrefix(reason, "invalid"):
		r.News, r.Detail = channels.AddressDied, "sendgrid: dropped, as the address bounced before or is none"
	case strings.HasPrefix(reason, "unsubscribed"):
		r.Detail = "sendgrid: dropped, as the recipient has unsubscribed"
		return []channels.Receipt{r, wish(channels.StopAsked)}
	case strings.HasPrefix(reason, "spam reporting"):
		r.Detail = "sendgrid: dropped, as the recipient has called an earlier one spam"
		return []channels.Receipt{r, wish(channels.Complained)}
	default:
		r.Detail = "sendgrid: dropped"
	}
	return []channels.Receipt{r}
}
