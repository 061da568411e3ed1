package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/internal/client"
)

// Variables of the environment.
const (
	urlVariable       = "BELLTOWER_URL"
	tokenVariable     = "BELLTOWER_TOKEN"
	tokenFileVariable = "BELLTOWER_TOKEN_FILE"
	adminVariable     = "BELLTOWER_ADMIN_TOKEN"
)

// Variables are the names of those that say which service is asked, and as whom.
var Variables = []string{urlVariable, tokenVariable, tokenFileVariable}

// Connection says which service is asked, and as whom.
type Connection struct {
	URL       string // empty: BELLTOWER_URL, else the local one
	TokenFile string // empty: BELLTOWER_TOKEN, BELLTOWER_TOKEN_FILE, else the local one
}

// connect gives a command, and those below it, the flags for that.
func (a *app) connect(cmd *cobra.Command) {
	a.connection.Register(cmd.PersistentFlags())
	cmd.PersistentFlags().BoolVar(&a.json, "json", false, "print what the service answers, for programs: lists as one item a line")
	cmd.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "print ids only, one a line; and nothing of what has none")
}

// Register declares --url and --token-file.
func (n *Connection) Register(flags *pflag.FlagSet) {
	flags.StringVar(&n.URL, "url", "", "address of the service ("+urlVariable+"; default: where 'belltower serve' listens with the settings of this folder)")
	flags.StringVar(&n.TokenFile, "token-file", "", "file with the token ("+tokenFileVariable+", or the token itself in "+tokenVariable+"; default: the one kept by a service on this machine)")
}

// patience is how long a command tries again where the service can't answer now.
const patience = 10 * time.Second

// client is the client for the service that is meant.
func (a *app) client() (*client.Client, error) {
	address, token, err := a.connection.Resolve(a.Env, a.Local)
	if err != nil {
		return nil, err
	}
	return &client.Client{URL: address, Token: token, Patience: patience}, nil
}

// Named tells whether a service is named at all, by flag or variable.
func (n *Connection) Named(env map[string]string) bool { return n.URL != "" || env[urlVariable] != "" }

// Resolve gives the address of the service and the token for it, an empty one
// where there is none. A wrong flag, variable or setting is an *Error.
func (n *Connection) Resolve(env map[string]string, local func() (Local, error)) (address, token string, err error) {
	token, err = n.token(env)
	if err != nil {
		return "", "", err
	}
	var here Local
	if token == "" {
		if here, err = local(); err != nil {
			return "", "", &Error{ExitUsage, err}
		}
	}
	if address, err = n.Address(env, local); err != nil {
		return "", "", err
	}
	// The token of a service on this machine is for no other machine's ears.
	if token == "" && onThisMachine(address) {
		if token, err = keptToken(env, here); err != nil {
			return "", "", err
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", usage("the token has blanks, control characters or characters outside ASCII in it, which no header can carry")
	}
	return address, token, nil
}

// Address gives the address of the service, without a / at its end, for what
// needs no token. A wrong flag, variable or setting is an *Error.
func (n *Connection) Address(env map[string]string, local func() (Local, error)) (string, error) {
	address, source := n.URL, "--url"
	if address == "" {
		address, source = env[urlVariable], urlVariable
	}
	if address == "" {
		here, err := local()
		if err != nil {
			return "", &Error{ExitUsage, err}
		}
		address = here.URL
	} else if u, err := url.Parse(address); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", usage("%s: %q is not a URL such as http://127.0.0.1:8080", source, address)
	}
	return strings.TrimRight(address, "/"), nil
}

// token is the one that is named for the client.
func (n *Connection) token(env map[string]string) (string, error) {
	path, source := n.TokenFile, "--token-file"
	if path == "" {
		if token := env[tokenVariable]; token != "" {
			return token, nil
		}
		path, source = env[tokenFileVariable], tokenFileVariable
	}
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", usage("%s: %w", source, err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", usage("%s: %s is empty", source, path)
	}
	return token, nil
}

// keptToken is the one that a service on this machine takes.
func keptToken(env map[string]string, here Local) (string, error) {
	if token := env[adminVariable]; token != "" {
		return token, nil
	}
	data, err := os.ReadFile(here.TokenFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the service's own token, as no other is named: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func onThisMachine(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
}
