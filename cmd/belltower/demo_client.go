package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// demoClient asks the service as any client does.
type demoClient struct{ url, token string }

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

func (o object) items() []object {
	list, _ := o["items"].([]any)
	items := make([]object, 0, len(list))
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			items = append(items, m)
		}
	}
	return items
}

// reply is what the service answered.
type reply struct {
	status int
	token  string // Consistency-Token
	body   object
}

// ask makes a request; after is a Consistency-Token that it is to see.
func (c demoClient) ask(ctx context.Context, method, path, after string, body any) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, sent)
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if after != "" {
		r.Header.Set("Consistency-Token", after)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	got := reply{status: answer.StatusCode, token: answer.Header.Get("Consistency-Token")}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &got.body); err != nil {
			return reply{}, fmt.Errorf("%s %s: the answer is not a JSON object: %w", method, path, err)
		}
	}
	return got, nil
}
