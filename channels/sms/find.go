package sms

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

const (
	// settled is how long after an attempt began Twilio's list has its message, if
	// it was taken.
	settled = 2 * time.Minute
	// skew is how far Twilio's clock may be behind ours.
	skew     = time.Minute
	pageSize = 20 // texts of 1,600 characters each fit into what is read of an answer
	maxPages = 50
)

// sent is a message in Twilio's list.
type sent struct {
	SID         string `json:"sid"`
	To          string `json:"to"`
	Body        string `json:"body"`
	Direction   string `json:"direction"`
	DateCreated string `json:"date_created"` // RFC 1123 with a numeric zone
}

// Find asks Twilio for the messages to the recipient since began, when the attempt
// did, and looks for one with the same text. It doesn't ask by the day of sending,
// which a message that waits has not yet. A second message with the same text in
// that time would be taken for the first.
func (t *Twilio) Find(ctx context.Context, m channels.Message, began time.Time) channels.Result {
	notYet := channels.Result{Outcome: channels.Unknown, Code: "not_settled", Detail: "twilio: it can't be told yet whether the message was taken"}
	if err := t.Check(m); err != nil { // it has never been sent
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}
	}
	asked := t.o.Now()
	notThere := func() channels.Result {
		return channels.NotThere(asked, began.Add(settled), notYet, "twilio: it is not among the messages that it took")
	}
	query := url.Values{"To": {m.To}, "PageSize": {strconv.Itoa(pageSize)}}
	for range maxPages {
		list, next, result := t.page(ctx, query)
		if result.Outcome != channels.Accepted {
			result.Outcome = channels.Unknown
			return result
		}
		for _, one := range list {
			created, err := time.Parse(time.RFC1123Z, one.DateCreated)
			if err != nil {
				return notYet
			}
			if created.Before(began.Add(-skew)) { // the newest come first
				return notThere()
			}
			if one.To != m.To || one.Direction == "inbound" {
				continue
			}
			if one.Body == "" { // the account hides texts
				return channels.Result{Outcome: channels.Unknown, Code: "redacted", Detail: "twilio: texts are redacted, so it can't be told whether the message was taken"}
			}
			// Trial accounts put a sentence before each text.
			if strings.HasSuffix(strings.TrimSpace(one.Body), strings.TrimSpace(textOf(m))) {
				return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(one.SID), Detail: "twilio: found among the messages that it took"}
			}
		}
		if next == nil {
			return notThere()
		}
		query = next
	}
	return notYet
}

// page reads a page of the list; next is nil after the last. Its result is
// Accepted where that worked.
func (t *Twilio) page(ctx context.Context, query url.Values) (list []sent, next url.Values, result channels.Result) {
	req, err := t.call(ctx, http.MethodGet, "/Messages.json?"+query.Encode(), "")
	if err != nil {
		return nil, nil, channels.Result{Outcome: channels.Broken, Detail: "twilio: the URL is none"}
	}
	asking := t.sender
	asking.Read = func(a outgoing.Answer) channels.Result {
		var body struct {
			Messages []sent  `json:"messages"`
			Next     *string `json:"next_page_uri"`
		}
		if a.Status != http.StatusOK {
			return t.read(a)
		}
		if a.Cut || json.Unmarshal(a.Body, &body) != nil || body.Messages == nil {
			return channels.Result{Outcome: channels.Unknown, Code: "list", Detail: "twilio: the list of messages can't be read"}
		}
		list = body.Messages
		if body.Next != nil && *body.Next != "" {
			u, err := url.Parse(*body.Next)
			if err != nil { // only its query is used: the list is where it was
				return channels.Result{Outcome: channels.Unknown, Code: "list", Detail: "twilio: the list of messages can't be read"}
			}
			next = u.Query()
		}
		return channels.Result{Outcome: channels.Accepted}
	}
	result, _ = asking.Call(req)
	return list, next, result
}
