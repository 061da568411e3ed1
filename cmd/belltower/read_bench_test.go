//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
)

// BenchmarkRead measures GETs over HTTP at 64 connections: of one event, and of a
// list of 50 among 2,000, the same again and again and each another one. Beside
// them stand bare GETs of the same bytes.
func BenchmarkRead(b *testing.B) {
	const events = 2000
	s := settings{listen: "127.0.0.1:0", data: b.TempDir(), store: "embedded", readModels: "sqlite", adminToken: benchToken}
	service, err := start(b.Context(), s, io.Discard, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	defer func() { require.NoError(b, service.stop()) }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections, MaxConnsPerHost: benchConnections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	paths := make([]string, events)
	var token string
	schedule := func(i int) {
		start := time.Now().Add(24*time.Hour + time.Duration(i)*time.Minute)
		r, err := http.NewRequest("POST", service.url+"/v1/events", bytes.NewReader(benchBody(b, start)))
		require.NoError(b, err)
		r.Header.Set("Authorization", "Bearer "+benchToken)
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		require.NoError(b, err)
		require.NoError(b, answer.Body.Close())
		paths[i] = answer.Header.Get("Location")
		if i == events-1 {
			token = answer.Header.Get("Consistency-Token")
		}
	}
	abreast(events-1, schedule)
	schedule(events - 1)
	_, err = get(client, service.url+paths[events-1], token)
	require.NoError(b, err)

	for _, of := range []struct {
		name string
		path func(i int) string
	}{
		{"one", func(int) string { return paths[0] }},
		{"each", func(i int) string { return paths[i%events] }},
		{"list", func(int) string { return "/v1/events?limit=50" }},
		{"lists", func(i int) string {
			return "/v1/events?limit=50&from=" + time.Now().Add(24*time.Hour+time.Duration(i)*time.Second).UTC().Format(time.RFC3339)
		}},
	} {
		b.Run(of.name, func(b *testing.B) { read(b, client, func(i int) string { return service.url + of.path(i) }) })
	}
	for _, of := range []struct{ name, path string }{{"one", paths[0]}, {"list", "/v1/events?limit=50"}} {
		said, err := get(client, service.url+of.path, "")
		require.NoError(b, err)
		router := mux.NewRouter()
		router.HandleFunc("/v1/{what}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(said)
		}).Methods("GET")
		server := httptest.NewServer(router)
		b.Run("bare/"+of.name, func(b *testing.B) { read(b, client, func(int) string { return server.URL + "/v1/events" }) })
		server.Close()
	}
}

func read(b *testing.B, client *http.Client, url func(i int) string) {
	b.ReportAllocs()
	abreast(b.N, func(i int) {
		if _, err := get(client, url(i), ""); err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}

// get shows at least what token names; empty: nothing certain.
func get(client *http.Client, url, token string) ([]byte, error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+benchToken)
	if token != "" {
		r.Header.Set("Consistency-Token", token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, said)
	}
	return said, err
}

// abreast does all of n, so many at once as there are connections.
func abreast(n int, do func(i int)) {
	var next atomic.Int64
	var clients sync.WaitGroup
	for range benchConnections {
		clients.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	clients.Wait()
}
