package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keyless opens nothing.
type keyless struct{}

func (keyless) Seal(int64, []byte, []byte) ([]byte, error)       { return nil, errors.New("no keys") }
func (keyless) Open(int64, []byte, []byte) ([]byte, bool, error) { return nil, false, nil }

// The types that are watched for are those that there are.
func TestTypesOfFacts(t *testing.T) {
	for _, name := range allFacts {
		_, err := events.Decode(keyless{}, uuid.Nil, name, []byte("{}"))
		require.NotErrorIs(t, err, events.ErrNewerFact, name)
	}
}

func TestGist(t *testing.T) {
	f := fact{Data: json.RawMessage(`{"event_id":"e","participant_id":"p","channels":["email","sms"],"waitlisted":true,"capacity":3,"nothing":null,
		"email_digest":"x","audience":{"status":["confirmed"]},"personal":{"name":"Ann","tags":[]},"odd":[{"a":1}],"last":"z"}`)}
	require.Equal(t, "participant id p, channels email sms, waitlisted true, capacity 3, status confirmed, name Ann, odd map[a:1], last z", f.gist())
	require.Empty(t, fact{Data: json.RawMessage(`{`)}.gist())
	require.Empty(t, fact{}.gist())
}

func TestConnections(t *testing.T) {
	folder := t.TempDir()
	kept, named := filepath.Join(folder, "admin-token"), filepath.Join(folder, "mine")
	require.NoError(t, os.WriteFile(kept, []byte("kept\n"), 0o600))
	require.NoError(t, os.WriteFile(named, []byte("named\n"), 0o600))
	empty := filepath.Join(folder, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	here := func() (Local, error) { return Local{"http://127.0.0.1:8080", kept}, nil }
	for _, row := range []struct {
		flags          Connection
		env            map[string]string
		address, token string
	}{
		{Connection{}, nil, "http://127.0.0.1:8080", "kept"},
		{Connection{}, map[string]string{urlVariable: "http://localhost:1/"}, "http://localhost:1", "kept"},
		{Connection{URL: "http://127.0.0.1:2"}, map[string]string{urlVariable: "http://localhost:1"}, "http://127.0.0.1:2", "kept"},
		{Connection{}, map[string]string{adminVariable: "ours"}, "http://127.0.0.1:8080", "ours"},
		{Connection{}, map[string]string{adminVariable: "ours", tokenVariable: "mine"}, "http://127.0.0.1:8080", "mine"},
		{Connection{}, map[string]string{tokenFileVariable: named}, "http://127.0.0.1:8080", "named"},
		{Connection{TokenFile: named}, map[string]string{tokenVariable: "mine"}, "http://127.0.0.1:8080", "named"},
		// The token of a service here is not told to others.
		{Connection{URL: "https://bells.example.org/api/"}, map[string]string{adminVariable: "ours"}, "https://bells.example.org/api", ""},
		{Connection{URL: "https://localhost.example.org"}, nil, "https://localhost.example.org", ""},
		{Connection{URL: "https://bells.example.org"}, map[string]string{tokenVariable: "mine"}, "https://bells.example.org", "mine"},
	} {
		address, token, err := row.flags.Resolve(row.env, here)
		require.NoError(t, err)
		require.Equal(t, row.address, address)
		require.Equal(t, row.token, token, row)
	}
	for _, row := range []struct {
		flags Connection
		env   map[string]string
		says  string
	}{
		{Connection{URL: "127.0.0.1:8080"}, nil, "--url"},
		{Connection{URL: "ftp://x"}, nil, "--url"},
		{Connection{}, map[string]string{urlVariable: "http://u:p@x"}, urlVariable},
		{Connection{TokenFile: empty}, nil, "--token-file"},
		{Connection{}, map[string]string{tokenFileVariable: folder}, tokenFileVariable},
		{Connection{}, map[string]string{tokenVariable: "a b"}, "the token has blanks"},
	} {
		_, _, err := row.flags.Resolve(row.env, here)
		var coded *Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, ExitUsage, coded.ExitCode())
		require.ErrorContains(t, err, row.says)
	}
	_, _, err := (&Connection{}).Resolve(nil, func() (Local, error) { return Local{}, errors.New("belltower.yaml:2: no") })
	require.ErrorContains(t, err, "belltower.yaml:2")
}
