package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Problem is an answer that is no success, as RFC 9457 has it; or what is known
// of one that somebody in between has given.
type Problem struct {
	Status int     `json:"status"`
	Title  string  `json:"title"`
	Detail string  `json:"detail"`
	Code   string  `json:"code"`
	Errors []Fault `json:"errors"`
}

// Fault is what is wrong with one field.
type Fault struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *Problem) Error() string {
	if p.Code == "" {
		return fmt.Sprintf("%s (%d)", p.Detail, p.Status)
	}
	return fmt.Sprintf("%s (%d %s)", p.Detail, p.Status, p.Code)
}

// Temporary tells that the service may answer otherwise before long.
func (p *Problem) Temporary() bool {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func problemOf(address string, r Reply) *Problem {
	p := &Problem{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(r.Body, p) == nil && p.Detail != "" {
		p.Status = r.Status
		return p
	}
	p = &Problem{Status: r.Status, Title: http.StatusText(r.Status)}
	switch to := r.Header.Get("Location"); {
	case r.Status < 400 && to != "":
		p.Detail = fmt.Sprintf("%s sends on to %s; name that address", address, to)
	default:
		p.Detail = fmt.Sprintf("%s answers %q, and not as Belltower does", address, http.StatusText(r.Status))
	}
	return p
}
