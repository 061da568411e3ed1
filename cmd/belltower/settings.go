package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/cli"
	"github.com/belltower/belltower/internal/sqldb"
)

// settings is how serve runs.
type settings struct {
	listen      string
	data        string
	keys        string // folder of keys.db; empty: the data folder
	store       string
	readModels  string
	rows        sqldb.Target // what readModels names; zero: read.db in the data folder
	esdb        esdbSettings
	phoneRegion string
	publicURL   string
	zones       string // folder or zip file of time zones; empty: the newer ones of the system's and our own
	pprof       string // address for profiles; empty: none
	providers   providerSettings
	adminToken  string // empty: one is made and kept in the data folder
	tokens      []httpapi.Token

	sources map[string]string // where each value comes from, by flag or variable; what is missing is a default
}

// setting is a flag with its variable. A secret has no flag, which other users
// of the machine could read, and stands in no file but one of its own.
type setting struct {
	flag, variable, initial, help string
	value                         *string
}

func (s *settings) flags() []setting {
	return append([]setting{
		{"listen", "BELLTOWER_LISTEN", "127.0.0.1:8080", "address to listen on, HOST:PORT", &s.listen},
		{"data", "BELLTOWER_DATA", "./data", "folder that keeps everything", &s.data},
		{"store", "BELLTOWER_STORE", "embedded", "where facts are kept: embedded, or EventStoreDB as esdb://HOST:PORT; set one with a password by the variable", &s.store},
		{"keys", "BELLTOWER_KEYS", "", "folder of keys.db, which instances that share a store share too (default: the database of --read-models, if they share one, else the data folder)", &s.keys},
		{"esdb-listen", "BELLTOWER_ESDB_LISTEN", "", "address where EventStoreDB's clients may read the embedded log, HOST:PORT (default: none)", &s.esdb.listen},
		{"esdb-tls-cert", "BELLTOWER_ESDB_TLS_CERT", "", "file of the certificate for that address (default: no TLS)", &s.esdb.cert},
		{"esdb-tls-key", "BELLTOWER_ESDB_TLS_KEY", "", "file of the certificate's key", &s.esdb.key},
		{"read-models", "BELLTOWER_READ_MODELS", "sqlite", "where read models are kept: sqlite, in the data folder, postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE; set one with a password by the variable", &s.readModels},
		{"phone-region", "BELLTOWER_PHONE_REGION", "", "ISO 3166 region that phone numbers without + are read in (default: they are refused)", &s.phoneRegion},
		{"public-url", "BELLTOWER_PUBLIC_URL", "", "address under which participants reach Belltower, for links in messages and for what providers tell (default: no links, and Twilio tells nothing)", &s.publicURL},
		{"tzdata", "BELLTOWER_TZDATA", "", "folder or zip file of time zones (default: the newer ones of the system's and those linked in)", &s.zones},
		{"pprof", "BELLTOWER_PPROF", "", "loopback address for profiles of the running process (net/http/pprof), HOST:PORT (default: none)", &s.pprof},
	}, s.providers.flags()...)
}

const (
	adminTokenVariable = "BELLTOWER_ADMIN_TOKEN"
	tokensVariable     = "BELLTOWER_TOKENS"
	passwordVariable   = "BELLTOWER_SMTP_PASSWORD" //nolint:gosec // the name of one
)

// secretVariables are the settings that only the environment gives.
var secretVariables = []string{adminTokenVariable, tokensVariable, passwordVariable, usersVariable}

// register declares the flags.
func (s *settings) register(flags *pflag.FlagSet) {
	for _, f := range s.flags() {
		f.register(flags, nil)
	}
	flags.String(configFlag, "", "file with settings ("+configVariable+"; default: "+configFile+", where it is there)")
}

