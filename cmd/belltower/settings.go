package main

import (
	"fmt"
	"net"
	"sort"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/httpapi"
)

// settings is how serve runs.
type settings struct {
	listen      string
	data        string
	keys        string // folder of keys.db; empty: the data folder
	store       string
	readModels  string
	esdb        esdbSettings
	phoneRegion string
	adminToken  string // empty: one is made and kept in the data folder
	tokens      []httpapi.Token
}

// setting is a flag with its variable.
type setting struct {
	flag, variable, initial, help string
	value                         *string
}

func (s *settings) flags() []setting {
	return []setting{
		{"listen", "BELLTOWER_LISTEN", "127.0.0.1:8080", "address to listen on, HOST:PORT", &s.listen},
		{"data", "BELLTOWER_DATA", "./data", "folder that keeps everything", &s.data},
		{"store", "BELLTOWER_STORE", "embedded", "where facts are kept: embedded, or EventStoreDB as esdb://HOST:PORT; set one with a password by the variable", &s.store},
		{"keys", "BELLTOWER_KEYS", "", "folder of keys.db, which instances that share a store share too (default: the data folder)", &s.keys},
		{"esdb-listen", "BELLTOWER_ESDB_LISTEN", "", "address where EventStoreDB's clients may read the embedded log, HOST:PORT (default: none)", &s.esdb.listen},
		{"esdb-tls-cert", "BELLTOWER_ESDB_TLS_CERT", "", "file of the certificate for that address (default: no TLS)", &s.esdb.cert},
		{"esdb-tls-key", "BELLTOWER_ESDB_TLS_KEY", "", "file of the certificate's key", &s.esdb.key},
		{"read-models", "BELLTOWER_READ_MODELS", "sqlite", "where read models are kept: sqlite", &s.readModels},
		{"phone-region", "BELLTOWER_PHONE_REGION", "", "ISO 3166 region that phone numbers without + are read in (default: they are refused)", &s.phoneRegion},
	}
}

const (
	adminTokenVariable = "BELLTOWER_ADMIN_TOKEN"
	tokensVariable     = "BELLTOWER_TOKENS"
)

// register declares the flags, with the environment's values as their defaults.
func (s *settings) register(flags *pflag.FlagSet, env map[string]string) {
	for _, f := range s.flags() {
		f.register(flags, env)
	}
}

// register declares a flag, with the environment's value as its default.
func (f setting) register(flags *pflag.FlagSet, env map[string]string) {
	initial := f.initial
	if v, ok := env[f.variable]; ok {
		initial = v
	}
	flags.StringVar(f.value, f.flag, initial, f.help+" ("+f.variable+")")
}

// check refuses what can't be, by the name of the setting.
func (s *settings) check(env map[string]string) error {
	if _, port, err := net.SplitHostPort(s.listen); err != nil {
		return usage(fmt.Errorf("--listen (BELLTOWER_LISTEN): %q is not HOST:PORT", s.listen))
	} else if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return usage(fmt.Errorf("--listen (BELLTOWER_LISTEN): %q is not a port", port))
	}
	if strings.TrimSpace(s.data) == "" {
		return usage(fmt.Errorf("--data (BELLTOWER_DATA): no folder is named"))
	}
	if err := checkStore(s.store); err != nil {
		return usage(fmt.Errorf("--store (BELLTOWER_STORE): %w", err))
	}
	if err := s.esdb.check("--esdb-listen (BELLTOWER_ESDB_LISTEN)", "--esdb-tls-cert (BELLTOWER_ESDB_TLS_CERT)", env); err != nil {
		return err
	}
	if s.esdb.listen != "" && s.store != embeddedStore {
		return usage(fmt.Errorf("--esdb-listen (BELLTOWER_ESDB_LISTEN): it serves the embedded log, and --store names another"))
	}
	if s.readModels != "sqlite" {
		return usage(fmt.Errorf("--read-models (BELLTOWER_READ_MODELS): %q is not known; this version has: sqlite", s.readModels))
	}
	if s.phoneRegion != "" && !phonenumbers.GetSupportedRegions()[s.phoneRegion] {
		return usage(fmt.Errorf("--phone-region (BELLTOWER_PHONE_REGION): %q is not an ISO 3166 region, such as DE or US", s.phoneRegion))
	}
	if token, ok := env[adminTokenVariable]; ok {
		if why := wrongToken(token); why != "" {
			return usage(fmt.Errorf("%s: the token %s", adminTokenVariable, why))
		}
		s.adminToken = token
	}
	tokens, err := parseTokens(env[tokensVariable])
	if err != nil {
		return usage(fmt.Errorf("%s: %w", tokensVariable, err))
	}
	for _, t := range tokens {
		if t.Value == s.adminToken {
			return usage(fmt.Errorf("%s: the token of %q is the one of %s too", tokensVariable, t.Name, adminTokenVariable))
		}
	}
	s.tokens = tokens
	return nil
}

// keyFolder is where keys.db stands.
func (s *settings) keyFolder() string {
	if s.keys == "" {
		return s.data
	}
	return s.keys
}

// reservedNames are actors that no token may be named after.
var reservedNames = map[string]bool{adminName: true, "belltower": true}

const adminName = "admin"

// parseTokens reads name:token,… . What it says of a mistake never shows a token.
func parseTokens(list string) ([]httpapi.Token, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var tokens []httpapi.Token
	named, held := map[string]bool{}, map[string]bool{}
	for i, entry := range strings.Split(list, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(entry), ":")
		switch {
		case !ok:
			return nil, fmt.Errorf("entry %d is not name:token", i+1)
		case name == "" || strings.ContainsFunc(name, notVisible):
			return nil, fmt.Errorf("entry %d has no name, or one with blanks or control characters in it", i+1)
		case reservedNames[name]:
			return nil, fmt.Errorf("the name %q is Belltower's own", name)
		case named[name]:
			return nil, fmt.Errorf("the name %q comes twice", name)
		}
		if why := wrongToken(value); why != "" {
			return nil, fmt.Errorf("the token of %q %s", name, why)
		}
		if held[value] {
			return nil, fmt.Errorf("the token of %q comes twice", name)
		}
		named[name], held[value] = true, true
		tokens = append(tokens, httpapi.Token{Name: name, Value: value})
	}
	return tokens, nil
}

func wrongToken(token string) string {
	switch {
	case token == "":
		return "is empty"
	case strings.ContainsFunc(token, notVisible):
		return "has blanks, control characters or characters outside ASCII in it, which no header can carry"
	}
	return ""
}

func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// environment reads "NAME=value" pairs.
func environment(env []string) map[string]string {
	values := make(map[string]string, len(env))
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			values[name] = value
		}
	}
	return values
}

// unknownVariables gives the names that look like settings and are none.
func unknownVariables(env map[string]string) []string {
	known := map[string]bool{adminTokenVariable: true, tokensVariable: true, usersVariable: true}
	for _, f := range new(settings).flags() {
		known[f.variable] = true
	}
	var unknown []string
	for name := range env {
		if strings.HasPrefix(name, "BELLTOWER_") && !strings.HasPrefix(name, "BELLTOWER_TEST_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown
}
