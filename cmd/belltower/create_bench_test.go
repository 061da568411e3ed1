//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	benchToken       = "bench-token"
	benchConnections = 64
)

// benchBody asks for an event.
func benchBody(b *testing.B, start time.Time) []byte {
	body, err := json.Marshal(object{
		"title": "Bell-ringing course", "description": "Rounds and call changes, for beginners",
		"start_time": at(start), "end_time": at(start.Add(time.Hour)), "time_zone": "Europe/Vienna",
		"location": "The tower", "capacity": 20, "tags": []string{"course"},
	})
	require.NoError(b, err)
	return body
}

// BenchmarkCreate measures POST /v1/events over HTTP at 64 connections:
// authenticated, validated, keyed, and synced before 201. Beside it, in the same
// run, stands a bare loop that decodes the same JSON and appends it to a file
// with a group-committed fdatasync before 201.
func BenchmarkCreate(b *testing.B) {
	b.Run("belltower", func(b *testing.B) {
		s := settings{listen: "127.0.0.1:0", data: b.TempDir(), store: "embedded", readModels: "sqlite", adminToken: benchToken}
		service, err := start(b.Context(), s, io.Discard, slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		defer func() { require.NoError(b, service.stop()) }()
		create(b, service.url+"/v1/events")
	})
	b.Run("bare", func(b *testing.B) {
		log := newBareLog(b)
		router := mux.NewRouter()
		router.HandleFunc("/v1/events", func(w http.ResponseWriter, r *http.Request) {
			var body map[string]any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			line, err := json.Marshal(body)
			if err == nil {
				err = log.append(line)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(line)
		}).Methods("POST")
		server := httptest.NewServer(router)
		defer server.Close()
		create(b, server.URL+"/v1/events")
	})
}

// create posts b.N events over 64 connections and reports the rate and the 99th percentile.
func create(b *testing.B, url string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections, MaxConnsPerHost: benchConnections}}
	defer client.CloseIdleConnections()
	body := benchBody(b, time.Now().Add(24*time.Hour))
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var clients sync.WaitGroup
	b.ResetTimer()
	for range benchConnections {
		clients.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				began := time.Now()
				if err := post(client, url, fmt.Sprintf("key-%d", i), body); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	clients.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creations/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func post(client *http.Client, url, key string, body []byte) error {
	r, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+benchToken)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", answer.Status, said)
	}
	return err
}

// bareLog is a file with group commit and nothing else.
type bareLog struct {
	file  *os.File
	lines chan bareLine
}

type bareLine struct {
	line []byte
	done chan error
}

func newBareLog(b *testing.B) *bareLog {
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	require.NoError(b, err)
	l := &bareLog{file: file, lines: make(chan bareLine, 1024)}
	var writing sync.WaitGroup
	writing.Go(l.write)
	b.Cleanup(func() {
		close(l.lines)
		writing.Wait()
		require.NoError(b, file.Close())
	})
	return l
}

func (l *bareLog) append(line []byte) error {
	w := bareLine{line, make(chan error, 1)}
	l.lines <- w
	return <-w.done
}

func (l *bareLog) write() {
	for first := range l.lines {
		batch := []bareLine{first}
		for more := true; more; {
			select {
			case w, ok := <-l.lines:
				if more = ok; ok {
					batch = append(batch, w)
				}
			default:
				more = false
			}
		}
		var all bytes.Buffer
		for _, w := range batch {
			all.Write(w.line)
			all.WriteByte('\n')
		}
		_, err := l.file.Write(all.Bytes())
		if err == nil {
			err = unix.Fdatasync(int(l.file.Fd()))
		}
		for _, w := range batch {
			w.done <- err
		}
	}
}
