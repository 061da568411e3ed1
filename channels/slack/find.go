package slack

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

const (
	// settled is how long after an attempt began the channel's history has its
	// message, if it was posted.
	settled = 2 * time.Minute
	// skew is how far Slack's clock may be behind ours.
	skew     = time.Minute
	pageSize = 15 // all that Slack gives to some apps, and it fits into what is read of an answer
	maxPages = 20
)

// metadata tells apps what a message is; people don't see it. By it a message is
// found again.
type metadata struct {
	Type    string `json:"event_type"`
	Payload struct {
		NotificationID string `json:"notification_id"`
	} `json:"event_payload"`
}

func metadataOf(id string) *metadata {
	m := &metadata{Type: "belltower_notification"}
	m.Payload.NotificationID = id
	return m
}

// posted is a message in a channel's history.
type posted struct {
	TS       string    `json:"ts"`
	Metadata *metadata `json:"metadata"`
}

var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{5,20}$`)

// Findable is an App that can be asked what it posted. Its channel is an id, as
// Slack's history is asked for by one, and its token may read that history.
type Findable struct{ *App }

// Findable gives a as a channel whose Unknowns can be settled; ok is false where its
// channel is named otherwise than by its id.
func (a *App) Findable() (f Findable, ok bool) {
	return Findable{a}, channelID.MatchString(a.o.Channel)
}

// Find looks for the message in the channel's history, by its id, from when its
// attempt began until two minutes later (conversations.history with
// include_all_metadata). What somebody has deleted there is not found.
func (f Findable) Find(ctx context.Context, m channels.Message, began time.Time) channels.Result {
	notYet := channels.Result{Outcome: channels.Unknown, Code: "not_settled", Detail: "slack: it can't be told yet whether the message was posted"}
	asked := f.o.Now()
	query := url.Values{
		"channel": {f.o.Channel}, "include_all_metadata": {"true"}, "inclusive": {"true"}, "limit": {strconv.Itoa(pageSize)},
		"oldest": {stamp(began.Add(-skew))}, "latest": {stamp(began.Add(settled + skew))},
	}
	for range maxPages {
		list, next, result := f.page(ctx, query)
		if result.Outcome != channels.Accepted {
			result.Outcome = channels.Unknown
			return result
		}
		for _, one := range list {
			if one.Metadata != nil && one.Metadata.Type == metadataOf("").Type && one.Metadata.Payload.NotificationID == m.ID {
				return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(f.o.Channel + ":" + one.TS), Detail: "slack: found in the channel's history"}
			}
		}
		if next == "" {
			return channels.NotThere(asked, began.Add(settled), notYet, "slack: it is not in the channel's history")
		}
		query.Set("cursor", next)
	}
	return notYet
}

// stamp is a time as Slack has it.
func stamp(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10) + ".000000"
}

// page reads a page of the history; next is empty after the last. Its result is
// Accepted where that worked.
func (f Findable) page(ctx context.Context, query url.Values) (list []posted, next string, result channels.Result) {
	req, err := f.get(ctx, "/conversations.history?"+query.Encode())
	if err != nil {
		return nil, "", channels.Result{Outcome: channels.Broken, Detail: "slack: the URL is none"}
	}
	asking := f.Sender
	asking.Read = func(a outgoing.Answer) channels.Result {
		var body struct {
			OK       bool     `json:"ok"`
			Messages []posted `json:"messages"`
			More     bool     `json:"has_more"`
			Response struct {
				Next string `json:"next_cursor"`
			} `json:"response_metadata"`
		}
		result := readAPI(a)
		if result.Outcome != channels.Accepted {
			return result
		}
		if json.Unmarshal(a.Body, &body) != nil || body.Messages == nil || body.More && body.Response.Next == "" {
			return channels.Result{Outcome: channels.Unknown, Code: "history", Detail: "slack: the channel's history can't be read"}
		}
		list, next = body.Messages, body.Response.Next
		return channels.Result{Outcome: channels.Accepted}
	}
	result, _ = asking.Call(req)
	return list, next, result
}
