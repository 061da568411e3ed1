package reminders

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/projections"
)

// verified gives what Verify finds, where anything is open.
func (w *world) verified() []rowdiff.Difference {
	w.t.Helper()
	rows, found := w.verify()
	require.Positive(w.t, rows)
	return found
}

func (w *world) verify() (rows int64, found []rowdiff.Difference) {
	w.t.Helper()
	var last projections.BuildProgress
	rows, err := w.r.Verify(w.t.Context(), func(p projections.BuildProgress) { last = p }, func(d rowdiff.Difference) error {
		found = append(found, d)
		return nil
	})
	require.NoError(w.t, err)
	require.InDelta(w.t, 1, last.Part(), 0)
	require.NoDirExists(w.t, filepath.Join(w.dir, rebuildFolder))
	return rows, found
}

func TestRebuildMendsThePlannersTable(t *testing.T) {
	for name, c := range map[string]struct {
		spoil string
		kind  rowdiff.Kind
	}{
		"a removed row": {"DELETE FROM open", rowdiff.Missing},
		"a lost timer":  {"UPDATE open SET due = due + 36000000000", rowdiff.Changed},
		"a ghost":       {"INSERT INTO open VALUES ('x', 'e', 'p', 'email', 0, 0, 'nobody', 0, 0, 0, 0)", rowdiff.Surplus},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(time.Minute)
				require.Empty(t, w.verified())
				w.spoil(c.spoil)
				found := w.verified()
				require.NotEmpty(t, found)
				for _, d := range found {
					require.Equal(t, c.kind, d.Kind)
				}
				require.NotEmpty(t, w.verified(), "verifying mends nothing")

				// What an interrupted rebuild has left is in nobody's way.
				require.NoError(t, os.Mkdir(filepath.Join(w.dir, rebuildFolder), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(w.dir, rebuildFolder, "planner.db"), []byte("half"), 0o600))
				require.NoError(t, w.r.Rebuild(t.Context(), func(projections.BuildProgress) {}))
				require.Empty(t, w.verified())
				require.NoDirExists(t, filepath.Join(w.dir, rebuildFolder))

				at(61 * time.Minute)
				require.Len(t, w.email.deliveries(), 1, "it is sent on time, and once")
			})
		})
	}
}

// What happens to a notification on its way leaves nothing in the table that the
// log doesn't give.
func TestVerifyOnTheWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n < 4 {
				return channels.Result{Outcome: channels.Later, Code: "busy"}
			}
			return channels.Result{Outcome: channels.Rejected, Code: "550"}
		})
		for _, after := range []time.Duration{time.Minute, time.Hour, time.Hour + 6*time.Second, time.Hour + 20*time.Second} {
			at(after)
			require.Empty(t, w.verified(), "after %s", after)
		}
		at(2 * time.Hour)
		failed := w.only()
		require.Equal(t, aggregates.NotificationFailed, failed.Status)
		rows, found := w.verify()
		require.Zero(t, rows)
		require.Empty(t, found)
	})
}