// resolve gives each setting its value: that of its flag, else of its variable,
// else of the file, else the default; and checks them all.
func (s *settings) resolve(flags *pflag.FlagSet, env map[string]string) error {
	file, err := readConfig(flags, env)
	if err != nil {
		return usage(err)
	}
	s.sources = map[string]string{}
	for _, f := range s.flags() {
		if flags.Changed(f.flag) {
			s.sources[f.flag] = "--" + f.flag
		} else if v, ok := env[f.variable]; ok {
			*f.value, s.sources[f.flag] = v, f.variable
		} else if line, ok := file.lines[f.flag]; ok {
			*f.value, s.sources[f.flag] = line.value, fmt.Sprintf("%s:%d", file.path, line.number)
		}
	}
	for _, name := range secretVariables {
		if env[name] != "" {
			s.sources[name] = name
		}
	}
	return s.check(env)
}

// refuse says what is wrong with a setting, by its names and, where it stands in
// a file, by its line.
func (s *settings) refuse(flag, format string, args ...any) error {
	where := ""
	for _, f := range s.flags() {
		if f.flag == flag {
			where = fmt.Sprintf("--%s (%s)", flag, f.variable)
		}
	}
	if source := s.sources[flag]; strings.Contains(source, ":") {
		where = source + ": " + where
	}
	return usage(fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
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
		return s.refuse("listen", "%q is not HOST:PORT", s.listen)
	} else if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return s.refuse("listen", "%q is not a port", port)
	}
	if strings.TrimSpace(s.data) == "" {
		return s.refuse("data", "no folder is named")
	}
	if err := checkStore(s.store); err != nil {
		return s.refuse("store", "%w", err)
	}
	if err := s.esdb.check("--esdb-listen (BELLTOWER_ESDB_LISTEN)", "--esdb-tls-cert (BELLTOWER_ESDB_TLS_CERT)", env); err != nil {
		return err
	}
	if s.esdb.listen != "" && s.store != embeddedStore {
		return s.refuse("esdb-listen", "it serves the embedded log, and --store names another")
	}
	var err error
	if s.rows, err = sqldb.Parse(s.readModels); err != nil {
		return s.refuse("read-models", "%w", err)
	}
	if s.phoneRegion != "" && !phonenumbers.GetSupportedRegions()[s.phoneRegion] {
		return s.refuse("phone-region", "%q is not an ISO 3166 region, such as DE or US", s.phoneRegion)
	}
	if why := wrongPublicURL(s.publicURL); why != "" {
		return s.refuse("public-url", "%s", why)
	}
	if why := wrongZones(s.zones); why != "" {
		return s.refuse("tzdata", "%s", why)
	}
	if why := wrongPprof(s.pprof); why != "" {
		return s.refuse("pprof", "%s", why)
	}
	if err := s.checkProviders(env); err != nil {
		return err
	}
	return s.checkTokens(env)
}

func wrongPublicURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return "it is not a URL such as https://bells.example.org"
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "it must be a scheme, a host and perhaps a path, and nothing else"
	}
	return ""
}

func (s *settings) checkTokens(env map[string]string) error {
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

// sharedDatabase is the database that instances on one store keep the planner's
// table and the keys in; the zero Target: they stand in folders.
func (s *settings) sharedDatabase() sqldb.Target {
	if s.store == embeddedStore || !s.rows.Shared() {
		return sqldb.Target{}
	}
	return s.rows
}

// keysDatabase is the database that keeps the keys; the zero Target: keys.db does.
func (s *settings) keysDatabase() sqldb.Target {
	if s.keys != "" {
		return sqldb.Target{}
	}
	return s.sharedDatabase()
}

// keyFolder is where keys.db stands, unless a database keeps the keys.
func (s *settings) keyFolder() string {
	if s.keys == "" {
		return s.data
	}
	return s.keys
}

// reservedNames are actors that no token may be named after.
var reservedNames = map[string]bool{httpapi.AdminName: true, "belltower": true, "participant": true}

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
	known := map[string]bool{configVariable: true, intoVariable: true}
	for _, name := range slices.Concat(secretVariables, cli.Variables) {
		known[name] = true
	}
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
