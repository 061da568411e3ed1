package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
)

var errSync = errors.New("the disk is on fire")

// script is a disk whose commits go as it says, one after another, and well
// when it has been played.
type script struct{ steps chan step }

type step func(commit func() error) error

func played(steps ...step) *script {
	s := &script{steps: make(chan step, len(steps))}
	for _, step := range steps {
		s.steps <- step
	}
	return s
}

func (s *script) commit(commit func() error) error {
	select {
	case step := <-s.steps:
		return step(commit)
	default:
		return commit()
	}
}

func well(commit func() error) error { return commit() }

func failsBefore(func() error) error { return errSync }

func failsAfter(commit func() error) error { return errors.Join(commit(), errSync) }

func TestAFailedSync(t *testing.T) {
	for name, tt := range map[string]struct {
		disk   *script
		says   error // nil: appended all the same
		exists bool
	}{
		"not on disk":                  {played(well, failsBefore), eventstore.ErrUnavailable, false},
		"on disk after all":            {played(well, failsAfter), nil, true},
		"can't be told":                {played(well, failsBefore, failsBefore), eventstore.ErrUnknownOutcome, false},
		"can't be told, but was there": {played(well, failsAfter, failsBefore), eventstore.ErrUnknownOutcome, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := quiet()
			o.commit = tt.disk.commit
			l := mustOpen(t, dir, o)
			_, err := l.Append(t.Context(), "before", eventstore.NoStream, some(2))
			require.NoError(t, err)

			given := some(3)
			sub, err := l.Subscribe(t.Context(), position(2))
			require.NoError(t, err)
			defer sub.Close()
			atEnd, err := sub.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, eventstore.Batch{Position: position(2), CaughtUp: true}, atEnd)
			p, err := l.Append(t.Context(), "s", eventstore.NoStream, given)
			if tt.says == nil {
				require.NoError(t, err)
				require.Equal(t, position(5), p)
			} else {
				require.ErrorIs(t, err, tt.says)
				require.Equal(t, tt.says == eventstore.ErrUnavailable, errors.Is(err, eventstore.ErrUnavailable))
				require.ErrorContains(t, err, errSync.Error())
			}
			got, err := l.ReadStream(t.Context(), "s", 0, 10)
			require.NoError(t, err, "reads go on")
			require.Equal(t, tt.exists, len(got) == 3)

			require.NoError(t, untilWritten(func() error {
				p, err = l.Append(t.Context(), "s", eventstore.NoStream, given)
				return err
			}))
			require.Equal(t, position(5), p, "it goes on by itself, and there is one of each")
			require.Len(t, everything(t, l), 5)
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b, err := sub.Next(soon)
			require.NoError(t, err, "who waited at the end hears of them, whoever wrote them")
			require.Len(t, b.Records, 3)
			require.EqualValues(t, 1, l.Stats().Failures)
			require.NoError(t, l.Close())
			require.Len(t, everything(t, mustOpen(t, dir, quiet())), 5)
		})
	}
}

// All who share a failed transaction are told, those whose refusal rests on it too.
func TestAFailedSyncIsToldToAll(t *testing.T) {
	var entered, proceed = make(chan struct{}), make(chan struct{})
	disk := played(func(commit func() error) error {
		close(entered)
		<-proceed
		return commit()
	}, failsBefore)
	o := quiet()
	o.commit = disk.commit
	l := mustOpen(t, t.TempDir(), o)

	var g errgroup.Group
	g.Go(func() error {
		_, err := l.Append(t.Context(), "first", eventstore.NoStream, some(1))
		return err
	})
	<-entered
	// Those that come meanwhile wait together for the next transaction. All want the same revision.
	const callers = 20
	errs := make([]error, callers)
	var others errgroup.Group
	for i := range errs {
		others.Go(func() error {
			_, errs[i] = l.Append(t.Context(), "s", eventstore.NoStream, some(1))
			return nil
		})
	}
	waitQueued(l, callers)
	close(proceed)
	require.NoError(t, g.Wait())
	require.NoError(t, others.Wait())
	for _, err := range errs {
		require.ErrorIs(t, err, eventstore.ErrUnavailable)
	}
	require.Len(t, everything(t, l), 1)
}

