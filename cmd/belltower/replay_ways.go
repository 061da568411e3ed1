package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/cli"
	"github.com/belltower/belltower/internal/client"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/terminal"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/projections"
	"github.com/belltower/belltower/reminders"
)

// way is who replays: this process or a running service.
type way interface {
	replay(ctx context.Context, done *replayed, progress func(facts int64, part float64)) error
	close() error
}

// progressOf is what the display is told.
type progressOf struct {
	mu    sync.Mutex
	meter *terminal.Meter
	facts int64
	part  float64
}

func (p *progressOf) set(facts int64, part float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.facts, p.part = facts, part
}

func (p *progressOf) line(columns int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meter.Line(time.Now(), p.facts, p.part, columns)
}

// way finds who replays: the service that is named, or that runs on the folder;
// else this process.
func (r *replay) way(ctx context.Context) (way, error) {
	if r.connection.Named(r.env) {
		return r.service()
	}
	if slices.Contains(r.names, httpapi.Planner) && r.settings.sharedDatabase() != (sqldb.Target{}) {
		return nil, usage(errors.New("--projection: the planner's table that instances share is changed by the one that leads alone: name that one with --url"))
	}
	here, err := r.openHere(ctx)
	if errors.Is(err, eventstore.ErrLocked) {
		return r.service()
	} else if err != nil {
		return nil, err
	}
	return here, nil
}

// service is the way through a running service.
func (r *replay) service() (way, error) {
	if r.into != "" || r.until != "" {
		return nil, errors.New("a service runs on the data folder: --into and --until read its log themselves, so stop it first")
	}
	url, token, err := r.connection.Resolve(r.env, func() (cli.Local, error) {
		return cli.Local{URL: "http://" + reachable(r.settings.listen), TokenFile: filepath.Join(r.settings.data, adminTokenFile)}, nil
	})
	if err != nil {
		return nil, err
	}
	return &byService{c: &client.Client{URL: url, Token: token, Patience: 10 * time.Second}, cmd: r.cmd, purpose: r.purpose(), every: 300 * time.Millisecond}, nil
}

// byService asks a service, and looks how far it is.
type byService struct {
	c       *client.Client
	cmd     *cobra.Command
	purpose string
	every   time.Duration
}

func (b *byService) close() error {
	client.CloseIdle()
	return nil
}

func (b *byService) replay(ctx context.Context, done *replayed, progress func(int64, float64)) error {
	var begun httpapi.Rebuilding
	err := b.ask(ctx, http.MethodPost, "/v1/projections/"+done.Projection+"/"+b.purpose, &begun)
	if err != nil {
		return err
	}
	if begun.Purpose != b.purpose {
		return fmt.Errorf("%s: the service is doing something else with it now (%s): try again when that is done", done.Projection, begun.Purpose)
	}
	for now := begun; ; {
		progress(now.Facts, now.Part)
		switch now.State {
		case httpapi.RebuildDone:
			done.Facts, done.RowsCompared, done.DifferencesInAll, done.Differences = now.Facts, now.RowsCompared, now.DifferencesInAll, now.Differences
			return nil
		case httpapi.RebuildFailed:
			return fmt.Errorf("%s: the service could not do it: %s", done.Projection, now.Error)
		}
		select {
		case <-time.After(b.every):
		case <-ctx.Done():
			return fmt.Errorf("%s: interrupted; the service goes on with it", done.Projection)
		}
		last, err := b.shown(ctx, done.Projection)
		if err != nil {
			return err
		}
		if last == nil || !last.StartedAt.Equal(begun.StartedAt) {
			return fmt.Errorf("%s: the service was started anew meanwhile, and nothing was changed: run this again", done.Projection)
		}
		now = *last
	}
}

// shown is what the service shows of a projection's rebuild; nil: nothing.
func (b *byService) shown(ctx context.Context, name string) (*httpapi.Rebuilding, error) {
	var stats struct {
		Projections []struct {
			Name    string              `json:"name"`
			Rebuild *httpapi.Rebuilding `json:"rebuild"`
		} `json:"projections"`
	}
	if err := b.ask(ctx, http.MethodGet, "/v1/stats", &stats); err != nil {
		return nil, err
	}
	for _, p := range stats.Projections {
		if p.Name == name {
			return p.Rebuild, nil
		}
	}
	return nil, nil
}

// ask gets an answer, or says in the client's words why there is none.
func (b *byService) ask(ctx context.Context, method, path string, into any) error {
	reply, err := b.c.Do(ctx, client.Request{Method: method, Path: path})
	if err != nil {
		return cli.Explained(b.cmd, err)
	}
	if err := json.Unmarshal(reply.Body, into); err != nil {
		return fmt.Errorf("%s%s answers %d and no JSON: is that Belltower?", b.c.URL, path, reply.Status)
	}
	return nil
}

