package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reachable makes an address to connect to of one to listen on.
func reachable(listen string) string {
	if listen == "" {
		return "127.0.0.1:8080"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ask gets an answer of the service's.
func (e *examination) ask(ctx context.Context, path string, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(e.url, "/")+path, nil)
	if err != nil {
		return 0, err
	}
	if e.token != "" {
		request.Header.Set("Authorization", "Bearer "+e.token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, json.Unmarshal(body, into)
}

// serverStats is what the doctor reads of GET /v1/stats.
type serverStats struct {
	Processor struct {
		State            string  `json:"state"`
		Due              int     `json:"due"`
		OldestDueSeconds float64 `json:"oldest_due_seconds"`
	} `json:"processor"`
	Conservation struct {
		Holes int `json:"holes"`
	} `json:"conservation"`
	Overtaken int `json:"overtaken"`
	Planner   struct {
		LagSeconds float64 `json:"lag_seconds"`
		Error      string  `json:"error"`
	} `json:"planner"`
	Channels []struct {
		Name     string `json:"name"`
		Provider string `json:"provider"`
		State    string `json:"state"`
	} `json:"channels"`
}

// server looks at what a running service says of itself.
func (e *examination) server(ctx context.Context) {
	defer http.DefaultClient.CloseIdleConnections()
	if e.token == "" {
		if kept, err := os.ReadFile(filepath.Join(e.data, adminTokenFile)); err == nil {
			e.token = strings.TrimSpace(string(kept))
		}
	}
	var ready struct {
		Status string `json:"status"`
		Detail string `json:"detail"`
	}
	status, err := e.ask(ctx, "/readyz", &ready)
	switch {
	case err != nil:
		e.add("service", failing, err.Error(), "name its address with --url; if it is right, the service hangs: look at its log")
		return
	case status != http.StatusOK:
		e.add("service", failing, "it is not ready: "+ready.Detail, "wait while it catches up after a start; if it lasts, look at its log")
	default:
		e.add("service", good, e.url+" is ready", "")
	}
	var stats serverStats
	status, err = e.ask(ctx, "/v1/stats", &stats)
	switch {
	case err != nil:
		e.add("statistics", failing, err.Error(), "look at the service's log")
		return
	case status == http.StatusUnauthorized:
		e.add("statistics", warning, "the service doesn't take the token", "give it in "+adminTokenVariable)
		return
	case status != http.StatusOK:
		e.add("statistics", failing, fmt.Sprintf("GET /v1/stats answers %d", status), "look at the service's log")
		return
	}
	e.judge(stats)
}

// behindAfter is the lag of the planner that is worth a word, in seconds.
const behindAfter = 60

func (e *examination) judge(s serverStats) {
	if holes := s.Conservation.Holes; holes > 0 {
		e.add("holes", failing, fmt.Sprintf("%d notifications are neither final nor on their way, or not planned as they are to be", holes),
			"the service's log names them; stop it and run 'belltower audit' for all of them. A hole is always a fault of Belltower's: please report it")
	} else {
		e.add("holes", good, "none", "")
	}
	switch p := s.Planner; {
	case p.Error != "":
		e.add("planner", failing, "it stands still: "+p.Error, "look at the service's log; it tries again by itself")
	case p.LagSeconds > behindAfter:
		e.add("planner", warning, fmt.Sprintf("it is %.0f s behind", p.LagSeconds), "wait, as after a large change; if it lasts, the disk is too slow")
	default:
		e.add("planner", good, "up to date", "")
	}
	switch p := s.Processor; {
	case p.State != "running":
		e.add("sending", warning, fmt.Sprintf("stopped, with %d due", p.Due), "start it with POST /v1/processor/start, if that isn't meant so")
	case p.OldestDueSeconds > behindAfter:
		e.add("sending", warning, fmt.Sprintf("%d are due, the first for %.0f s", p.Due, p.OldestDueSeconds), "look at the channels: a rate limit, or a provider that doesn't answer")
	default:
		e.add("sending", good, "running", "")
	}
	for _, c := range s.Channels {
		if c.State != "ready" {
			e.add("channel", warning, fmt.Sprintf("%s, by %s, waits for its provider", c.Name, c.Provider), "look at the service's log for what the provider says; it goes on by itself")
		}
	}
	if s.Overtaken > 0 {
		e.add("overtaken", warning, fmt.Sprintf("%d messages left while the change that made them wrong was acknowledged, after a second's wait", s.Overtaken), "their histories name them; the provider is slow")
	}
}
