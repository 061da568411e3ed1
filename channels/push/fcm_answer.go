package push

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// quotaWait is how long FCM wants to be left alone after 429 without Retry-After
// (its "Best practices when sending FCM messages at scale", "Handling retries").
const quotaWait = time.Minute

// fcmAnswer is what FCM says of a message.
type fcmAnswer struct {
	Name  string `json:"name"`
	Error struct {
		Status  string `json:"status"`
		Details []struct {
			Type            string `json:"@type"`
			ErrorCode       string `json:"errorCode"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// code is FCM's own code of an error, and what is wrong in the request by its field.
func (a fcmAnswer) code() (code string, badToken bool) {
	for _, d := range a.Error.Details {
		if strings.HasSuffix(d.Type, "/google.firebase.fcm.v1.FcmError") {
			code = d.ErrorCode
		}
		for _, v := range d.FieldViolations {
			badToken = badToken || v.Field == "message.token"
		}
	}
	return code, badToken
}

// readFCM says what an answer means. Only what says so of the token itself gives an
// address up: a plain 404 may be a wrong project, a plain 400 a message too large.
func readFCM(a outgoing.Answer, now time.Time) channels.Result {
	var said fcmAnswer
	if err := json.Unmarshal(a.Body, &said); err != nil || a.Cut { // what stands before FCM answers in HTML
		said = fcmAnswer{}
	}
	code, badToken := said.code()
	result := channels.Result{Code: outgoing.Word(code)}
	if result.Code == "" {
		result.Code = outgoing.Word(said.Error.Status)
	}
	switch status := a.Status; {
	case status == http.StatusOK && (said.Name != "" || a.Cut): // a whole answer without a name is somebody else's
		return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(said.Name)}
	case status == http.StatusNotFound && code == "UNREGISTERED",
		status == http.StatusForbidden && code == "SENDER_ID_MISMATCH",
		status == http.StatusBadRequest && badToken:
		result.Outcome = channels.Gone
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		result.Outcome = channels.Rejected
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		a.Redirects(): // not FCM
		result.Outcome = channels.Broken
	case status == http.StatusTooManyRequests:
		result.Outcome, result.NotBefore, result.Scope = channels.Later, outgoing.RetryAfter(a, now), channels.SameEndpoint
		if result.NotBefore.IsZero() {
			result.NotBefore = now.Add(quotaWait)
		}
	case status == http.StatusInternalServerError, status == http.StatusBadGateway, status == http.StatusServiceUnavailable:
		// Documented as errors to try again after.
		result.Outcome, result.NotBefore = channels.Later, outgoing.RetryAfter(a, now)
	}
	return result
}