// here is this process as the one that replays.
type here struct {
	r       *replay
	log     eventstore.Store
	keys    *keys.Ring
	until   eventstore.Position // Start: all
	logger  *slog.Logger
	closers []func() error
}

// openHere opens the log and the keys. The folder is locked where what it holds
// is read or changed; one that is in use is eventstore.ErrLocked.
func (r *replay) openHere(ctx context.Context) (_ *here, err error) {
	s := r.settings
	h := &here{r: r, logger: slog.New(slog.DiscardHandler)}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if s.store == embeddedStore {
		// Opening a log makes one where there is none, which is not what was asked for.
		if _, err := os.Stat(filepath.Join(s.data, "events.db")); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s holds no log", s.data)
		} else if err != nil {
			return nil, fmt.Errorf("look at the data folder: %w", err)
		}
		log, err := embedded.Open(ctx, s.data, embedded.Options{Now: time.Now, Logger: h.logger})
		if err != nil {
			return nil, err
		}
		h.log = log
		h.closers = append(h.closers, log.Close)
	} else if err := h.openShared(ctx, s); err != nil {
		return nil, err
	}
	if h.keys, err = openKeys(ctx, s, h.log); err != nil {
		return nil, err
	}
	h.closers = append(h.closers, h.keys.Close)
	return h, h.readUntil(ctx)
}

// openShared opens a log that instances share.
func (h *here) openShared(ctx context.Context, s settings) error {
	if h.usesFolder() {
		unlock, err := lockFolder(s.data)
		if err != nil {
			return err
		}
		h.closers = append(h.closers, unlock)
	}
	log, err := openESDB(ctx, s, h.logger, nil)
	if err != nil {
		return err
	}
	h.log = log
	h.closers = append(h.closers, log.Close)
	return nil
}

// usesFolder tells whether what is replayed stands in the data folder.
func (h *here) usesFolder() bool {
	return !h.r.settings.rows.Shared() && h.r.into == "" || slices.Contains(h.r.names, httpapi.Planner)
}

func (h *here) close() error {
	var failed []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		failed = append(failed, h.closers[i]())
	}
	h.closers = nil
	return errors.Join(failed...)
}

func (h *here) options() projections.Options {
	return projections.Options{Store: h.log, Keys: h.keys, Now: time.Now, Logger: h.logger, Target: h.r.settings.rows}
}

func (h *here) replay(ctx context.Context, done *replayed, progress func(int64, float64)) (err error) {
	told := func(p projections.BuildProgress) {
		done.Facts = p.Facts
		progress(p.Facts, p.Part())
	}
	if h.r.into != "" {
		err := projections.BuildInto(ctx, h.r.target, projections.Source{Store: h.log, Keys: h.keys, Until: h.until}, told)
		return h.interrupted(err)
	}
	p, close, err := h.open(ctx, done.Projection)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, close()) }()
	if h.r.verify {
		done.RowsCompared, err = p.Verify(ctx, told, done.note)
	} else {
		err = p.Rebuild(ctx, told)
	}
	return h.interrupted(err)
}

// interrupted says in plain words that somebody wanted it to end.
func (h *here) interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; nothing was changed")
	}
	return err
}

// readUntil finds where --until is in the log.
func (h *here) readUntil(ctx context.Context) (err error) {
	end, err := h.log.End(ctx)
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if h.until = h.r.end; !h.r.time.IsZero() {
		if h.until, err = projections.LastBefore(ctx, h.log, h.r.time); err != nil {
			return err
		}
		if h.until == eventstore.Start {
			return fmt.Errorf("--until: the log has nothing from %s or before", h.r.until)
		}
	}
	if end.Before(h.until) {
		return fmt.Errorf("--until: the log ends at %v, before %v", end, h.until)
	}
	return nil
}

// open opens a projection that nobody runs here.
func (h *here) open(ctx context.Context, name string) (rebuildable, func() error, error) {
	s := h.r.settings
	if name == httpapi.ReadModels {
		models, err := projections.Open(ctx, s.data, h.options())
		if err != nil {
			return nil, nil, err
		}
		return modelsIn{models, s.data, h.until}, models.Close, nil
	}
	registered := register(io.Discard, s)
	handler := commands.NewHandler(commands.Options{Store: h.log, Keys: h.keys, Now: time.Now, Channels: reminders.Kinds(registered)})
	planner, err := reminders.New(reminders.Options{
		Commands: handler, Store: h.log, Channels: registered, Fallback: s.providers.limits.fallback, Dir: s.data, Now: time.Now, Logger: h.logger,
	})
	if err != nil {
		handler.Close()
		return nil, nil, err
	}
	return planner, func() error {
		handler.Close()
		return planner.Close()
	}, nil
}
