package commands

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Snapshots keeps states of streams, so that a long stream needn't be folded
// from its beginning. They are disposable: what is missing, damaged or of another
// version is folded from the log. Its methods may be called concurrently, by several instances too.
type Snapshots interface {
	// Load gives the newest snapshot of a stream with this version that holds no
	// fact behind a revision and none after a time; ok is false where there is none.
	Load(ctx context.Context, stream string, version, revision int64, at time.Time) (s Snapshot, ok bool, err error)
	// Save keeps a snapshot beside earlier ones of the stream, of which it forgets
	// some. Parts without data are kept already; ErrPartsMissing where they aren't.
	// It tells how many bytes it wrote.
	Save(ctx context.Context, stream string, s Snapshot) (written int, err error)
	// Drop forgets all snapshots of a stream.
	Drop(ctx context.Context, stream string) error
}

// ErrPartsMissing says that a snapshot rests on parts that are not kept any more.
var ErrPartsMissing = errors.New("commands: parts of the snapshot are missing")

// Snapshot is the state of a stream at a revision.
type Snapshot struct {
	Version  int64
	Revision int64     // of the last fact in it
	At       time.Time // of that fact; UTC, microseconds
	Head     []byte
	Parts    []aggregates.Part
}

// formVersion is that of what this package adds to the form of a state.
const formVersion = 2

// SnapshotVersion is the version of the snapshots of events.
const SnapshotVersion int64 = formVersion<<32 | aggregates.EventSnapshotVersion

// snapshots are made of such states.
type frozen interface {
	Freeze() *aggregates.FrozenEvent
	Restore(head []byte, parts []aggregates.Part, contacts aggregates.Contacts) error
	// Err tells why the state can't be gone on with: what it was restored from
	// doesn't lead to what stands in the log.
	Err() error
	// Gone tells that nothing of the state is to be kept.
	Gone() bool
}

// failed tells whether a state must be folded anew.
func failed(state any) error {
	if f, ok := state.(frozen); ok {
		return f.Err()
	}
	return nil
}

// snapshotBytes are written at most for a fact: where the last snapshot took
// more, the next one waits for more facts.
const snapshotBytes = 1 << 10

// snapshotTimeout bounds how long reading a snapshot may hold up who waits for the state.
const snapshotTimeout = 5 * time.Second

// kept is the snapshot that was made last: the next one rests on it.
type kept struct {
	event     *aggregates.FrozenEvent
	notes     int // how many
	noteParts []aggregates.PartID
	bytes     int // that were written
}

// due tells whether so many facts since k, which may be nil, are worth a new snapshot.
func (k *kept) due(facts, least int64) bool {
	return facts >= least && (k == nil || facts >= int64(k.bytes/snapshotBytes))
}

// making is a snapshot as it is made, beside what is decided meanwhile.
type making struct {
	stream   string
	revision int64
	id       uuid.UUID // of the fact there
	latest   time.Time
	cost     int64
	event    *aggregates.FrozenEvent
	notes    notes
}

// save writes the snapshot, resting on the one before where that is still there.
func (m making) save(ctx context.Context, to Snapshots, before *kept) (*kept, error) {
	k, err := m.saveOn(ctx, to, before)
	if errors.Is(err, ErrPartsMissing) {
		return m.saveOn(ctx, to, nil)
	}
	return k, err
}

func (m making) saveOn(ctx context.Context, to Snapshots, before *kept) (*kept, error) {
	var frozenBefore *aggregates.FrozenEvent
	var noteIDs []aggregates.PartID
	notesBefore := 0
	if before != nil {
		frozenBefore, noteIDs, notesBefore = before.event, before.noteParts, before.notes
	}
	k := &kept{event: m.event, notes: m.notes.len()}
	s := Snapshot{Version: SnapshotVersion, Revision: m.revision, At: m.latest, Parts: m.notes.inParts(noteIDs, notesBefore)}
	for _, p := range s.Parts {
		k.noteParts = append(k.noteParts, p.ID)
	}
	s.Parts = append(s.Parts, m.event.Parts(frozenBefore)...)
	s.Head = m.head(len(k.noteParts))
	var err error
	k.bytes, err = to.Save(ctx, m.stream, s)
	return k, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is all of the snapshot but its parts, behind a sum of itself.
func (m making) head(noteParts int) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 4), m.id[:]...), uint64(m.latest.UnixMicro()))
	b = binary.AppendVarint(binary.AppendUvarint(b, uint64(m.cost)), int64(noteParts))
	b = append(b, m.event.Head()...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

var errSnapshotHead = errors.New("the head is damaged")

// readHead reads what head wrote; rest is the state's own.
func readHead(b []byte) (m making, noteParts int, rest []byte, err error) {
	if len(b) < 28 || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return m, 0, nil, errSnapshotHead
	}
	m.id = uuid.UUID(b[4:20])
	m.latest = time.UnixMicro(int64(binary.BigEndian.Uint64(b[20:]))).UTC()
	b = b[28:]
	cost, n := binary.Uvarint(b)
	if n <= 0 {
		return m, 0, nil, errSnapshotHead
	}
	count, c := binary.Varint(b[n:])
	if c <= 0 {
		return m, 0, nil, errSnapshotHead
	}
	m.cost = int64(cost)
	return m, int(count), b[n+c:], nil
}

