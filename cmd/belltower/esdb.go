package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/esdbserver"
)

// usersVariable names who may use EventStoreDB's protocol.
const usersVariable = "BELLTOWER_ESDB_USERS"

// esdbSettings is how EventStoreDB's clients are served.
type esdbSettings struct {
	listen string // empty: not at all
	cert   string
	key    string
	users  map[string]string
	tls    *tls.Config
}

// check reads what the settings name; listenFlag is how the address is set.
func (s *esdbSettings) check(listenFlag, certFlag string, env map[string]string) (err error) {
	if s.users, err = parseUsers(env[usersVariable]); err != nil {
		return usage(fmt.Errorf("%s: %w", usersVariable, err))
	}
	if (s.cert == "") != (s.key == "") {
		return usage(fmt.Errorf("%s: a certificate and its key go together", certFlag))
	}
	if s.listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s.listen)
	if err != nil {
		return usage(fmt.Errorf("%s: %q is not HOST:PORT", listenFlag, s.listen))
	} else if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return usage(fmt.Errorf("%s: %q is not a port", listenFlag, port))
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return usage(fmt.Errorf("%s: %w", certFlag, err))
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && (s.tls == nil || len(s.users) == 0) {
		return usage(fmt.Errorf("%s: on %q others can reach the log, so it takes TLS (%s) and logins (%s)", listenFlag, s.listen, certFlag, usersVariable))
	}
	return nil
}

// parseUsers reads login:password,… . What it says of a mistake shows no password.
func parseUsers(list string) (map[string]string, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	users := map[string]string{}
	for i, entry := range strings.Split(list, ",") {
		login, password, ok := strings.Cut(strings.TrimSpace(entry), ":")
		switch {
		case !ok:
			return nil, fmt.Errorf("entry %d is not login:password", i+1)
		case login == "" || password == "":
			return nil, fmt.Errorf("entry %d has no login, or no password", i+1)
		case users[login] != "":
			return nil, fmt.Errorf("the login %q comes twice", login)
		}
		users[login] = password
	}
	return users, nil
}

// esdbService serves EventStoreDB's protocol.
type esdbService struct {
	address string
	server  *esdbserver.Server
	ended   chan error // what Serve has returned
}

// serveESDB begins to serve a store.
func serveESDB(s esdbSettings, store eventstore.Store, readOnly bool) (*esdbService, error) {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("listen for EventStoreDB clients: %w", err)
	}
	e := &esdbService{
		address: listener.Addr().String(), ended: make(chan error, 1),
		server: esdbserver.New(esdbserver.Options{Store: store, Users: s.users, ReadOnly: readOnly, TLS: s.tls}),
	}
	go func() { e.ended <- e.server.Serve(listener) }()
	return e, nil
}

// close ends it and waits.
func (e *esdbService) close() error {
	e.server.Close()
	return <-e.ended
}

// connectionString is how clients on this machine reach it.
func (e *esdbService) connectionString(s esdbSettings) string {
	if s.tls == nil {
		return "esdb://" + e.address + "?tls=false"
	}
	return "esdb://" + e.address
}

// errServed says that serving ended by itself.
var errServed = errors.New("serving EventStoreDB's protocol has ended")

// waitFor waits until ctx ends, or serving does by itself.
func (e *esdbService) waitFor(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return e.close()
	case err := <-e.ended:
		return errors.Join(errServed, err)
	}
}
