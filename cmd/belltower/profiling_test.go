package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfiles(t *testing.T) {
	p := serving(t, t.TempDir(), "BELLTOWER_PPROF=127.0.0.1:0")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, field(p.out.String(), "profiles")+"heap", nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	packed, err := gzip.NewReader(answer.Body)
	require.NoError(t, err)
	heap, err := io.ReadAll(packed)
	require.NoError(t, err)
	require.Contains(t, string(heap), "inuse_space")

	// The service's own address serves none.
	r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/debug/pprof/", nil)
	require.NoError(t, err)
	answer, err = http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
}

func TestProfilesAreForThisMachine(t *testing.T) {
	for address, want := range map[string]string{
		"":               "",
		"localhost:6060": "",
		"[::1]:0":        "",
		"6060":           `"6060" is not HOST:PORT`,
		"127.0.0.1:":     `"" is not a port`,
		":6060":          `"" is not this machine`,
		"192.0.2.1:6060": `"192.0.2.1" is not this machine`,
	} {
		if got := wrongPprof(address); want == "" {
			require.Empty(t, got, address)
		} else {
			require.Contains(t, got, want, address)
		}
	}
}
