// Package ours runs the built service as a process and asks it over HTTP.
package ours

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
)

const token = "token-of-the-bench"

// Connections is how many requests a Service's client has under way at most.
const Connections = 256

// Service is the built service at work. Its settings are the defaults; e-mail
// goes through the console channel, which writes a line of JSON to standard
// output for each message and does nothing else. Standard output is a file.
type Service struct {
	*lab.Process
	URL    string
	client *http.Client
	dir    string // of its output
}

// Start starts the service on a data folder, and waits until it says its address.
func Start(ctx context.Context, l *lab.Lab, data string) (*Service, error) {
	binary, err := l.Belltower(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := l.Folder("belltower")
	if err != nil {
		return nil, err
	}
	cmd := lab.Command(context.WithoutCancel(ctx), binary, "serve", "--listen", "127.0.0.1:0", "--data", data)
	cmd.Dir = dir // where no file with settings is
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"), "BELLTOWER_ADMIN_TOKEN=" + token}
	s := &Service{dir: dir, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: Connections, MaxConnsPerHost: Connections, DisableCompression: true,
	}}}
	if s.Process, err = lab.Start(dir, cmd); err != nil {
		return nil, err
	}
	err = s.Until(ctx, 2*time.Millisecond, func() (bool, error) {
		said, err := os.ReadFile(s.Out)
		for line := range strings.Lines(string(said)) {
			if url, ok := strings.CutPrefix(strings.TrimSpace(line), "address "); ok && strings.HasSuffix(line, "\n") {
				s.URL = strings.TrimSpace(url)
			}
		}
		return s.URL != "", err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start belltower: %w", err), s.Kill())
	}
	return s, nil
}

// Fresh starts the service on an empty data folder, and gives what ends it and
// removes the folder.
func Fresh(ctx context.Context, l *lab.Lab) (s *Service, end func() error, err error) {
	data, err := l.Folder("data")
	if err != nil {
		return nil, nil, err
	}
	if s, err = Start(ctx, l, data); err != nil {
		return nil, nil, err
	}
	return s, func() error { return errors.Join(s.End(), os.RemoveAll(data)) }, nil
}

// End ends the service in order and removes what it has written to its output.
func (s *Service) End() error {
	s.client.CloseIdleConnections()
	return errors.Join(s.Stop(syscall.SIGTERM), os.RemoveAll(s.dir))
}

// Object is JSON.
type Object = map[string]any

// Ask makes a request with a body, where it isn't nil, expects a status, and
// reads the answer into the last argument, where that isn't nil.
func (s *Service) Ask(ctx context.Context, want int, method, path string, body, into any) error {
	return s.Keyed(ctx, "", want, method, path, body, into)
}

// Keyed is Ask with an idempotency key.
func (s *Service) Keyed(ctx context.Context, key string, want int, method, path string, body, into any) error {
	var sent io.Reader
	if raw, ok := body.([]byte); ok {
		sent = bytes.NewReader(raw)
	} else if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, sent)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer answer.Body.Close()
	if into == nil && answer.StatusCode == want { // as with the peers, to whom nobody listens either
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		return nil
	}
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s %s: %w: %s", method, path, &StatusError{answer.StatusCode}, said)
	}
	switch into := into.(type) {
	case *[]byte:
		*into = said
	default:
		if err := json.Unmarshal(said, into); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return nil
}

// StatusError is an answer with another status than expected.
type StatusError struct{ Status int }

func (e *StatusError) Error() string { return fmt.Sprint(e.Status, " ", http.StatusText(e.Status)) }

// Shown is an Ask for what was just made, which the read models may not show yet: then ok is false.
func (s *Service) Shown(ctx context.Context, path string, into any) (ok bool, err error) {
	err = s.Ask(ctx, http.StatusOK, http.MethodGet, path, nil, into)
	var other *StatusError
	if errors.As(err, &other) && other.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// Ready tells whether the read models have caught up with the log.
func (s *Service) Ready(ctx context.Context) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/readyz", nil)
	if err != nil {
		return false, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == http.StatusOK, err
}

// Stats is what the suites look at of GET /v1/stats.
type Stats struct {
	Notifications struct {
		Total    int            `json:"total"`
		ByStatus map[string]int `json:"by_status"`
	} `json:"notifications"`
	Store struct {
		Position string `json:"position"`
	} `json:"store"`
	Projections []struct {
		Name       string  `json:"name"`
		Position   string  `json:"position"`
		LagSeconds float64 `json:"lag_seconds"`
	} `json:"projections"`
}

// Stats asks for what there is.
func (s *Service) Stats(ctx context.Context) (got Stats, err error) {
	return got, s.Ask(ctx, http.StatusOK, "GET", "/v1/stats", nil, &got)
}

// CountsUntil waits until so many notifications have a status.
func (s *Service) CountsUntil(ctx context.Context, status string, count int) error {
	return s.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		got, err := s.Stats(ctx)
		return got.Notifications.ByStatus[status] == count, err
	})
}

// Delivered reads what the console channel was given: how often each notification.
func (s *Service) Delivered() (map[string]int, error) {
	said, err := os.ReadFile(filepath.Clean(s.Out))
	if err != nil {
		return nil, fmt.Errorf("read what was delivered: %w", err)
	}
	times := map[string]int{}
	for line := range bytes.Lines(said) {
		if !bytes.HasPrefix(line, []byte("{")) || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		var m struct {
			ID string `json:"notification_id"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("read what was delivered: %w", err)
		}
		times[m.ID]++
	}
	return times, nil
}
