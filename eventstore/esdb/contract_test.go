package esdb_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdb"
	"github.com/belltower/belltower/eventstore/esdbserver"
	"github.com/belltower/belltower/eventstore/storetest"
	"github.com/belltower/belltower/internal/memstore"
)

// serverVariable names a real EventStoreDB, as a connection string.
const serverVariable = "BELLTOWER_TEST_ESDB"

// opened opens a server, and closes it at the end of the test.
func opened(t *testing.T, server string, o esdb.Options) *esdb.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := esdb.Open(ctx, server, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// served serves a store on a free port and gives its connection string.
func served(t *testing.T, store eventstore.Store) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := esdbserver.New(esdbserver.Options{Store: store})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, <-ended)
	})
	return "esdb://" + listener.Addr().String() + "?tls=false"
}

func embeddedLog(t *testing.T) *embedded.Log {
	t.Helper()
	log, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

// over opens esdb over a server, and again when asked.
func over(server func(*testing.T) string) storetest.Open {
	return func(t *testing.T) (eventstore.Store, func() eventstore.Store) {
		at := server(t)
		s := opened(t, at, esdb.Options{})
		return s, func() eventstore.Store {
			require.NoError(t, s.Close())
			s = opened(t, at, esdb.Options{})
			return s
		}
	}
}

func TestContractOverEmbedded(t *testing.T) {
	storetest.Run(t, over(func(t *testing.T) string { return served(t, embeddedLog(t)) }))
}

// Positions with gaps, commits that differ from prepares, and a log that can't
// be read backwards.
func TestContractOverMemory(t *testing.T) {
	storetest.Run(t, over(func(t *testing.T) string { return served(t, memstore.New()) }))
}

func TestContractOverEventStoreDB(t *testing.T) {
	server := os.Getenv(serverVariable)
	if server == "" {
		t.Skip(serverVariable + " names no EventStoreDB")
	}
	storetest.Run(t, over(func(*testing.T) string { return server }))
}
