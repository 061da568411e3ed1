// Package slack posts messages into one Slack channel, for a team that wants its
// reminders in one place: by an incoming webhook, or as an app by chat.postMessage.
// The participant's address is not used, and never leaves Belltower.
//
// Slack has no idempotency key: sending again after an unknown outcome may post
// twice, so either is registered with HoldUnknown.
package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// Webhook posts through an incoming webhook. Its methods may be called concurrently.
type Webhook struct {
	url string // a secret: whoever has it can post
	outgoing.Sender
}

// NewWebhook makes a channel of an incoming webhook's URL. Its errors don't show it.
func NewWebhook(url string, client *outgoing.Client) (*Webhook, error) {
	if err := client.CheckURL(url); err != nil {
		return nil, fmt.Errorf("slack: the webhook's URL: %w", err)
	}
	w := &Webhook{url: url}
	w.Sender = outgoing.Sender{Name: "slack", Client: client, Now: time.Now, Check: w.Check, Request: w.request, Read: readWebhook}
	return w, nil
}

// Server names who is called, for people.
func (w *Webhook) Server() string { return outgoing.Host(w.url) }

// Check refuses what Slack would not take.
func (w *Webhook) Check(m channels.Message) error { return check(m) }

func (w *Webhook) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	return post(ctx, w.url, payloadOf("", m))
}

func post(ctx context.Context, url string, body any) (*http.Request, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	return req, nil
}

// readWebhook says what a webhook's answer means, which is one word.
func readWebhook(a outgoing.Answer) channels.Result {
	answer := strings.TrimSpace(string(a.Body))
	result := channels.Result{Code: outgoing.Word(answer)}
	switch status := a.Status; {
	case status == http.StatusOK && answer == "ok" && !a.Cut:
		return channels.Result{Outcome: channels.Accepted}
	case status == http.StatusOK: // somebody else's page
		result.Code = ""
	case a.Redirects(), status == http.StatusUnauthorized, status == http.StatusForbidden:
		result.Outcome = channels.Broken
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		result.Outcome = channels.Rejected
	case status == http.StatusNotFound, status == http.StatusGone: // channel_not_found, no_service; channel_is_archived
		result.Outcome = channels.Gone
	case status == http.StatusTooManyRequests:
		result.Outcome, result.NotBefore, result.Scope = channels.Later, outgoing.RetryAfter(a, time.Now()), channels.SameEndpoint
	}
	return result // else Unknown: it may have been taken
}
