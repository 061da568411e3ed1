//go:build unix

package torture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/freeport"
)

// handover is longer than a message may be on its way to the provider after the
// last look at its event, on a machine that has much else to do.
const handover = 5 * time.Second

// sharing is several instances of the service on one store, which runs in a
// process of its own, and their clients.
type sharing struct {
	*killing
	dir       string
	database  string // URL of the one that they share; empty: each has its own files
	at        string // connection string of the store
	store     *exec.Cmd
	instances []*instance

	calls atomic.Int32 // crowds that may be called now

	living sync.Mutex
	apis   []api // of instances that run
}

// instance is one of them, which may be started again.
type instance struct {
	number  int
	folder  string
	service *service  // nil: it is killed
	wakes   time.Time // when it is suspended no more; zero: it is not
	past    []*service
}

func (i *instance) awake() bool { return i.service != nil && i.wakes.IsZero() }

// newSharing starts a store and n instances for so many clients, which share the
// database of a URL, if there is one.
func newSharing(t *testing.T, seed uint64, n, clients int, database string) *sharing {
	dir := t.TempDir()
	// Where the keys stand in a file, it is in the log's folder, as the oracle reads them.
	s := &sharing{killing: newKilling(newRun(t, dir, seed, clients), seed), dir: dir, database: database}
	s.provider.window = handover
	// Without a store nothing can be written; and whoever was suspended, or waited
	// for a machine that has too much to do, finds that the store does not answer.
	s.foreseen = []string{eventstore.ErrUnavailable.Error(), eventstore.ErrUnknownOutcome.Error()}
	if database != "" {
		s.foreseen = append(s.foreseen, suspended...)
	}
	require.NoError(t, os.Mkdir(s.folder, 0o700))
	s.serveStore(freeport.Address(t)) // where it may have to come back to
	for i := range n {
		s.instances = append(s.instances, &instance{number: i, folder: filepath.Join(dir, fmt.Sprint("instance-", i))})
		s.start(s.instances[i])
	}
	for _, c := range s.clients {
		// What a killed instance has claimed waits for three quarters of a minute, and
		// on a slow machine for longer.
		c.early = 60
		s.another(c)
	}
	return s
}

// serveStore starts the store.
func (s *sharing) serveStore(listen string) {
	s.t.Helper()
	said := filepath.Join(s.dir, "store.txt")
	out, err := os.Create(said)
	require.NoError(s.t, err)
	defer out.Close()
	s.store = exec.Command(binary(s.t), "store", "serve", "--listen", listen, "--data", s.folder)
	s.store.Stdout, s.store.Stderr = out, out
	require.NoError(s.t, s.store.Start())
	s.t.Cleanup(s.endStore)
	deadline := time.After(patience)
	for {
		text, err := os.ReadFile(said)
		require.NoError(s.t, err)
		if s.at = field(string(text), "address"); s.at != "" && strings.Contains(string(text), "  data ") {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			require.FailNow(s.t, "the store never said its address", string(text))
		}
	}
}

// endStore kills the store, if it runs.
func (s *sharing) endStore() {
	if s.store != nil {
		_ = s.store.Process.Kill()
		_ = s.store.Wait()
		s.store = nil
	}
}

// launched says how an instance is started.
func (s *sharing) launched(folder string) launched {
	if s.database != "" {
		return launched{folder: folder, env: []string{"BELLTOWER_STORE=" + s.at, "BELLTOWER_READ_MODELS=" + s.database}}
	}
	return launched{folder: folder, env: []string{"BELLTOWER_STORE=" + s.at, "BELLTOWER_KEYS=" + s.folder}}
}

// start starts an instance.
func (s *sharing) start(i *instance) {
	s.t.Helper()
	v := s.provider.launch(s.t, s.launched(i.folder))
	require.True(s.t, v.up(s.t), "it ended by itself\n%s", v.logged())
	i.service, i.past = v, append(i.past, v)
	s.offer()
}

// offer tells the clients which instances they may go to. They don't know who is suspended.
func (s *sharing) offer() {
	s.living.Lock()
	defer s.living.Unlock()
	s.apis = nil
	for _, i := range s.instances {
		if i.service != nil {
			s.apis = append(s.apis, i.service.api)
		}
	}
}

// another lets c go to any instance.
func (s *sharing) another(c *client) {
	s.living.Lock()
	defer s.living.Unlock()
	c.api = s.apis[c.rng.IntN(len(s.apis))]
}

// leads tells whether v has said last that it leads.
func (v *service) leads() bool {
	said := v.logged()
	return strings.LastIndex(said, "this instance leads") > strings.LastIndex(said, "this instance no longer leads")
}

