package sqldb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServersThatAreTooOld(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		version string
		says    string // empty: it is taken
	}{
		{PostgreSQL, "15.2 (Debian 15.2-1)", ""},
		{PostgreSQL, "13.0", ""},
		{PostgreSQL, "18beta1", ""},
		{PostgreSQL, "12.22", "it is PostgreSQL 12.22, and must be 13.0 or newer"},
		{PostgreSQL, "9.6.24", "13.0 or newer"},
		{MySQL, "8.0.36", ""},
		{MySQL, "9.1.0-commercial", ""},
		{MySQL, "5.7.44-log", "it is MySQL 5.7.44-log, and must be 8.0 or newer"},
		{MySQL, "10.11.14-MariaDB-0+deb12u2", ""},
		{MySQL, "11.4.2-MariaDB", ""},
		{MySQL, "10.6.18-MariaDB", "it is MariaDB 10.6.18-MariaDB, and must be 10.11 or newer"},
		{MySQL, "something", ""},
	} {
		err := checkVersion(c.kind, c.version)
		if c.says == "" {
			require.NoError(t, err, c.version)
			continue
		}
		require.ErrorContains(t, err, c.says)
	}
}
