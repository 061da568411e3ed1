package embedded

import (
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// Waits between attempts to write again.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// recover takes over when a batch failed with cause. It answers everyone, with
// the truth about the batch, and returns a writer that works, or nil when the
// log was closed before one did. Until then appends are refused at once; reads go on.
//
// After a failed sync nobody knows what is on disk, and syncing again would
// not tell, so that connection is never used again. The records of the failed
// transaction may be in the WAL, complete, where only this process takes them
// for absent and the next one would find them. A new connection therefore
// commits something small first, which takes their place.
func (l *Log) recover(b *batch, cause error) *writer {
	down := fmt.Errorf("write %s: %w", l.path, classify(cause))
	l.queue.fail(down)
	l.stats.change(func(s *Stats) { s.Failures++ })
	l.options.Logger.Error("log stopped writing", "file", l.path, "error", cause)
	if err := b.w.close(); err != nil {
		l.options.Logger.Error("log not closed cleanly", "file", l.path, "error", err)
	}

	if !b.committing || neverWhole(cause) {
		b.answerAbsent(down)
		b = nil
	}
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		w, err := l.reopen()
		if err == nil && b != nil {
			err = l.settle(b, w, down)
		}
		if err == nil {
			l.end.move(w.last) // records of which nobody could tell may be there
			l.queue.up()
			l.options.Logger.Info("log writes again", "file", l.path)
			return w
		}
		if w != nil {
			err = errors.Join(err, w.close())
		}
		if b != nil {
			b.answerUnknown(fmt.Sprintf("write %s: %v; look again: %v", l.path, cause, err))
			b = nil
		}
		l.options.Logger.Error("log still can't write", "file", l.path, "error", err, "next", backoff)
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-l.closing:
			timer.Stop()
			return nil
		}
	}
}

// neverWhole tells whether err, of a commit, is one of a write that was cut
// short. The record of the commit is written last, so it is not there.
func neverWhole(err error) bool {
	code := sqlite.ErrCode(err)
	return code.ToPrimary() == sqlite.ResultFull || code == sqlite.ResultIOErrWrite
}

// reopen opens a writer and shows that it writes.
func (l *Log) reopen() (*writer, error) {
	w, err := openWriter(l.path)
	if err != nil {
		return nil, err
	}
	err = w.use(l.path, l.index, l.seen)
	if err == nil {
		err = l.index.follow(w.conn, 0) // what is there after all
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", l.path, err), w.close())
	}
	if err := l.fence(w); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", l.path, classify(err)), w.close())
	}
	return w, nil
}

// fence commits a change that is no record, over what a failed commit may have left.
func (l *Log) fence(w *writer) error {
	if err := execute(w.begin); err != nil {
		return err
	}
	update, err := w.conn.Prepare(`UPDATE meta SET value = value + 1 WHERE key = 'reopened'`)
	if err != nil {
		return err
	}
	if err := execute(update); err != nil {
		return err
	}
	return l.options.commit(func() error { return execute(w.commit) })
}

// settle answers a batch whose commit failed, by what w, opened after that, finds.
func (l *Log) settle(b *batch, w *writer, down error) error {
	switch w.last {
	case b.w.last:
		b.answerAbsent(down)
	case b.w.last + int64(len(b.entries)):
		w.last = b.w.last
		b.w = w
		l.committed(b, 0)
	default:
		return fmt.Errorf("%w: %s ends at %d, not at %d or %d",
			eventstore.ErrCorrupt, l.path, w.last, b.w.last, b.w.last+int64(len(b.entries)))
	}
	return nil
}

// answerAbsent tells every caller that nothing was appended.
func (b *batch) answerAbsent(why error) {
	for _, r := range b.requests {
		r.done <- answer{err: why}
	}
}

// answerUnknown tells those whose records, or the ones they repeat, may or may
// not be there. Why is text, because no other of the port's errors may hold.
func (b *batch) answerUnknown(why string) {
	for i, r := range b.requests {
		err := eventstore.ErrUnknownOutcome
		if b.answers[i].err != nil { // refused: it appended nothing, whatever became of the others
			err = eventstore.ErrUnavailable
		}
		r.done <- answer{err: fmt.Errorf("%w: %s", err, why)}
	}
}
