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
type demoClient struct {
	url, token string
	key        string // Idempotency-Key; empty: none
}

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

func (o object) texts(field string) []string {
	list, _ := o[field].([]any)
	texts := make([]string, 0, len(list))
	for _, item := range list {
		if s, ok := item.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// reply is what the service answered.
type reply struct {
	status int
	header http.Header
	body   object
}

// token is the Consistency-Token of a write.
func (r reply) token() string { return r.header.Get("Consistency-Token") }

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
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
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
	got := reply{status: answer.StatusCode, header: answer.Header}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &got.body); err != nil {
			return reply{}, fmt.Errorf("%s %s: the answer is not a JSON object: %w", method, path, err)
		}
	}
	return got, nil
}
