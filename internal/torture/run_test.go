package torture

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// run is a service that is tortured, those who use it, and what they know.
type run struct {
	t        *testing.T
	folder   string
	provider *provider
	ledger   *ledger
	clients  []*client
	foreseen []string // what lines of the log may say though they are errors
}

// newRun prepares n clients and a data folder below dir.
func newRun(t *testing.T, dir string, seed uint64, n int) *run {
	r := &run{t: t, folder: filepath.Join(dir, "data"), provider: newProvider(t)}
	r.ledger = newLedger(t, r.provider)
	for i := range n {
		r.clients = append(r.clients, newClient(fmt.Sprintf("client-%d", i), seed, uint64(i)+1, r.ledger))
	}
	return r
}

// serve starts the service for the clients.
func (r *run) serve() *service {
	v := r.provider.serve(r.t, r.folder)
	r.served(v)
	return v
}

// served lets the clients go to v.
func (r *run) served(v *service) {
	for _, c := range r.clients {
		c.api = v.api
	}
}

// prepare makes what all clients share.
func (r *run) prepare(v *service) {
	// The auditor looks once a check interval.
	v.does(r.t, 200, "POST", "/v1/processor/start", object{"check_interval_seconds": 1})
	start := time.Now().Add(far)
	hall := v.does(r.t, 201, "POST", "/v1/events", object{
		"title": "The hall", "description": "All come here", "start_time": at(start), "end_time": at(start.Add(time.Hour)),
	})
	for _, c := range r.clients {
		c.hall = hall.text("id")
	}
}

// all lets every client do something at the same time; faulty is for a service that is to go under it.
func (r *run) all(faulty bool, do func(*client) error) (wait func()) {
	var running sync.WaitGroup
	for _, c := range r.clients {
		running.Go(func() {
			if err := do(c); err != nil && (!faulty || (!errors.Is(err, errGone) && !errors.Is(err, errUnavailable))) {
				assert.NoError(r.t, err, c.name)
			}
		})
	}
	return func() {
		running.Wait()
		if r.t.Failed() {
			r.t.FailNow()
		}
	}
}

// settle asks again what was open and looks at some of what there is.
func (r *run) settle(c *client) error {
	if err := c.settle(r.t.Context()); err != nil {
		return err
	}
	return c.verify(r.t.Context(), c.some(20))
}

func (r *run) happenings() (all []*happening) {
	for _, c := range r.clients {
		all = append(all, c.events...)
	}
	return all
}

// conclude starts the service once more, waits until everything due is final,
// ends it in order and looks at all that there is.
func (r *run) conclude(when string) {
	v := r.serve()
	v.ready(r.t)
	r.all(false, r.settle)()
	r.quiet(v)
	r.all(false, func(c *client) error {
		for _, h := range c.events {
			if err := c.reminded(r.t.Context(), h); err != nil {
				return err
			}
		}
		return c.verify(r.t.Context(), c.events)
	})()
	r.hallHolds(v)
	v.swept(r.t, r.folder)
	v.finish(r.t)
	r.calm(v)
	all := stories(r.t, r.ledger, r.folder, ringIn(r.t, r.folder))
	judge(r.ledger, all, r.provider.messages(r.t), r.happenings())
	r.compare(r.folder)
	r.ledger.clean(r.t, when)
}

// hallHolds looks whether all who were told that they are in the hall are there.
func (r *run) hallHolds(v *service) {
	hall := r.clients[0].hall
	if hall == "" {
		return
	}
	registered := 0
	for _, c := range r.clients {
		registered += len(c.inHall)
	}
	if there := v.does(r.t, 200, "GET", "/v1/events/"+hall, nil).number("participant_count"); there != registered {
		r.ledger.blame(lost, "%d are in the hall, %d registered", there, registered)
	}
}

// calm expects that v logged nothing that nobody foresaw.
func (r *run) calm(v *service) {
	// A client that asks before the read models have caught up is told to come again.
	foreseen := append([]string{"code=catching_up", "code=not_ready"}, r.foreseen...)
	for line := range strings.Lines(v.logged()) {
		if strings.Contains(line, "level=ERROR") && !slices.ContainsFunc(foreseen, func(said string) bool { return strings.Contains(line, said) }) {
			require.Fail(r.t, "an error in the log", line)
		}
		require.NotContains(r.t, line, "panic")
	}
}