// leader waits until an instance leads.
func (s *sharing) leader() (leads *instance) {
	s.t.Helper()
	until(s.t, s.instances[0].service, "one leads", func() bool {
		for _, i := range s.instances {
			if i.awake() && i.service.leads() {
				leads = i
			}
		}
		return leads != nil
	})
	return leads
}

// begin lets all clients work, until end, which waits for them.
func (s *sharing) begin() (end func()) {
	stop := make(chan struct{})
	var working sync.WaitGroup
	for _, c := range s.clients {
		working.Go(func() { assert.NoError(s.t, s.use(c, stop), c.name) })
	}
	halt := sync.OnceFunc(func() {
		close(stop)
		working.Wait()
	})
	s.t.Cleanup(halt)
	return func() {
		halt()
		if s.t.Failed() {
			s.t.FailNow()
		}
	}
}

// use lets c work until stop is closed, and go to another instance when its own is gone.
func (s *sharing) use(c *client, stop <-chan struct{}) error {
	for n := 1; ; n++ {
		select {
		case <-stop:
			return nil
		case <-s.t.Context().Done(): // the test has failed
			return nil
		default:
		}
		err := s.step(c, n)
		switch {
		case errors.Is(err, errGone):
			s.another(c)
		case err != nil && !errors.Is(err, errUnavailable) && s.t.Context().Err() == nil:
			return err
		}
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// step lets c do the next thing.
func (s *sharing) step(c *client, n int) error {
	ctx := s.t.Context()
	if c.open != nil {
		return c.do(ctx, c.open)
	}
	if s.calls.Load() > 0 {
		if h := s.next(c); h != nil {
			s.calls.Add(-1)
			return c.do(ctx, c.move(h, callAt()))
		}
	}
	switch {
	case n%25 == 0:
		return c.settle(ctx)
	case n%40 == 0:
		s.another(c)
		return c.verify(ctx, c.some(3))
	}
	return c.do(ctx, c.next())
}

// callAt is the start of an event whose reminders, an hour before, are due in a moment.
func callAt() time.Time {
	return time.Now().Add(time.Hour + 300*time.Millisecond).UTC().Truncate(time.Microsecond)
}

// pass lets time go by, and wakes who has been suspended for long enough.
func (s *sharing) pass(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		for _, i := range s.instances {
			if i.service != nil && !i.wakes.IsZero() && time.Now().After(i.wakes) {
				s.wake(i)
			}
		}
	}
}

func (s *sharing) wake(i *instance) {
	require.NoError(s.t, syscall.Kill(i.service.pid, syscall.SIGCONT))
	i.wakes = time.Time{}
}

// kill kills an instance.
func (s *sharing) kill(i *instance) {
	v := i.service
	i.service = nil
	s.offer()
	v.kill(s.t)
	s.calm(v)
}

// suspend stops an instance for a while.
func (s *sharing) suspend(i *instance, d time.Duration) {
	require.NoError(s.t, syscall.Kill(i.service.pid, syscall.SIGSTOP))
	i.wakes = time.Now().Add(d)
}

// repair starts all that were killed, and wakes all that are suspended.
func (s *sharing) repair() {
	for _, i := range s.instances {
		if i.service == nil {
			s.start(i)
		} else if !i.wakes.IsZero() {
			s.wake(i)
		}
	}
}

// TestInstances runs three instances on one store under load, and kills or
// suspends one of them again and again: every second time the one that sends.
func TestInstances(t *testing.T) {
	beside(t)
	budget(t, 5*time.Minute)
	torment(t, hardship{
		crowds: sized(t, 4, 20, 20), people: sized(t, 25, 250, 250), reminders: sized(t, 2, 4, 4),
		faults: sized(t, 5, 16, 500), pace: time.Duration(sized(t, 3, 5, 5)) * time.Second,
	})
}

// hardship is how much instances go through.
type hardship struct {
	crowds, people, reminders int
	faults                    int
	pace                      time.Duration // from one to the next
	database                  string        // that they share; empty: each has its own files
}

func torment(t *testing.T, h hardship) {
	seed := seeded(t)
	s := newSharing(t, seed, 3, 8, h.database)
	s.leader()
	s.prepare(s.instances[0].service)
	s.patient(true)
	s.gather(h.crowds, h.people)
	for _, crowd := range s.crowds {
		for i := range h.reminders - 1 {
			require.NoError(t, crowd.c.do(t.Context(), crowd.c.remind(crowd.h, 61+i)))
		}
	}
	end := s.begin()
	var losses []loss
	for n := range h.faults {
		s.calls.Add(1)
		s.pass(h.pace)
		if l, ok := s.fault(n); ok {
			losses = append(losses, l)
		}
		for _, i := range s.instances {
			if i.service == nil && n%3 != 0 {
				s.start(i)
			}
		}
	}
	s.repair()
	end()
	for _, crowd := range s.crowds {
		require.NoError(t, crowd.c.do(t.Context(), crowd.c.move(crowd.h, callAt())))
	}
	s.conclude("after all faults")
	s.tell(losses)
	s.ledger.tell(t, len(losses), "kills and suspensions")
	n := s.ledger.counts()
	require.GreaterOrEqual(t, n.delivered, h.crowds*h.people*h.reminders)
}

// loss is an instance that was taken away.
type loss struct {
	at     time.Time
	leader bool // it led, and was gone for long enough that another had to
}

// fault kills or suspends an instance, unless it is the only one that is awake.
func (s *sharing) fault(n int) (l loss, ok bool) {
	var awake []*instance
	for _, i := range s.instances {
		if i.awake() {
			awake = append(awake, i)
		}
	}
	if len(awake) < 2 {
		s.repair()
		return l, false
	}
	victim := awake[s.rng.IntN(len(awake))]
	if leads := slices.IndexFunc(awake, func(i *instance) bool { return i.service.leads() }); n%2 == 0 && leads >= 0 {
		victim = awake[leads]
	}
	l = loss{at: time.Now(), leader: victim.service.leads()}
	if n%4 == 0 || n%4 == 3 {
		s.kill(victim)
		return l, true
	}
	d := 2*time.Second + time.Duration(s.rng.Int64N(int64(9*time.Second)))
	l.leader = l.leader && d > 10*time.Second
	s.suspend(victim, d)
	return l, true
}

// tell shows how long nobody led after a loss.
func (s *sharing) tell(losses []loss) {
	var began []time.Time
	for _, i := range s.instances {
		for _, v := range i.past {
			for line := range strings.Lines(v.logged()) {
				if !strings.Contains(line, "this instance leads") {
					continue
				}
				at, err := time.Parse(time.RFC3339, strings.TrimPrefix(strings.Fields(line)[0], "time="))
				require.NoError(s.t, err, line)
				began = append(began, at)
			}
		}
	}
	slices.SortFunc(began, time.Time.Compare)
	longest, lost := time.Duration(0), 0
	for _, l := range losses {
		next := slices.IndexFunc(began, func(at time.Time) bool { return at.After(l.at) })
		if l.leader && next >= 0 {
			lost++
			longest = max(longest, began[next].Sub(l.at))
		}
	}
	s.t.Logf("%d times the leader was lost; another led after at most %s", lost, longest.Round(100*time.Millisecond))
}

func (s *sharing) patient(is bool) {
	for _, c := range s.clients {
		c.patient = is
	}
}

// conclude waits until everything due is final, looks at all there is through
// all instances, ends them in order and judges.
func (s *sharing) conclude(when string) {
	t := s.t
	for _, i := range s.instances {
		i.service.ready(t)
	}
	s.patient(true)
	for n, c := range s.clients {
		c.api = s.instances[n%len(s.instances)].service.api
	}
	s.all(false, s.settle)()
	s.quiet(s.leader().service)
	s.all(false, func(c *client) error {
		for _, h := range c.events {
			if err := c.reminded(t.Context(), h); err != nil {
				return err
			}
		}
		return c.verify(t.Context(), c.events)
	})()
	for _, i := range s.instances {
		s.hallHolds(i.service)
		if s.database == "" {
			i.service.swept(t, i.folder)
		} else {
			i.service.caughtUp(t)
		}
	}
	for _, i := range s.instances {
		i.service.finish(t)
		s.calm(i.service)
	}
	if s.database == "" {
		s.compare()
	} else {
		s.compareShared()
	}
	require.NoError(t, s.store.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.store.Wait())
	s.store = nil
	all := stories(t, s.ledger, s.folder, s.ring())
	judge(s.ledger, all, s.provider.messages(t), s.happenings())
	s.ledger.clean(t, when)
}

// compare lets a new instance read the store from its beginning, and finds the
// rows of the others that differ from its own. They have ended.
func (s *sharing) compare() {
	t := s.t
	anew := filepath.Join(s.dir, "anew")
	v := newProvider(t).launch(t, s.launched(anew))
	require.True(t, v.up(t), "it ended by itself\n%s", v.logged())
	v.ready(t)
	until(t, v, "deleted events are swept", func() bool { return len(rows(t, filepath.Join(anew, "read.db"))["gone"]) == 0 })
	v.finish(t)
	require.Empty(t, v.out.messages(t), "building anew sends nothing")
	want := rows(t, filepath.Join(anew, "read.db"))
	for _, i := range s.instances {
		s.ledger.differ(fmt.Sprintf("read.db of instance %d", i.number), rows(t, filepath.Join(i.folder, "read.db")), want)
	}
}
