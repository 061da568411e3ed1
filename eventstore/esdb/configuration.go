package esdb

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// parse reads a connection string. The client's own errors may show it, and
// with it a password, so they are only passed on without it.
func parse(server string) (client.Configuration, error) {
	config, err := client.ParseConnectionString(server)
	if err != nil {
		if shown := (*url.Error)(nil); errors.As(err, &shown) {
			err = shown.Err
		}
		said := err.Error()
		if _, rest, ok := strings.Cut(server, "://"); ok {
			if user, _, ok := strings.Cut(rest, "@"); ok {
				for _, secret := range strings.SplitN(user, ":", 2) {
					if secret != "" && strings.Contains(said, secret) {
						said = "it can't be read"
					}
				}
			}
		}
		return client.Configuration{}, fmt.Errorf("the connection string is wrong: %s", said)
	}
	if config.DisableTLS && config.Username != "" {
		return client.Configuration{}, errors.New("the connection string is wrong: the client sends no password without TLS, so it is tls=false or a login, not both")
	}
	if err := config.Validate(); err != nil {
		return client.Configuration{}, fmt.Errorf("the connection string is wrong: %w", err)
	}
	return *config, nil
}

// scouting is a configuration for a client that gives up after looking once.
func scouting(c client.Configuration) client.Configuration {
	c.MaxDiscoverAttempts = 1
	return c
}

// lasting is a configuration for a client that never gives up looking for a
// server: one that does is closed for good, and callers that wait for it then
// wait for ever.
func lasting(c client.Configuration) client.Configuration {
	c.MaxDiscoverAttempts = math.MaxInt
	return c
}
