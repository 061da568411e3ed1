package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// object is a resource as JSON has it.
type object map[string]any

func (o object) text(field string) string {
	s, _ := o[field].(string)
	return s
}

func (o object) number(field string) int {
	n, _ := o[field].(float64)
	return int(n)
}

func (o object) inner(field string) object {
	m, _ := o[field].(map[string]any)
	return m
}

func (o object) items() []object { return o.list("items") }

func (o object) list(field string) []object {
	list, _ := o[field].([]any)
	items := make([]object, 0, len(list))
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			items = append(items, m)
		}
	}
	return items
}

// at is a time as requests have it.
func at(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// api asks a service; it may be used concurrently.
type api struct {
	url    string
	client *http.Client
}

func newAPI(url string) api {
	return api{url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
}

func (a api) close() {
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
}

// request is what is asked.
type request struct {
	method, path string
	key          string // Idempotency-Key; empty: none
	after        string // Consistency-Token; empty: none
	body         object // nil: none
}

// reply is what the service answered.
type reply struct {
	status int
	header http.Header
	body   object
}

// token is the Consistency-Token of a write.
func (r reply) token() string { return r.header.Get("Consistency-Token") }

// ask makes a request.
func (a api) ask(ctx context.Context, q request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sent io.Reader
	if q.body != nil {
		data, err := json.Marshal(q.body)
		if err != nil {
			return reply{}, err
		}
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, a.url+q.path, sent)
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Authorization", "Bearer "+admin)
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.key != "" {
		r.Header.Set("Idempotency-Key", q.key)
	}
	if q.after != "" {
		r.Header.Set("Consistency-Token", q.after)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: read the answer: %w", q.method, q.path, err)
	}
	got := reply{status: answer.StatusCode, header: answer.Header}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &got.body); err != nil {
			return reply{}, fmt.Errorf("%s %s: the answer is not a JSON object: %w", q.method, q.path, err)
		}
	}
	return got, nil
}
