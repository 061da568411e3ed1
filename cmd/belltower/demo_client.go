package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/belltower/belltower/internal/client"
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
	asked := &client.Client{URL: c.url, Token: c.token}
	answer, err := asked.Ask(ctx, client.Request{Method: method, Path: path, Body: body, Key: c.key, After: after})
	if err != nil {
		return reply{}, err
	}
	got := reply{status: answer.Status, header: answer.Header}
	if len(answer.Body) > 0 {
		if err := json.Unmarshal(answer.Body, &got.body); err != nil {
			return reply{}, fmt.Errorf("%s %s: the answer is not a JSON object: %w", method, path, err)
		}
	}
	return got, nil
}
