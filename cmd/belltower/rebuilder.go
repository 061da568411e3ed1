package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/projections"
)

// rebuildable is a projection that can be built from the log's beginning while
// it goes on answering.
type rebuildable interface {
	// Rebuild builds it anew beside what it is, and puts that in its place.
	Rebuild(ctx context.Context, progress func(projections.BuildProgress)) error
	// Verify builds it beside what it is, and reports what differs at the same
	// position of the log.
	Verify(ctx context.Context, progress func(projections.BuildProgress), report func(rowdiff.Difference) error) (rows int64, err error)
}

// modelsIn are read models with a folder for what is compared with them.
type modelsIn struct {
	*projections.Models
	dir   string
	until eventstore.Position
}

func (m modelsIn) Verify(ctx context.Context, progress func(projections.BuildProgress), report func(rowdiff.Difference) error) (int64, error) {
	return m.Models.Verify(ctx, m.dir, m.until, progress, report)
}

// rebuilder rebuilds and verifies the projections of a running service, each
// once at a time.
type rebuilder struct {
	ctx         context.Context // ends with close
	cancel      context.CancelFunc
	projections map[string]rebuildable
	now         func() time.Time
	logger      *slog.Logger

	working sync.WaitGroup
	mu      sync.Mutex
	last    map[string]*httpapi.Rebuilding
}

func newRebuilder(projections map[string]rebuildable, logger *slog.Logger) *rebuilder {
	ctx, cancel := context.WithCancel(context.Background())
	return &rebuilder{ctx: ctx, cancel: cancel, projections: projections, now: time.Now, logger: logger, last: map[string]*httpapi.Rebuilding{}}
}

// close ends what goes on, which changes nothing then, and waits for its end.
func (r *rebuilder) close() error {
	r.cancel()
	r.working.Wait()
	return nil
}

// maxDifferences is how many differences are kept to be shown.
const maxDifferences = 100

func (r *rebuilder) Rebuild(name string) (httpapi.Rebuilding, error) {
	return r.begin(name, "rebuild", func(p rebuildable, b *httpapi.Rebuilding) error {
		return p.Rebuild(r.ctx, r.progress(b))
	})
}

func (r *rebuilder) Verify(name string) (httpapi.Rebuilding, error) {
	return r.begin(name, "verify", func(p rebuildable, b *httpapi.Rebuilding) error {
		rows, err := p.Verify(r.ctx, r.progress(b), func(d rowdiff.Difference) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			b.DifferencesInAll++
			if len(b.Differences) < maxDifferences {
				b.Differences = append(b.Differences, d)
			}
			return nil
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		b.RowsCompared = rows
		return err
	})
}

func (r *rebuilder) Rebuilding(name string) (httpapi.Rebuilding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.last[name]
	if !ok {
		return httpapi.Rebuilding{}, false
	}
	return shownOf(b), true
}

// shownOf is a copy that nobody changes. r.mu is held.
func shownOf(b *httpapi.Rebuilding) httpapi.Rebuilding {
	shown := *b
	shown.Differences = append([]rowdiff.Difference(nil), b.Differences...)
	return shown
}

// begin starts work on a projection, unless some goes on already.
func (r *rebuilder) begin(name, purpose string, work func(rebuildable, *httpapi.Rebuilding) error) (httpapi.Rebuilding, error) {
	p, ok := r.projections[name]
	if !ok {
		return httpapi.Rebuilding{}, httpapi.ErrNoProjection
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.last[name]; b != nil && b.State == httpapi.RebuildRunning {
		return shownOf(b), nil
	}
	b := &httpapi.Rebuilding{Purpose: purpose, State: httpapi.RebuildRunning, StartedAt: r.now().UTC()}
	r.last[name] = b
	r.logger.Info("a projection is built from the log", "projection", name, "purpose", purpose)
	r.working.Go(func() { r.end(name, b, work(p, b)) })
	return shownOf(b), nil
}

// end notes what became of it.
func (r *rebuilder) end(name string, b *httpapi.Rebuilding, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := r.now().UTC()
	b.EndedAt = &ended
	switch {
	case err == nil:
		b.State, b.Part = httpapi.RebuildDone, 1
		r.logger.Info("a projection was built from the log", "projection", name, "purpose", b.Purpose, "facts", b.Facts,
			"took", ended.Sub(b.StartedAt).Round(time.Millisecond).String(), "differences", b.DifferencesInAll)
	case errors.Is(err, context.Canceled):
		b.State, b.Error = httpapi.RebuildFailed, "it was interrupted"
	default:
		b.State, b.Error = httpapi.RebuildFailed, err.Error()
		r.logger.Error("a projection could not be built from the log", "projection", name, "purpose", b.Purpose, "error", err)
	}
}

func (r *rebuilder) progress(b *httpapi.Rebuilding) func(projections.BuildProgress) {
	return func(p projections.BuildProgress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		b.Facts, b.Part = p.Facts, p.Part()
	}
}
