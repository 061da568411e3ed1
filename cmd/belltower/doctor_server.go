package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/client"
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

// answerTime is how long a service that is well takes at most.
const answerTime = 10 * time.Second

// ask gets an answer of the service's.
func ask(ctx context.Context, c *client.Client, path string, into any) (client.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	reply, err := c.Ask(ctx, client.Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(reply.Body, into); err != nil {
		return reply, fmt.Errorf("%s%s answers %d and no JSON: is that Belltower?", c.URL, path, reply.Status)
	}
	return reply, nil
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
	Projections []struct {
		Name    string              `json:"name"`
		Error   string              `json:"error"`
		Rebuild *httpapi.Rebuilding `json:"rebuild"`
	} `json:"projections"`
	Channels []struct {
		Name      string    `json:"name"`
		Provider  string    `json:"provider"`
		State     string    `json:"state"`
		Reason    string    `json:"reason"`
		Since     time.Time `json:"since"`
		Endpoints []struct {
			Endpoint string    `json:"endpoint"`
			Reason   string    `json:"reason"`
			Since    time.Time `json:"since"`
		} `json:"endpoints"`
	} `json:"channels"`
}

// server looks at what a running service says of itself.
func (e *examination) server(ctx context.Context, c *client.Client) {
	var ready struct {
		Detail string `json:"detail"`
	}
	asked := e.now()
	reply, err := ask(ctx, c, "/readyz", &ready)
	switch {
	case err != nil:
		e.add("service", failing, err.Error(), "name its address with --url; if it is right, the service hangs: look at its log")
		return
	case reply.Status != http.StatusOK:
		e.add("service", failing, "it is not ready: "+ready.Detail, "wait while it catches up after a start; if it lasts, look at its log")
	default:
		e.add("service", good, c.URL+" is ready", "")
	}
	e.clocks(reply.Header.Get("Date"), asked, e.now())
	var stats serverStats
	reply, err = ask(ctx, c, "/v1/stats", &stats)
	switch {
	case err != nil:
		e.add("statistics", failing, err.Error(), "look at the service's log")
		return
	case reply.Status == http.StatusUnauthorized:
		e.add("statistics", warning, "the service doesn't take the token", "give the token in BELLTOWER_TOKEN, or its file with --token-file")
		return
	case reply.Status != http.StatusOK:
		e.add("statistics", failing, fmt.Sprintf("GET /v1/stats answers %d", reply.Status), "look at the service's log")
		return
	}
	e.judge(stats)
}

// clocksApart is how much the two clocks may differ.
const clocksApart = 5 * time.Second

// clocks compares the clock of the service, in whole seconds, with this one,
// which showed asked before and heard after its answer.
func (e *examination) clocks(date string, asked, heard time.Time) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return // somebody in between takes it away; the clock itself has been looked at
	}
	ahead, behind := theirs.Sub(heard), asked.Sub(theirs.Add(time.Second))
	switch advice := "set both by NTP: reminders go out by the service's clock"; {
	case ahead > clocksApart:
		e.add("clocks", warning, fmt.Sprintf("the service's is %s ahead of this machine's", ahead.Round(time.Second)), advice)
	case behind > clocksApart:
		e.add("clocks", warning, fmt.Sprintf("the service's is %s behind this machine's", behind.Round(time.Second)), advice)
	default:
		e.add("clocks", good, "the service's and this machine's agree", "")
	}
}

// behindAfter is the lag of the planner that is worth a word, in seconds.
const behindAfter = 60

func (e *examination) judge(s serverStats) {
	for _, p := range s.Projections {
		switch b := p.Rebuild; {
		case b == nil:
		case b.State == httpapi.RebuildRunning:
			e.add("replay", good, fmt.Sprintf("%s: %s, %.0f %% of the log so far", p.Name, b.Purpose, 100*b.Part), "")
		case b.State == httpapi.RebuildFailed:
			e.add("replay", warning, fmt.Sprintf("%s: the last %s failed: %s", p.Name, b.Purpose, b.Error), "nothing was changed by it; run 'belltower replay' again")
		case b.DifferencesInAll > 0:
			e.add("replay", failing, fmt.Sprintf("%s: the last verify found %d differences", p.Name, b.DifferencesInAll), "run 'belltower replay --projection "+p.Name+"', which mends them, and please report it")
		}
		if p.Error != "" {
			e.add("read models", failing, p.Error, "they go on by themselves once that is mended; where a newer Belltower wrote the fact, run that version")
		}
	}
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
		e.add("sending", warning, fmt.Sprintf("stopped, with %d due", p.Due), "run 'belltower processor start', if that isn't meant so")
	case p.OldestDueSeconds > behindAfter:
		e.add("sending", warning, fmt.Sprintf("%d are due, the first for %.0f s", p.Due, p.OldestDueSeconds), "look at the channels: a rate limit, or a provider that doesn't answer")
	default:
		e.add("sending", good, "running", "")
	}
	for _, c := range s.Channels {
		switch c.State {
		case "disabled":
			e.add("channel", warning, fmt.Sprintf("%s, by %s, is disabled since %s, as its receiver said that it wants no more: %s", c.Name, c.Provider, c.Since.Format(time.RFC3339), c.Reason), "mend the receiver, then release its URL (docs/channels.md, Webhooks)")
		case "paused":
			e.add("channel", warning, fmt.Sprintf("%s, by %s, waits for its provider since %s: %s", c.Name, c.Provider, c.Since.Format(time.RFC3339), c.Reason), "mend what the provider says; it goes on by itself")
		}
		for _, p := range c.Endpoints {
			e.add("channel", warning, fmt.Sprintf("%s, by %s, waits for %s since %s: %s", c.Name, c.Provider, p.Endpoint, p.Since.Format(time.RFC3339), p.Reason), "nothing: the others go on, and so does this one by itself")
		}
	}
	if s.Overtaken > 0 {
		e.add("overtaken", warning, fmt.Sprintf("%d messages left while the change that made them wrong was acknowledged, after a second's wait", s.Overtaken), "their histories name them; the provider is slow")
	}
}
