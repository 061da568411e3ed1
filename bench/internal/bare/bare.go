// Package bare is the least that a service can be: net/http, gorilla/mux, and
// nothing else but what a suite compares with. It is a process of its own, as the
// service is, so that neither shares a runtime with the load.
package bare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/mux"

	"github.com/belltower/belltower/bench/internal/lab"
)

// variable names the folder that this program serves as the bare service, in
// place of what it is otherwise.
const variable = "BELLTOWER_BENCH_BARE"

// ServeIfAsked is called at the beginning of a program that may be started by
// Start. Where it was, it serves until it is killed and doesn't return.
func ServeIfAsked() {
	dir := os.Getenv(variable)
	if dir == "" {
		return
	}
	fmt.Fprintln(os.Stderr, "bare:", serve(dir))
	os.Exit(1)
}

// Service is the bare service at work.
type Service struct {
	URL string

	process *lab.Process
	dir     string
}

// Start starts this program again as the bare service. POST /v1/events appends
// the JSON it is given to a file with a group-committed fdatasync; GET /bytes/NAME
// answers with the bytes that are given under that name.
func Start(ctx context.Context, l *lab.Lab, answers map[string][]byte) (*Service, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := l.Folder("bare")
	if err != nil {
		return nil, err
	}
	for name, answer := range answers {
		if err := os.WriteFile(filepath.Join(dir, name+".answer"), answer, 0o600); err != nil {
			return nil, fmt.Errorf("keep an answer: %w", err)
		}
	}
	cmd := lab.Command(context.WithoutCancel(ctx), program)
	cmd.Env = append(os.Environ(), variable+"="+dir)
	s := &Service{dir: dir}
	if s.process, err = lab.Start(dir, cmd); err != nil {
		return nil, err
	}
	err = s.process.Until(ctx, 2*time.Millisecond, func() (bool, error) {
		said, err := os.ReadFile(s.process.Out)
		url, whole := strings.CutSuffix(string(said), "\n")
		s.URL = url
		return whole, err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the bare service: %w", err), s.Stop())
	}
	return s, nil
}

// Stop ends the service and removes what it has written.
func (s *Service) Stop() error {
	return errors.Join(s.process.Stop(syscall.SIGTERM), os.RemoveAll(s.dir))
}

func serve(dir string) error {
	log, err := openLog(filepath.Join(dir, "log.jsonl"))
	if err != nil {
		return err
	}
	go log.write()
	router := mux.NewRouter()
	router.HandleFunc("/v1/events", log.post).Methods("POST")
	kept, err := filepath.Glob(filepath.Join(dir, "*.answer"))
	if err != nil {
		return err
	}
	for _, path := range kept {
		answer, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".answer")
		router.HandleFunc("/bytes/"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // a client that is gone needs none
		}).Methods("GET")
	}
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: router, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

// log is a file with group commit: one goroutine writes what waits, and answers
// all of them after one sync.
type log struct {
	file  *os.File
	lines chan line
}

type line struct {
	text []byte
	done chan error
}

// group bounds the lines that share a sync.
const group = 1024

func openLog(path string) (*log, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &log{file: file, lines: make(chan line, group)}, nil
}

func (l *log) post(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, err := json.Marshal(body)
	if err == nil {
		err = l.append(text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(text)
}

func (l *log) append(text []byte) error {
	waiting := line{text, make(chan error, 1)}
	l.lines <- waiting
	return <-waiting.done
}

func (l *log) write() {
	var all bytes.Buffer
	batch := make([]line, 0, group)
	for first := range l.lines {
		batch = append(batch[:0], first)
	fill:
		for len(batch) < group {
			select {
			case next := <-l.lines:
				batch = append(batch, next)
			default:
				break fill
			}
		}
		all.Reset()
		for _, waiting := range batch {
			all.Write(waiting.text)
			all.WriteByte('\n')
		}
		_, err := l.file.Write(all.Bytes())
		if err == nil {
			err = SyncData(l.file)
		}
		for _, waiting := range batch {
			waiting.done <- err
		}
	}
}
