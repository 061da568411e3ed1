package torture

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is how many commands are given to a service whose system calls are spoilt.
const script = 100

const (
	syncs  = "fsync,fdatasync"
	writes = "pwrite64,write,ftruncate"
	reads  = "pread64"
)

// measure gives the script to a service that is only watched.
func measure(t *testing.T, seed uint64) []call {
	r := newRun(t, t.TempDir(), seed, 1)
	v, tr := r.launchTraced(nil, "trace="+syncs+","+writes+","+reads)
	require.True(t, v.up(t), v.logged())
	v.traced(t)
	r.served(v)
	require.NoError(t, r.clients[0].work(t.Context(), script))
	v.finish(t)
	return slices.DeleteFunc(tr.calls(t), func(c call) bool { return !strings.HasPrefix(c.path, r.folder) })
}

// spread chooses at most n of the numbers from 1 to last, 1 among them: calls are
// counted for each thread, and how far one comes differs from run to run, but to its
// first one some thread comes always.
func spread(rng *rand.Rand, last, n int) []int {
	chosen := append([]int{1}, rng.Perm(last - 1)[:min(n, last)-1]...)
	for i := range chosen[1:] {
		chosen[i+1] += 2
	}
	slices.Sort(chosen)
	return chosen
}

// TestKilledAtSync kills the service when it syncs a file, for the n-th time, for
// every n of the script or as many as -size says.
func TestKilledAtSync(t *testing.T) {
	beside(t)
	needsTrace(t)
	budget(t, 3*time.Minute)
	seed := seeded(t)
	last := busiest(measure(t, seed), syncs)
	require.Greater(t, last, 10, "the script syncs")
	points := spread(rand.New(rand.NewPCG(seed, 0)), last, sized(t, 3, 40, last))
	total, killed := tally{}, 0
	for _, n := range points {
		r := newRun(t, t.TempDir(), seed, 1)
		v, _ := r.launchTraced(nil, "trace="+syncs, fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", syncs, n))
		gone := !v.up(t)
		if !gone {
			r.served(v)
			err := r.clients[0].work(t.Context(), script)
			if gone = err != nil; gone {
				require.ErrorIs(t, err, errGone)
			}
		}
		if gone {
			killed++
			require.Equal(t, -1, v.exit(t), v.logged())
		} else { // no thread came as far this time
			v.kill(t)
		}
		r.conclude(fmt.Sprintf("killed at the %d. sync", n))
		total.add(r.ledger.counts())
	}
	t.Logf("killed at %d of %d points (sync 1 to %d of a thread); %s", killed, len(points), last, total)
	require.GreaterOrEqual(t, killed, max(1, len(points)/4))
}

// add sums up several runs.
func (t *tally) add(o tally) {
	t.asked += o.asked
	t.acknowledged += o.acknowledged
	t.unavailable += o.unavailable
	t.unanswered += o.unanswered
	t.found += o.found
	t.delivered += o.delivered
	t.inDoubt += o.inDoubt
}

func (t tally) String() string {
	return fmt.Sprintf("%d writes asked for, %d acknowledged, %d told to come again, %d unanswered, %d of these found done; "+
		"%d delivered, %d of them again in doubt; nothing lost, early, phantom, gap, diverged or duplicate",
		t.asked, t.acknowledged, t.unavailable, t.unanswered, t.found, t.delivered, t.inDoubt)
}

// TestFailingDisk lets the n-th sync, write or read fail, for every n of the script or
// as many as -size says.
func TestFailingDisk(t *testing.T) {
	beside(t)
	needsTrace(t)
	budget(t, 4*time.Minute)
	seed := seeded(t)
	calls := measure(t, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, kind := range []struct{ name, calls, errno string }{
		{"sync EIO", syncs, "EIO"}, {"sync ENOSPC", syncs, "ENOSPC"}, {"write EIO", writes, "EIO"}, {"write ENOSPC", writes, "ENOSPC"},
		{"read EIO", reads, "EIO"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			last := busiest(calls, kind.calls)
			total, hit := tally{}, 0
			points := spread(rng, last, sized(t, 2, 5, last))
			for _, n := range points {
				f := &failing{run: newRun(t, t.TempDir(), seed, 1)}
				hit += f.try(kind.calls, kind.errno, n)
				total.add(f.ledger.counts())
			}
			t.Logf("%d failures in %d runs (call 1 to %d of a thread); %s", hit, len(points), last, total)
			require.Positive(t, hit)
		})
	}
}

// failing is a service whose disk fails.
type failing struct{ *run }

func (f *failing) files() (all []string) {
	all = append(all, f.folder)
	for _, name := range []string{"events.db", "events.db.new", "streams.db", "keys.db", "read.db", "planner.db", "snapshots.db"} {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			all = append(all, filepath.Join(f.folder, name+suffix))
		}
	}
	return all
}

// try lets the n-th of these calls fail and gives how many did.
func (f *failing) try(calls, errno string, n int) (hit int) {
	t := f.t
	v, tr := f.launchTraced(f.files(), "trace=close,"+calls, fmt.Sprintf("inject=%s:error=%s:when=%d", calls, errno, n))
	c := f.clients[0]
	c.patient = true
	served := v.up(t)
	if served {
		v.traced(t)
		f.served(v)
		require.NoError(t, c.work(t.Context(), script), "%s at call %d\n%s", errno, n, v.logged())
		require.NoError(t, syscall.Kill(v.pid, syscall.SIGTERM))
		require.NotEqual(t, -1, v.exit(t), "it ends by itself")
	} else {
		require.Equal(t, 1, v.exit(t), v.logged())
		require.Contains(t, v.logged(), "belltower: ", "it says why")
	}
	require.NotContains(t, v.logged(), "panic")
	require.NotContains(t, v.logged(), "goroutine ")
	traced := tr.calls(t)
	for _, c := range traced {
		if c.failed {
			hit++
		}
	}
	if served { // a start that failed rolls back, and has promised nothing
		require.Empty(t, goneOnWith(traced), "%s at call %d", errno, n)
	}
	f.conclude(fmt.Sprintf("%s at call %d of %s", errno, n, calls))
	return hit
}
