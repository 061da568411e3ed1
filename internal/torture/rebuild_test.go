package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/load"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
)

// TestRebuildKilled kills the service and the command that builds the read models
// anew, on each database: while a rebuild goes on in the command, while one goes
// on in the service under load, and while the service projects what comes. After
// each kill the rows are those of a fresh rebuild.
func TestRebuildKilled(t *testing.T) {
	beside(t)
	budget(t, 90*time.Second)
	kills, facts := sized(t, 3, 10, 100), sized(t, 2000, 2000, 50_000)
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		seed := seeded(t)
		k := &rebuildKilling{
			t: t, provider: newProvider(t), rng: rand.New(rand.NewPCG(seed, 0)), folder: filepath.Join(t.TempDir(), "data"),
			env: []string{"BELLTOWER_READ_MODELS=" + readModels(t, target)},
		}
		k.fill(facts, seed)
		began := time.Now()
		k.replay("")
		k.took = time.Since(began)
		var killed [3]int
		for i := range kills {
			kill := []func() bool{k.killCommand, k.killRebuild, k.killProjecting}[i%3]
			if kill() {
				killed[i%3]++
			}
			k.compare()
		}
		t.Logf("%d rebuilds by the command and %d by the service were killed, and %d times the service while it projected; %d rows were compared each time, at the end",
			killed[0], killed[1], killed[2], k.compared)
		require.Positive(t, killed[0])
		require.Positive(t, killed[2])

		// What was interrupted is in nobody's way.
		k.replay("")
		v := k.serve()
		v.ready(t)
		v.finish(t)
		k.compare()
	})
}

// readModels is a fresh database as --read-models names it. A Target doesn't show its password.
func readModels(t *testing.T, target sqldb.Target) string {
	if !target.Shared() {
		return "sqlite"
	}
	shown, err := url.Parse(target.String())
	require.NoError(t, err)
	server, err := url.Parse(os.Getenv(map[sqldb.Kind]string{sqldb.PostgreSQL: "BELLTOWER_TEST_POSTGRES", sqldb.MySQL: "BELLTOWER_TEST_MYSQL"}[target.Kind()]))
	require.NoError(t, err)
	shown.User = server.User
	return shown.String()
}

// rebuildKilling is a data folder whose read models are built by processes that are killed.
type rebuildKilling struct {
	t        *testing.T
	provider *provider
	rng      *rand.Rand
	folder   string
	env      []string
	took     time.Duration // by a whole replay
	compared int           // rows, at last
}

// fill makes a log, as a service would have.
func (k *rebuildKilling) fill(facts int, seed uint64) {
	k.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	log, err := embedded.Open(k.t.Context(), k.folder, embedded.Options{Now: time.Now, Logger: quiet})
	require.NoError(k.t, err)
	ring, err := keys.Open(k.t.Context(), k.folder)
	require.NoError(k.t, err)
	handler := commands.NewHandler(commands.Options{
		Store: log, Keys: ring, Now: time.Now, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress},
	})
	_, _, err = load.Fill(k.t.Context(), load.Options{Commands: handler, Now: time.Now, Facts: int64(facts), Seed: seed})
	require.NoError(k.t, err)
	handler.Close()
	require.NoError(k.t, ring.Close())
	require.NoError(k.t, log.Close())
}

// command prepares belltower replay for the read models.
func (k *rebuildKilling) command(args ...string) (cmd *exec.Cmd, out, said *bytes.Buffer) {
	out, said = &bytes.Buffer{}, &bytes.Buffer{}
	cmd = exec.Command(binary(k.t), append([]string{"replay", "--projection", "read_models", "--data", k.folder}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR")}, k.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = k.provider.dir, out, said
	return cmd, out, said
}

// replay runs it to its end.
func (k *rebuildKilling) replay(args string) []byte {
	k.t.Helper()
	cmd, out, said := k.command(strings.Fields(args)...)
	require.NoError(k.t, cmd.Run(), "%s%s", out, said)
	return out.Bytes()
}

// compare holds the rows against those of a fresh rebuild.
func (k *rebuildKilling) compare() {
	k.t.Helper()
	var reports []struct {
		RowsCompared     int `json:"rows_compared"`
		DifferencesInAll int `json:"differences_in_all"`
	}
	require.NoError(k.t, json.Unmarshal(k.replay("--verify --json"), &reports))
	require.Len(k.t, reports, 1)
	require.Positive(k.t, reports[0].RowsCompared)
	require.Zero(k.t, reports[0].DifferencesInAll)
	k.compared = reports[0].RowsCompared
}

// moment waits for up to so long: what is under way then is left to chance.
func (k *rebuildKilling) moment(most time.Duration) {
	time.Sleep(time.Duration(k.rng.Int64N(int64(most))))
}

// killCommand kills the command while it rebuilds; one that had ended before is
// tried again, and earlier.
func (k *rebuildKilling) killCommand() bool {
	for {
		cmd, _, said := k.command()
		began := time.Now()
		require.NoError(k.t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			require.NoError(k.t, err, "%s", said)
			k.took = min(k.took, time.Since(began)) * 3 / 4
			continue
		case <-time.After(time.Duration(k.rng.Int64N(int64(k.took)))):
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			require.NoError(k.t, err)
		}
		if <-ended != nil {
			require.Equal(k.t, -1, cmd.ProcessState.ExitCode(), "it ended by itself: %s", said)
			return true
		}
	}
}

func (k *rebuildKilling) serve() *service {
	v := k.provider.launch(k.t, launched{folder: k.folder, env: k.env})
	require.True(k.t, v.up(k.t), "it ended by itself\n%s", v.logged())
	return v
}

// killRebuild kills the service while it rebuilds under load; false: it had ended.
func (k *rebuildKilling) killRebuild() bool {
	v := k.serve()
	v.ready(k.t)
	end := k.busy(v)
	v.does(k.t, 202, "POST", "/v1/projections/read_models/rebuild", nil)
	k.moment(min(k.took, time.Second))
	var state string
	for _, p := range v.does(k.t, 200, "GET", "/v1/stats", nil).list("projections") {
		if p.text("name") == "read_models" {
			state = p.inner("rebuild").text("state")
		}
	}
	v.kill(k.t)
	end()
	return state == "running"
}

// killProjecting kills the service while it projects what comes.
func (k *rebuildKilling) killProjecting() bool {
	v := k.serve()
	v.ready(k.t)
	end := k.busy(v)
	k.moment(time.Second)
	v.kill(k.t)
	end()
	return true
}

// busy lets clients register people until the service is gone; it returns once
// each has been answered.
func (k *rebuildKilling) busy(v *service) (end func()) {
	const clients = 2
	ctx, cancel := context.WithCancel(k.t.Context())
	var working, answered sync.WaitGroup
	answered.Add(clients)
	start := time.Now().Add(48 * time.Hour)
	for c := range clients {
		event := v.does(k.t, 201, "POST", "/v1/events", object{
			"title": "Rehearsal", "description": "All come", "start_time": at(start), "end_time": at(start.Add(time.Hour)),
		}).text("id")
		working.Go(func() {
			once := sync.OnceFunc(answered.Done)
			defer once()
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("%s-%d-%d", event[:8], c, n)
				_, err := v.api.ask(ctx, request{method: "POST", path: "/v1/events/" + event + "/participants", body: object{
					"user_id": name, "name": "Ann " + name, "email": name + "@example.org",
				}})
				if once(); err != nil {
					return
				}
			}
		})
	}
	answered.Wait()
	return func() {
		cancel()
		working.Wait()
	}
}
