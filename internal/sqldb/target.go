// Package sqldb opens the databases that rows may be kept in, SQLite, PostgreSQL
// and MySQL or MariaDB, and tells what they say differently.
package sqldb

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// Kind is a kind of database.
type Kind string

// The kinds. MySQL is MariaDB too.
const (
	SQLite     Kind = "sqlite"
	PostgreSQL Kind = "postgres"
	MySQL      Kind = "mysql"
)

// Target is where a database is. The zero Target is no database.
type Target struct {
	kind Kind
	path string // of a SQLite file; empty until In
	url  *url.URL
}

// Parse reads a setting: sqlite, postgres://… or mysql://…, and checks it without
// connecting. What it says of a mistake never shows a password.
func Parse(text string) (Target, error) {
	if text == string(SQLite) {
		return Target{kind: SQLite}, nil
	}
	scheme, _, ok := strings.Cut(text, "://")
	if scheme == "postgresql" {
		scheme = string(PostgreSQL)
	}
	kind := Kind(scheme)
	if !ok || kind != PostgreSQL && kind != MySQL {
		return Target{}, errors.New("it is none of sqlite, postgres://USER:PASSWORD@HOST:PORT/DATABASE and mysql://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	if strings.Contains(text, "#") {
		return Target{}, errors.New("it has a #, which is written as %23 in a password")
	}
	u, err := url.Parse(text)
	if err != nil {
		// The error of url.Parse shows what it was given.
		return Target{}, errors.New("it is not a URL; characters of a password that mean something in one are written as %40 for @, %2F for / and so on")
	}
	t := Target{kind: kind, url: u}
	switch {
	case u.Hostname() == "" && !u.Query().Has("host"):
		return Target{}, errors.New("it names no host")
	case u.Query().Has("password"):
		return Target{}, errors.New("the password stands before the @, and not in a parameter")
	case strings.Trim(u.Path, "/") == "":
		return Target{}, errors.New("it names no database: it ends in /DATABASE")
	case strings.Contains(strings.Trim(u.Path, "/"), "/"):
		return Target{}, errors.New("what follows the host must be the name of one database")
	}
	if kind == MySQL {
		_, err = t.mysql()
	} else if _, err = pgx.ParseConfig(text); err != nil {
		err = errors.New("its parameters can't be read: " + t.hide(err.Error()))
	}
	if err != nil {
		return Target{}, err
	}
	return t, nil
}

// File is the SQLite database at path.
func File(path string) Target { return Target{kind: SQLite, path: path} }

// In places a SQLite database that has no path yet in dir; the database of a
// server is where it is.
func (t Target) In(dir, file string) Target {
	if t.kind == SQLite && t.path == "" {
		t.path = filepath.Join(dir, file)
	}
	return t
}

// Kind tells what kind of database it is.
func (t Target) Kind() Kind { return t.kind }

// Path is the file of a SQLite database; empty on a server.
func (t Target) Path() string { return t.path }

// Shared tells whether other machines can use the same database.
func (t Target) Shared() bool { return t.url != nil }

// String is the target as it was given, without its password.
func (t Target) String() string {
	if t.url == nil {
		return string(t.kind)
	}
	shown := *t.url
	if shown.User != nil {
		shown.User = url.User(shown.User.Username())
	}
	return shown.String()
}

// hide takes the password out of a driver's text.
func (t Target) hide(text string) string {
	if t.url == nil {
		return text
	}
	password, _ := t.url.User.Password()
	if password == "" {
		return text
	}
	for _, secret := range []string{t.url.User.String(), url.QueryEscape(password), password} {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}

// mysql is the target as the driver wants it.
func (t Target) mysql() (*mysql.Config, error) {
	c := mysql.NewConfig()
	c.User = t.url.User.Username()
	c.Passwd, _ = t.url.User.Password()
	c.DBName = strings.Trim(t.url.Path, "/")
	c.Net, c.Addr = "tcp", t.url.Host
	if t.url.Port() == "" {
		c.Addr = net.JoinHostPort(t.url.Hostname(), "3306")
	}
	for name, values := range t.url.Query() {
		switch value := values[0]; name {
		case "tls":
			switch value {
			case "true", "false", "skip-verify", "preferred":
				c.TLSConfig = value
			default:
				return nil, fmt.Errorf("tls is one of true, skip-verify, preferred and false, not %q", value)
			}
		case "socket":
			c.Net, c.Addr = "unix", value
		default:
			return nil, fmt.Errorf("the parameter %q is not known: those of mysql:// are tls and socket", name)
		}
	}
	return c, nil
}
