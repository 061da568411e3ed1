// Package sqldbtest gives tests a fresh database of each kind.
package sqldbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
)

// Kinds are all kinds of databases.
var Kinds = []sqldb.Kind{sqldb.SQLite, sqldb.PostgreSQL, sqldb.MySQL}

// variables name the servers, each by a URL whose user may make databases.
var variables = map[sqldb.Kind]string{
	sqldb.PostgreSQL: "BELLTOWER_TEST_POSTGRES",
	sqldb.MySQL:      "BELLTOWER_TEST_MYSQL",
}

// Databases runs test on a fresh database of each kind, as a subtest of the
// kind's name. Those on servers are skipped where no server is named.
func Databases(t *testing.T, test func(t *testing.T, target sqldb.Target)) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) { test(t, Fresh(t, kind)) })
	}
}

// Fresh makes an empty database, which is dropped when the test has ended. The
// test is skipped where no server of the kind is named.
func Fresh(t testing.TB, kind sqldb.Kind) sqldb.Target {
	t.Helper()
	if kind == sqldb.SQLite {
		return sqldb.File(filepath.Join(t.TempDir(), "test.db"))
	}
	server := os.Getenv(variables[kind])
	if server == "" {
		t.Skipf("%s names no %s server to test on", variables[kind], kind)
	}
	u, err := url.Parse(server)
	require.NoError(t, err, variables[kind])
	name := "belltower_test_" + strings.ToLower(rand.Text()[:12])
	if u.Path = "/postgres"; kind == sqldb.MySQL {
		u.Path = "/information_schema" // which every user may use
	}
	admin := u.String()
	administer(t, admin, "CREATE DATABASE "+name)
	drop := "DROP DATABASE " + name
	if kind == sqldb.PostgreSQL {
		drop += " WITH (FORCE)"
	}
	t.Cleanup(func() { administer(t, admin, drop) })
	u.Path = "/" + name
	target, err := sqldb.Parse(u.String())
	require.NoError(t, err, variables[kind])
	return target
}

// administer asks the server for one thing.
func administer(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	target, err := sqldb.Parse(server)
	require.NoError(t, err)
	db, err := sqldb.Open(ctx, target, sqldb.Options{Connections: 1, Wait: 30 * time.Second})
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, statement)
	require.NoError(t, err, statement)
	require.NoError(t, db.Close(), fmt.Sprint("after ", statement))
}
