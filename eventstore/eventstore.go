// Package eventstore is the port to the log; its adapters are subpackages, and
// package storetest states what each of them must do.
//
// The log is a sequence of records in many streams. A record has a revision in
// its stream, counted from 0 without a gap, and a position in the log, which
// is opaque and strictly increasing.
package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// NoStream is the revision of a stream that has no records.
const NoStream int64 = -1

// An append takes at most this much; a larger one is ErrTooLarge.
const (
	MaxAppendRecords = 1024
	MaxAppendBytes   = 1 << 20
)

var (
	// ErrWrongRevision says that another writer came first. It is returned as a *WrongRevisionError.
	ErrWrongRevision = errors.New("eventstore: wrong expected revision")
	// ErrUnavailable says that the store can't be reached or can't write now and
	// that nothing was appended: trying again later may succeed.
	ErrUnavailable = errors.New("eventstore: unavailable")
	// ErrUnknownOutcome says that an append may or may not have happened.
	ErrUnknownOutcome = errors.New("eventstore: outcome of the append is unknown")
	// ErrTooLarge says that one append holds more than the store takes at once.
	ErrTooLarge = errors.New("eventstore: append too large")
	// ErrClosed says that the store or subscription was closed.
	ErrClosed = errors.New("eventstore: closed")
	// ErrLocked says that another process has the store open.
	ErrLocked = errors.New("eventstore: in use by another process")
	// ErrCorrupt says that stored bytes are not what was written.
	ErrCorrupt = errors.New("eventstore: corrupt")
)

// WrongRevisionError tells the revision that a stream really has.
type WrongRevisionError struct {
	Stream           string
	Expected, Actual int64
}

func (e *WrongRevisionError) Error() string {
	return fmt.Sprintf("eventstore: stream %s is at revision %d, not %d", e.Stream, e.Actual, e.Expected)
}

// Is makes errors.Is(err, ErrWrongRevision) hold.
func (e *WrongRevisionError) Is(target error) bool { return target == ErrWrongRevision }

// Record is one record of the log as it was read.
type Record struct {
	ID       uuid.UUID
	Stream   string
	Revision int64
	Position Position
	Type     string
	Data     []byte // JSON
	Metadata []byte // JSON
	Created  time.Time
}

// NewRecord is a record to append. ID makes a repeated append harmless.
type NewRecord struct {
	ID       uuid.UUID
	Type     string
	Data     []byte
	Metadata []byte
}

// Store is a log. All methods may be called concurrently.
type Store interface {
	// Append writes records, at least one, behind the record of revision expected
	// (NoStream: the stream must be empty) and returns the position of the last
	// once all are on disk: all or none. The same ids appended again at the same
	// expected revision succeed again, change nothing and return the position of
	// the first time; a part of them or another grouping is ErrWrongRevision.
	//
	// When ctx ends while the append is under way, its outcome may be unknown:
	// then the error is ErrUnknownOutcome.
	//
	// The store may keep the bytes of records, and give them to those who read:
	// nobody changes them.
	Append(ctx context.Context, stream string, expected int64, records []NewRecord) (Position, error)

	// ReadStream returns up to limit records of stream from revision from on, in
	// order. Fewer than limit means that the stream ends there; an unknown stream
	// has no records. What was appended before the call is seen.
	ReadStream(ctx context.Context, stream string, from int64, limit int) ([]Record, error)

	// ReadLast returns the last record of stream; ok is false when it has none.
	ReadLast(ctx context.Context, stream string) (last Record, ok bool, err error)

	// End returns the position of the log's last record, Start when it is empty.
	End(ctx context.Context) (Position, error)

	// RecordAt returns the record at exactly p; ok is false where none is.
	RecordAt(ctx context.Context, p Position) (r Record, ok bool, err error)

	// Subscribe delivers all records after the given position, those to come too.
	Subscribe(ctx context.Context, after Position) (Subscription, error)

	// Exclusive tells whether nobody else can append while this Store is open, so
	// that a state folded from it stays true without reading again.
	Exclusive() bool

	Close() error
}

// Subscription is a catch-up subscription: history first, then what is
// appended, in order, without a gap and without a repeat. It holds up nobody:
// who is slow reads later. It is used by one goroutine; Close may be called by any.
type Subscription interface {
	// Next waits for the next records, returns at least one, and is the first to
	// say that the end of the log was reached: CaughtUp is set when no later
	// record existed as the batch was read. An empty batch with CaughtUp is
	// returned once when the log has nothing after the start of the subscription.
	Next(ctx context.Context) (Batch, error)
	Close() error
}

// Batch is what a subscription delivers at once, at most MaxBatch records.
type Batch struct {
	Records  []Record
	Position Position // of the last record; where there is none, up to here all is seen
	CaughtUp bool
}

// MaxBatch bounds the records of a Batch.
const MaxBatch = 1024