// Those who still wait when a transaction fails are refused, not left waiting.
func TestAFailedSyncRefusesTheQueue(t *testing.T) {
	var entered, proceed = make(chan struct{}), make(chan struct{})
	o := quiet()
	o.commit = played(func(func() error) error {
		close(entered)
		<-proceed
		return errSync
	}).commit
	l := mustOpen(t, t.TempDir(), o)
	const callers = 10
	answers := make(chan error, 1+callers)
	appendTo := func(stream string) {
		_, err := l.Append(t.Context(), stream, eventstore.NoStream, some(1))
		answers <- err
	}
	go appendTo("first")
	<-entered
	for i := range callers {
		go appendTo(fmt.Sprint("s", i))
	}
	waitQueued(l, callers)
	close(proceed)
	for range 1 + callers {
		require.ErrorIs(t, <-answers, eventstore.ErrUnavailable)
	}
	require.Empty(t, everything(t, l))
}

// untilWritten repeats an append while the log is down.
func untilWritten(write func() error) error {
	for {
		if err := write(); !errors.Is(err, eventstore.ErrUnavailable) {
			return err
		}
		runtime.Gosched()
	}
}

// waitQueued returns once n requests wait for the writer.
func waitQueued(l *Log, n int) {
	for {
		l.queue.mu.Lock()
		waiting := len(l.queue.requests)
		l.queue.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}

func TestAppendsAreRefusedAtOnceWhileTheLogIsDown(t *testing.T) {
	var failing atomic.Bool
	o := quiet()
	o.commit = func(commit func() error) error {
		if failing.Load() {
			return errSync
		}
		return commit()
	}
	l := mustOpen(t, t.TempDir(), o)
	sub, err := l.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	failing.Store(true)
	_, err = l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	for range 1000 {
		_, err = l.Append(t.Context(), "s", eventstore.NoStream, some(1))
		require.ErrorIs(t, err, eventstore.ErrUnavailable)
	}
	b, err := sub.Next(t.Context())
	require.NoError(t, err)
	require.True(t, b.CaughtUp)
	failing.Store(false)
	require.NoError(t, untilWritten(func() error {
		_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1))
		return err
	}))
	b, err = sub.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, b.Records, 1)
}

func TestClosingWhileTheLogIsDown(t *testing.T) {
	o := quiet()
	o.commit = func(func() error) error { return errSync }
	l := mustOpen(t, t.TempDir(), o)
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	require.NoError(t, l.Close())
	_, err = l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.ErrorIs(t, err, eventstore.ErrClosed)
}

func TestAContextEndsInTheQueueOrInTheCommit(t *testing.T) {
	var entered, proceed = make(chan struct{}), make(chan struct{})
	o := quiet()
	o.commit = played(func(commit func() error) error {
		close(entered)
		<-proceed
		return commit()
	}).commit
	l := mustOpen(t, t.TempDir(), o)

	committing, queued, stays := some(1), some(1), some(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, second, third := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	appendTo := func(ctx context.Context, stream string, records []eventstore.NewRecord, answer chan<- error) {
		_, err := l.Append(ctx, stream, eventstore.NoStream, records)
		answer <- err
	}
	go appendTo(ctx, "committing", committing, first)
	<-entered
	go appendTo(ctx, "queued", queued, second)
	go appendTo(t.Context(), "stays", stays, third)
	waitQueued(l, 2)
	cancel()
	err := <-first
	require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	require.ErrorIs(t, err, context.Canceled)
	err = <-second
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, eventstore.ErrUnknownOutcome)
	close(proceed)
	require.NoError(t, <-third)

	var streams []string
	for _, r := range everything(t, l) {
		streams = append(streams, r.Stream)
	}
	require.Equal(t, []string{"committing", "stays"}, streams)
}

func TestCloseWritesWhatWaits(t *testing.T) {
	var entered, proceed = make(chan struct{}), make(chan struct{})
	o := quiet()
	o.commit = played(func(commit func() error) error {
		close(entered)
		<-proceed
		return commit()
	}).commit
	dir := t.TempDir()
	l := mustOpen(t, dir, o)
	var g errgroup.Group
	appendTo := func(stream string) {
		g.Go(func() error {
			_, err := l.Append(t.Context(), stream, eventstore.NoStream, some(1))
			return err
		})
	}
	appendTo("first")
	<-entered
	for i := range 10 {
		appendTo(fmt.Sprint("s", i))
	}
	waitQueued(l, 10)
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	<-l.closing
	_, err := l.Append(t.Context(), "late", eventstore.NoStream, some(1))
	require.ErrorIs(t, err, eventstore.ErrClosed)
	close(proceed)
	require.NoError(t, <-closed)
	require.NoError(t, g.Wait())
	require.Len(t, everything(t, mustOpen(t, dir, Options{})), 11)
}