// restored is a state out of a snapshot, and what of the stream lies behind it.
type restored[S any] struct {
	making
	state S
	last  int64
	page  []eventstore.Record // the fact at last, which is in the state, and those behind it
}

// restore gives the state of a stream from its newest snapshot up to a point.
// A snapshot that can't be used is as good as none; it is told in the log.
func restore[T any, S State[T]](ctx context.Context, h *Handler, name string, until Until) (r restored[S], ok bool) {
	if h.o.Snapshots == nil {
		return r, false
	}
	r.state = S(new(T))
	state, is := any(r.state).(frozen)
	if !is {
		return r, false
	}
	revision, at := int64(1<<63-1), time.UnixMicro(1<<62)
	if until.Revision != nil {
		revision = *until.Revision
	}
	if until.Time != nil {
		at = *until.Time
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	s, ok, err := h.o.Snapshots.Load(ctx, name, SnapshotVersion, revision, at)
	if err == nil && ok {
		err = r.from(ctx, h, name, s, state)
	}
	if err != nil {
		h.o.Logger.Warn("a snapshot can't be used: the stream is folded from its beginning", "stream", name, "error", err)
	}
	return r, ok && err == nil
}

func (r *restored[S]) from(ctx context.Context, h *Handler, name string, s Snapshot, state frozen) error {
	head, noteParts, rest, err := readHead(s.Head)
	if err != nil {
		return err
	}
	if noteParts < 0 || noteParts > len(s.Parts) {
		return errSnapshotHead
	}
	if err := undamaged(s.Parts); err != nil {
		return err
	}
	if err := state.Restore(rest, s.Parts[noteParts:], h.contacts(name)); err != nil {
		return err
	}
	r.making, r.last = head, s.Revision
	if r.notes, err = notesOf(s.Parts[:noteParts]); err != nil {
		return err
	}
	r.revision = s.Revision
	if r.page, err = h.o.Store.ReadStream(ctx, name, s.Revision, h.page); err != nil {
		return err
	}
	if len(r.page) == 0 || r.page[0].Revision != s.Revision || r.page[0].ID != head.id {
		return errors.New("it is of another log, or of one that was put back to an earlier state")
	}
	return nil
}

// undamaged tells whether parts are what they are named by, a share on each processor.
func undamaged(parts []aggregates.Part) error {
	var checking errgroup.Group
	share := max(1, (len(parts)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for some := range slices.Chunk(parts, share) {
		checking.Go(func() error {
			for _, p := range some {
				if aggregates.PartIDOf(p.Data) != p.ID {
					return fmt.Errorf("the part %x is damaged", p.ID)
				}
			}
			return nil
		})
	}
	return checking.Wait()
}

// contacts reads the contacts of participants where they stand in a stream.
func (h *Handler) contacts(name string) aggregates.Contacts {
	return func(participant string, revision int64) (events.Personal, error) {
		ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
		defer cancel()
		records, err := h.o.Store.ReadStream(ctx, name, revision, 1)
		if err != nil {
			return events.Personal{}, err
		}
		if len(records) == 1 {
			f, _, err := h.decode(records[0])
			if err != nil {
				return events.Personal{}, err
			}
			switch f := f.(type) {
			case events.ParticipantRegistered:
				if f.ParticipantID == participant {
					return f.Personal, nil
				}
			case events.ParticipantContactChanged:
				if f.ParticipantID == participant {
					return f.Personal, nil
				}
			}
		}
		return events.Personal{}, fmt.Errorf("%s at %d is no contact of %s", name, revision, participant)
	}
}
