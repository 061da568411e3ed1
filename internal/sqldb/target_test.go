package sqldb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for text, shown := range map[string]string{
		"sqlite":                                  "sqlite",
		"postgres://ann:s3cret@db:5432/bells":     "postgres://ann@db:5432/bells",
		"postgresql://db/bells?sslmode=disable":   "postgresql://db/bells?sslmode=disable",
		"mysql://ann:s3cret@db/bells?tls=false":   "mysql://ann@db/bells?tls=false",
		"mysql://ann:s3%23cret@[::1]:3307/bells":  "mysql://ann@[::1]:3307/bells",
		"mysql://ann@localhost/bells?socket=/s/k": "mysql://ann@localhost/bells?socket=/s/k",
	} {
		target, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, shown, target.String())
		require.Equal(t, text != "sqlite", target.Shared())
	}
}

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                        "none of sqlite, postgres://",
		"SQLite":                                  "none of",
		"oracle://ann:s3cret@db/bells":            "none of",
		"./read.db":                               "none of",
		"postgres://ann:s3cret@db":                "names no database",
		"postgres://ann:s3cret@/bells":            "names no host",
		"postgres://ann:s3cret@db:port/bells":     "not a URL",
		"postgres://ann:s3cret@db/a/b":            "one database",
		"postgres://ann:s3cret#more@db/bells":     "%23",
		"postgres://ann:s3cret@db/b?sslmode=some": "parameters",
		"postgres://db/bells?password=s3cret":     "before the @",
		"mysql://ann:s3cret@db/bells?tls=maybe":   "tls is one of",
		"mysql://ann:s3cret@db/bells?charset=x":   `"charset" is not known`,
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestBind(t *testing.T) {
	const query = "SELECT '?{}', a FROM {t} WHERE a = ? AND b = ?"
	require.Equal(t, "SELECT '?{}', a FROM g1_t WHERE a = $1 AND b = $2", newDialect(PostgreSQL, false).Bind("g1_", query))
	require.Equal(t, "SELECT '?{}', a FROM t WHERE a = ? AND b = ?", newDialect(MySQL, false).Bind("", query))
}
