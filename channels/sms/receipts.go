package sms

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // it is what Twilio signs with
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// The query of the address that Twilio calls: which message its news is about.
const (
	paramNotification = "notification"
	paramAttempt      = "attempt"
)

// callback is where Twilio tells what became of an attempt; empty: nowhere.
func (t *Twilio) callback(m channels.Message) string {
	if t.o.Receipts == "" {
		return ""
	}
	return t.o.Receipts + "?" + url.Values{paramNotification: {m.ID}, paramAttempt: {strconv.Itoa(m.Attempt)}}.Encode()
}

// Receive implements channels.Receiver: the status of a message that was sent, or a
// message from a recipient, of which STOP and START are news. Twilio signs no time.
// The same news has the same id.
func (t *Twilio) Receive(r *http.Request, body []byte) ([]channels.Receipt, error) {
	if t.o.Receipts == "" {
		return nil, fmt.Errorf("%w: it is over a public URL, and none is set", channels.ErrForged)
	}
	called := t.o.Receipts
	if r.URL.RawQuery != "" {
		called += "?" + r.URL.RawQuery
	}
	if !signed(t.o.Token, called, body, r.Header.Get("X-Twilio-Signature")) {
		return nil, channels.ErrForged
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: it is no form", channels.ErrUnreadable)
	}
	sid := outgoing.Ref(form.Get("MessageSid"))
	if sid == "" {
		return nil, fmt.Errorf("%w: it names no message", channels.ErrUnreadable)
	}
	if status := form.Get("MessageStatus"); status != "" {
		return statusOf(r.URL.Query(), form, sid, status), nil
	}
	return wishOf(form, sid), nil
}

// signed tells whether Twilio signed a call: an HMAC-SHA1 over the address as it was
// given to Twilio, with or without its port, and each parameter of a form, sorted. Of
// other bodies the address holds a digest.
func signed(token, called string, body []byte, signature string) bool {
	given, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || signature == "" {
		return false
	}
	u, err := url.Parse(called)
	if err != nil {
		return false
	}
	var params strings.Builder
	if digest := u.Query().Get("bodySHA256"); digest != "" {
		sum := sha256.Sum256(body)
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(strings.ToLower(digest))) != 1 {
			return false
		}
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return false
		}
		for _, name := range slices.Sorted(maps.Keys(form)) {
			values := slices.Clone(form[name])
			slices.Sort(values)
			for _, value := range slices.Compact(values) {
				params.WriteString(name + value)
			}
		}
	}
	ok := 0
	for _, address := range withAndWithoutPort(called, u) {
		mac := hmac.New(sha1.New, []byte(token))
		mac.Write([]byte(address + params.String()))
		ok |= subtle.ConstantTimeCompare(mac.Sum(nil), given)
	}
	return ok == 1
}

// withAndWithoutPort gives the ways in which Twilio may spell an address. All else of
// it stays as it is, to the letter.
func withAndWithoutPort(called string, u *url.URL) []string {
	scheme, rest, _ := strings.Cut(called, "://")
	rest = strings.TrimPrefix(rest, u.Host)
	bare := strings.TrimSuffix(u.Host, ":"+u.Port())
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return []string{scheme + "://" + bare + rest, scheme + "://" + bare + ":" + port + rest}
}

// gone are the codes that come with a message that wasn't delivered as there is
// nobody at that number: an unknown handset; a landline, or no carrier.
var gone = map[string]bool{"30005": true, "30006": true}

const codeStopped = "21610" // the recipient has said STOP

// statusOf is the news in the status of a message. What is still on its way tells
// at least that Twilio has it.
func statusOf(query, form url.Values, sid, status string) []channels.Receipt {
	attempt, err := strconv.Atoi(query.Get(paramAttempt))
	if err != nil || attempt < 0 {
		attempt = 0
	}
	r := channels.Receipt{
		ID: sid + "/" + outgoing.Word(status), MessageID: query.Get(paramNotification), Attempt: attempt,
		Kind: channels.Phone, To: e164(form.Get("To")), Ref: sid, Code: status,
	}
	switch status {
	case "accepted", "scheduled", "queued", "sending", "sent":
		r.News = channels.Taken
	case "delivered", "read":
		r.News = channels.Delivered
	case "undelivered", "failed", "canceled":
		return failed(r, status, form.Get("ErrorCode"))
	default:
		return nil // one that Twilio has added since
	}
	return []channels.Receipt{r}
}

func failed(r channels.Receipt, status, code string) []channels.Receipt {
	r.News, r.Detail = channels.Bounced, "twilio: "+status
	if _, err := strconv.ParseUint(code, 10, 32); err == nil {
		r.Code, r.Detail = code, r.Detail+" ("+code+")"
	}
	if gone[r.Code] {
		r.News = channels.AddressDied
	}
	if r.Code != codeStopped {
		return []channels.Receipt{r}
	}
	stop := channels.Receipt{ID: r.ID + "/stop", News: channels.StopAsked, Kind: r.Kind, To: r.To, Code: r.Code}
	return []channels.Receipt{r, stop}
}

// The words that end messages and begin them again. They count alone, in any case.
var (
	stopWords  = []string{"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"}
	startWords = []string{"START", "YES", "UNSTOP"}
)

// wishOf is the news in a message from a recipient: Twilio's own reading of it, where
// it gives one, else ours.
func wishOf(form url.Values, sid string) []channels.Receipt {
	word := strings.ToUpper(strings.TrimSpace(form.Get("Body")))
	if read := form.Get("OptOutType"); read != "" {
		word = read
	}
	r := channels.Receipt{ID: sid, Kind: channels.Phone, To: e164(form.Get("From"))}
	switch {
	case r.To == "":
		return nil // it came another way than as a text message
	case slices.Contains(stopWords, word):
		r.News = channels.StopAsked
	case slices.Contains(startWords, word):
		r.News = channels.StartAsked
	default:
		return nil
	}
	r.Code = word
	return []channels.Receipt{r}
}

// e164 gives what is a number; else "".
func e164(text string) string {
	if !number.MatchString(text) {
		return ""
	}
	return text
}
