package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/durable"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/lease"
	"github.com/belltower/belltower/projections"
	"github.com/belltower/belltower/reminders"
	"github.com/belltower/belltower/snapshots"
)

// service is all that runs.
type service struct {
	url       string
	tokenFile string
	madeToken string // the admin token, where it was made just now
	token     string // the admin token
	channels  []channels.Registration
	zones     httpapi.TimeZones
	failed    chan error // something stopped that should not have

	drain     time.Duration // bounds how long requests may take to end, and then sends
	logger    *slog.Logger
	measures  *storeMeasures
	registry  *prometheus.Registry // what /metrics shows
	server    *http.Server
	reminders *reminders.Reminders
	lease     *lease.Lease       // nil: the store is ours alone
	esdb      *esdbService       // nil: EventStoreDB's clients are not served
	profiles  *profiles          // nil: none are served
	running   sync.WaitGroup     // all of them
	sending   sync.WaitGroup     // planning and sending
	endModels context.CancelFunc // ends the projections
	endSends  context.CancelFunc // ends planning and sending
	closers   []func() error     // in the order in which they were opened
}

// start opens the data folder and begins to serve. What the console channel
// sends goes to out.
func start(ctx context.Context, s settings, out io.Writer, logger *slog.Logger) (_ *service, err error) {
	registered := register(out, s)
	v := &service{drain: drainTime, logger: logger, channels: registered, measures: newStoreMeasures(), failed: make(chan error, 3), tokenFile: filepath.Join(s.data, adminTokenFile)}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	if err := durable.MkdirAll(s.data); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if v.zones, err = useZones(s, systemZones); err != nil {
		return nil, err
	}
	if s.keys != "" {
		if err := durable.MkdirAll(s.keys); err != nil {
			return nil, fmt.Errorf("make the folder of the keys: %w", err)
		}
	}
	if key := s.providers.webPush.key; key != nil {
		if err := key.keep(); err != nil {
			return nil, err
		}
	}
	log, err := v.openStore(ctx, s)
	if err != nil {
		return nil, err
	}
	ring, err := openKeys(ctx, s, log)
	if err != nil {
		return nil, err
	}
	v.closers = append(v.closers, ring.Close)
	if key := s.providers.smtp.bounceKey; key != nil {
		key.use(func(data []byte) []byte { return ring.Digest(bouncePurpose, data) })
	}
	if err := v.admit(s); err != nil {
		return nil, err
	}
	models, err := projections.Open(ctx, s.data, projections.Options{Store: log, Keys: ring, Now: time.Now, Logger: logger, Target: s.rows})
	if err != nil {
		return nil, err
	}
	v.closers = append(v.closers, models.Close)
	kept, err := snapshots.Open(ctx, s.rows, s.data, logger)
	if err != nil {
		return nil, err
	}
	v.closers = append(v.closers, kept.Close)
	handler := commands.NewHandler(commands.Options{
		Store: log, Keys: ring, Now: time.Now, PhoneRegion: s.phoneRegion, Channels: reminders.Kinds(v.channels),
		Snapshots: kept, Logger: logger,
	})
	v.closers = append(v.closers, func() error { handler.Close(); return nil })
	if v.lease, err = joinOthers(ctx, log, ring, v.channels, logger); err != nil {
		return nil, err
	}
	optOut, pushes := optOutLinks(ring.Digest, s.publicURL), pushLinks(ring.Digest, s.publicURL)
	if v.reminders, err = reminders.New(reminders.Options{
		Commands: handler, Store: log, Models: models, Channels: v.channels, Fallback: s.providers.limits.fallback, Leader: v.leader(), Dir: s.data, Database: s.sharedDatabase(),
		OptOut: optOut.link, Now: time.Now, Logger: logger,
	}); err != nil {
		return nil, err
	}
	v.closers = append(v.closers, v.reminders.Close)
	rebuilder := newRebuilder(map[string]rebuildable{httpapi.ReadModels: modelsIn{Models: models, dir: s.data}, httpapi.Planner: v.reminders}, logger)
	v.closers = append(v.closers, rebuilder.close)
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	v.url = "http://" + listener.Addr().String()
	v.registry = registry(log, v.measures, v.reminders)
	v.server = httpapi.Server(httpapi.New(httpapi.Options{
		Commands: handler, Models: models, Store: log, Processor: processor{v.reminders}, Rebuilder: rebuilder, Channels: names(v.channels),
		Tokens: append([]httpapi.Token{{Name: httpapi.AdminName, Value: v.token}}, s.tokens...),
		Now:    time.Now, Logger: logger, Metrics: v.registry, Version: version(), OptOut: optOut.read, Receivers: receivers(v.channels), TimeZones: v.zones,
		WebPush: s.providers.webPush.page(pushes),
	}))
	if s.esdb.listen != "" {
		if v.esdb, err = serveESDB(s.esdb, log, true); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		v.closers = append(v.closers, v.esdb.close)
	}
	if s.pprof != "" {
		if v.profiles, err = serveProfiles(s.pprof); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		v.closers = append(v.closers, v.profiles.close)
	}
	v.run(ctx, listener, log, models)
	return v, nil
}

