package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// request is what a test asks for.
type request struct {
	method, path string
	body         any // a string or []byte is sent as it is, anything else as JSON
	header       map[string]string
	// wrong marks a request that the document doesn't allow.
	wrong bool
}

// reply is an answer that has been read and found to be as the document says.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

func (a *api) do(r request) *reply {
	a.t.Helper()
	out, err := a.patiently(r)
	require.NoError(a.t, err)
	return out
}

// patiently makes a request, and makes it again while the read models are behind
// for longer than one waits, as on a machine that has much else to do.
func (a *api) patiently(r request) (*reply, error) {
	for deadline := time.Now().Add(patience); ; {
		out, err := a.try(r)
		if err != nil || out.status != http.StatusServiceUnavailable || !strings.Contains(string(out.body), `"catching_up"`) || time.Now().After(deadline) {
			return out, err
		}
	}
}

func (a *api) try(r request) (*reply, error) {
	req, err := a.build(r)
	if err != nil {
		return nil, err
	}
	if !r.wrong {
		if err := validateRequest(req); err != nil {
			return nil, fmt.Errorf("%s %s: request: %w", r.method, r.path, err)
		}
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out := &reply{a.t, resp.StatusCode, resp.Header, body}
	if err := validateResponse(req, out); err != nil {
		return nil, fmt.Errorf("%s %s: answer %d %s: %w", r.method, r.path, resp.StatusCode, body, err)
	}
	return out, a.compare(r, out)
}

func (a *api) build(r request) (*http.Request, error) {
	var body []byte
	switch b := r.body.(type) {
	case nil:
	case string:
		body = []byte(b)
	case []byte:
		body = b
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(a.t.Context(), r.method, a.url+r.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		if value == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// compare reads what was written and finds it as the writer was told: an
// answer to a write comes from an aggregate, one to a read from the read models.
func (a *api) compare(r request, wrote *reply) error {
	if a.loose || wrote.status >= 300 || wrote.header.Get("ETag") == "" || wrote.header.Get("Idempotent-Replayed") != "" {
		return nil
	}
	if r.method != http.MethodPost && r.method != http.MethodPatch {
		return nil
	}
	var of struct {
		ID            string `json:"id"`
		EventID       string `json:"event_id"`
		Title         *string
		MinutesBefore *int    `json:"minutes_before"`
		Email         *string `json:"email"`
		Channel       *string `json:"channel"`
	}
	if err := json.Unmarshal(wrote.body, &of); err != nil {
		return err
	}
	var path string
	switch {
	case of.Title != nil:
		path = "/v1/events/" + of.ID
	case of.MinutesBefore != nil:
		path = "/v1/events/" + of.EventID + "/reminders/" + of.ID
	case of.Email != nil:
		path = "/v1/participants/" + of.ID
	case of.Channel != nil:
		path = "/v1/notifications/" + of.ID
	default:
		return nil
	}
	read, err := a.try(request{method: "GET", path: path, header: map[string]string{
		"Consistency-Token": wrote.header.Get("Consistency-Token"),
	}})
	if err != nil {
		return err
	}
	if read.status != http.StatusOK || !bytes.Equal(read.body, wrote.body) || read.header.Get("ETag") != wrote.header.Get("ETag") {
		return fmt.Errorf("%s: written\n%s%s\nbut read\n%s%s", path, wrote.header.Get("ETag"), wrote.body, read.header.Get("ETag"), read.body)
	}
	return nil
}
