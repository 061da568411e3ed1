package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// wrongPprof says what is wrong with an address for profiles; empty: nothing.
// Profiles show what is in memory and need no token, so they are for this machine alone.
func wrongPprof(address string) string {
	if address == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("%q is not HOST:PORT", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Sprintf("%q is not a port", port)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Sprintf("%q is not this machine: profiles need no token, so they are served on a loopback address alone, such as 127.0.0.1:6060", host)
	}
	return ""
}

// profiles serves net/http/pprof.
type profiles struct {
	address string
	server  *http.Server
	ended   chan error // what Serve has returned
}

func serveProfiles(address string) (*profiles, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	// No time-out for the answer: a profile lasts as long as it is asked to.
	p := &profiles{address: listener.Addr().String(), server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, ended: make(chan error, 1)}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

// close ends it and waits. A profile that is being made is cut off.
func (p *profiles) close() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