// leader is the lease as reminders need it.
func (v *service) leader() reminders.Leader {
	if v.lease == nil {
		return nil
	}
	return v.lease
}

// openKeys opens the keys of a log. Facts without their keys are not gone on
// with: new keys would hide that the names and addresses in them are lost.
func openKeys(ctx context.Context, s settings, log eventstore.Store) (*keys.Ring, error) {
	end, err := log.End(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log's end: %w", err)
	}
	var options []keys.Option
	if end != eventstore.Start {
		options = append(options, keys.Existing())
	}
	if database := s.keysDatabase(); database != (sqldb.Target{}) {
		ring, err := keys.OpenDatabase(ctx, database, options...)
		if errors.Is(err, keys.ErrMissing) {
			err = fmt.Errorf("%w: the log has facts already; if their keys stand in a keys.db, move them to this database with 'belltower keys move --keys FOLDER', or name its folder with --keys (BELLTOWER_KEYS)", err)
		}
		return ring, err
	}
	ring, err := keys.Open(ctx, s.keyFolder(), options...)
	var mark *keys.MovedError
	if errors.As(err, &mark) {
		err = explainMoved(filepath.Join(s.keyFolder(), keys.FileName), mark)
	}
	return ring, err
}

// admit settles the admin token.
func (v *service) admit(s settings) (err error) {
	if v.token = s.adminToken; v.token != "" {
		return nil
	}
	token, made, err := keptAdminToken(s.data)
	if v.token = token; made {
		v.madeToken = token
	}
	return err
}

// names are those of the channels, each once.
func names(registered []channels.Registration) (all []string) {
	for _, r := range registered {
		if !slices.Contains(all, r.Name) {
			all = append(all, r.Name)
		}
	}
	return all
}

// startWait is how long the first answer waits for the read models, so that
// after an ordinary restart nobody is shown an older state. Read models that
// are built anew take longer: until then /readyz says so.
const startWait = 3 * time.Second

// run starts what goes on by itself. None of it ends with the caller's context:
// stop ends it in the right order.
func (v *service) run(ctx context.Context, listener net.Listener, log eventstore.Store, models *projections.Models) {
	followed, endModels := context.WithCancel(context.Background())
	sending, endSends := context.WithCancel(context.Background())
	v.endModels, v.endSends = endModels, endSends
	keep := func(what string, do func() error) {
		v.running.Go(func() {
			if err := do(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				v.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	if v.lease != nil {
		v.running.Go(func() { v.lease.Run(followed) })
	}
	keep("read models", func() error { return models.Follow(followed) })
	v.sending.Add(1)
	keep("reminders", func() error {
		defer v.sending.Done()
		return v.reminders.Run(sending, drainTime)
	})
	waiting, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	end, err := log.End(waiting)
	if err == nil {
		err = models.WaitFor(waiting, end)
	}
	if err != nil && ctx.Err() == nil {
		v.logger.Info("the read models are still being built: /readyz tells when they are there")
	}
	keep("HTTP", func() error { return v.server.Serve(listener) })
}

// stop finishes requests and sends in flight, then closes the data folder.
func (v *service) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), v.drain)
	defer cancel()
	// Requests first: one of them may be sending what is due.
	err := v.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		// A client that stalls is no failure of ours.
		v.logger.Warn("requests that had not ended were cut off", "after", v.drain)
		err = v.server.Close()
	}
	if err != nil {
		err = fmt.Errorf("finish requests: %w", err)
	}
	v.endSends()
	v.sending.Wait()
	v.endModels() // the lease too: it is kept until nothing is sent any more
	v.running.Wait()
	if v.lease != nil {
		v.lease.Release(ctx)
	}
	return errors.Join(err, v.close())
}

// close closes what was opened, the last first.
func (v *service) close() error {
	var failed []error
	for i := len(v.closers) - 1; i >= 0; i-- {
		failed = append(failed, v.closers[i]())
	}
	v.closers = nil
	return errors.Join(failed...)
}
