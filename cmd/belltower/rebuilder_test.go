package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/projections"
)

// scriptedProjection takes a minute for each step, and ends as it is told.
type scriptedProjection struct {
	ends    error
	differs int
}

func (p *scriptedProjection) Rebuild(ctx context.Context, progress func(projections.BuildProgress)) error {
	for minute := range uint64(2) {
		progress(projections.BuildProgress{Facts: int64(minute) * 10, Position: eventstore.Position{Commit: minute * 10}, End: eventstore.Position{Commit: 20}})
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.ends
}

func (p *scriptedProjection) Verify(ctx context.Context, progress func(projections.BuildProgress), report func(rowdiff.Difference) error) (int64, error) {
	for range p.differs {
		if err := report(rowdiff.Difference{Table: "events", Key: "1", Kind: rowdiff.Missing}); err != nil {
			return 0, err
		}
	}
	return 500, p.Rebuild(ctx, progress)
}

func TestRebuilderDoesOneThingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &scriptedProjection{differs: maxDifferences + 7}
		r := newRebuilder(map[string]rebuildable{"one": p}, slog.New(slog.DiscardHandler))
		defer func() { require.NoError(t, r.close()) }()

		_, err := r.Rebuild("another")
		require.ErrorIs(t, err, httpapi.ErrNoProjection)
		_, ok := r.Rebuilding("one")
		require.False(t, ok)

		begun, err := r.Rebuild("one")
		require.NoError(t, err)
		require.Equal(t, httpapi.RebuildRunning, begun.State)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		for _, again := range []func(string) (httpapi.Rebuilding, error){r.Rebuild, r.Verify} {
			now, err := again("one")
			require.NoError(t, err)
			require.Equal(t, httpapi.Rebuilding{Purpose: "rebuild", State: "running", StartedAt: begun.StartedAt, Facts: 10, Part: 0.5}, now)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		done, _ := r.Rebuilding("one")
		require.Equal(t, httpapi.RebuildDone, done.State)
		require.Equal(t, 2*time.Minute, done.EndedAt.Sub(done.StartedAt))

		_, err = r.Verify("one")
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		done, _ = r.Rebuilding("one")
		require.Equal(t, "verify", done.Purpose)
		require.EqualValues(t, maxDifferences+7, done.DifferencesInAll)
		require.Len(t, done.Differences, maxDifferences)
		require.EqualValues(t, 500, done.RowsCompared)

		p.ends = errors.New("the disk is full")
		_, err = r.Rebuild("one")
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		failed, _ := r.Rebuilding("one")
		require.Equal(t, []string{httpapi.RebuildFailed, "the disk is full"}, []string{failed.State, failed.Error})
	})
}

func TestRebuilderEndsWithTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRebuilder(map[string]rebuildable{"one": &scriptedProjection{}}, slog.New(slog.DiscardHandler))
		_, err := r.Rebuild("one")
		require.NoError(t, err)
		require.NoError(t, r.close())
		ended, _ := r.Rebuilding("one")
		require.Equal(t, []string{httpapi.RebuildFailed, "it was interrupted"}, []string{ended.State, ended.Error})
	})
}
