package esdbserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

const (
	metastream    = "$$" // before a stream's name: the stream of its metadata
	typeMetadata  = "$metadata"
	typeTombstone = "$streamDeleted" // the last record of a metastream: the stream is gone for ever
	keyMaxCount   = "$maxCount"
	keyBefore     = "$tb"
)

// errDeleted says that a stream has a tombstone.
var errDeleted = errors.New("esdbserver: the stream is deleted")

// streams adds to a store what EventStoreDB's streams have beyond its own:
// metadata, deletion, tombstones, and appends that expect no revision.
type streams struct {
	store eventstore.Store
	// change is held for writing while what a stream shows changes, and for
	// reading by other appends.
	change sync.RWMutex

	mu     sync.Mutex
	views  map[string]view     // of streams that were asked for, where nobody else can change them
	edits  int                 // of metadata
	latest eventstore.Position // of what was appended here
}

func newStreams(store eventstore.Store) *streams {
	return &streams{store: store, views: map[string]view{}}
}

// maxViews bounds the views that are kept.
const maxViews = 100_000

// view is how much of a stream can be read.
type view struct {
	tombstone bool
	maxCount  int64 // the last so many; 0: all
	before    int64 // not those of smaller revisions
}

// first is the first revision that can be read of a stream whose last is last.
func (v view) first(last int64) int64 {
	first := v.before
	if v.maxCount > 0 {
		first = max(first, last-v.maxCount+1)
	}
	return first
}

// view looks up what a stream shows.
func (s *streams) view(ctx context.Context, stream string) (view, error) {
	if strings.HasPrefix(stream, metastream) {
		return view{}, nil
	}
	s.mu.Lock()
	v, ok := s.views[stream]
	edits := s.edits
	s.mu.Unlock()
	if ok {
		return v, nil
	}
	last, ok, err := s.store.ReadLast(ctx, metastream+stream)
	if err != nil {
		return view{}, err
	}
	if ok {
		v = viewOf(last)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.edits == edits && s.store.Exclusive() {
		if len(s.views) >= maxViews {
			clear(s.views)
		}
		s.views[stream] = v
	}
	return v, nil
}

// viewOf reads the last record of a metastream. What it doesn't know, it takes
// for no restriction, as EventStoreDB does.
func viewOf(r eventstore.Record) view {
	if r.Type == typeTombstone {
		return view{tombstone: true}
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(r.Data, &m) != nil {
		return view{}
	}
	number := func(key string) int64 {
		var n int64
		if json.Unmarshal(m[key], &n) != nil {
			return 0
		}
		return max(n, 0)
	}
	return view{maxCount: number(keyMaxCount), before: number(keyBefore)}
}

// forget drops what is known of a stream, as its metadata may have changed.
func (s *streams) forget(stream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits++
	delete(s.views, stream)
}

// appended is what came of an append.
type appended struct {
	revision int64 // of its last record
	position eventstore.Position
	repeated bool // it was there already
}

// append writes records where e allows it. A refusal is an
// *eventstore.WrongRevisionError or errDeleted.
func (s *streams) append(ctx context.Context, stream string, e expectation, records []eventstore.NewRecord) (appended, error) {
	if of, ok := strings.CutPrefix(stream, metastream); ok {
		s.change.Lock()
		defer s.change.Unlock()
		defer s.forget(of)
		if v, err := s.view(ctx, of); err != nil {
			return appended{}, err
		} else if v.tombstone {
			return appended{}, errDeleted
		}
	} else {
		s.change.RLock()
		defer s.change.RUnlock()
	}
	v, err := s.view(ctx, stream)
	switch {
	case err != nil:
		return appended{}, err
	case v.tombstone:
		return appended{}, errDeleted
	case e.kind == exactly, e.kind == noStream && v.before == 0:
		return s.appendAt(ctx, stream, e.revision, records)
	case e.kind == noStream:
		return s.appendAnew(ctx, stream, v, records)
	}
	return s.appendAnywhere(ctx, stream, e, v, records)
}

func (s *streams) appendAt(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (appended, error) {
	s.mu.Lock()
	before := s.latest
	s.mu.Unlock()
	p, err := s.store.Append(ctx, stream, expected, records)
	if err != nil {
		return appended{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest.Before(p) {
		s.latest = p
	}
	// What is written now stands behind all that was written before the call.
	return appended{revision: expected + int64(len(records)), position: p, repeated: !before.Before(p)}, nil
}

// appendAnew writes to a stream of which nothing is shown any more: its
// revisions go on.
func (s *streams) appendAnew(ctx context.Context, stream string, v view, records []eventstore.NewRecord) (appended, error) {
	last, err := s.last(ctx, stream)
	if err != nil {
		return appended{}, err
	}
	return s.appendAt(ctx, stream, min(v.before, last+1)-1, records)
}

// compared is how many of a stream's last records are looked through for
// those of an append that expects no revision.
const compared = 64

// appendAnywhere writes behind whatever is there, unless it is there already.
func (s *streams) appendAnywhere(ctx context.Context, stream string, e expectation, v view, records []eventstore.NewRecord) (appended, error) {
	for {
		last, err := s.last(ctx, stream)
		if err != nil {
			return appended{}, err
		}
		shown := shownEnd(v, last)
		if !e.allows(shown) {
			return appended{}, &eventstore.WrongRevisionError{Stream: stream, Expected: e.number(), Actual: shown}
		}
		from := max(0, last-compared+1, v.first(last))
		recent, err := s.store.ReadStream(ctx, stream, from, int(last-from)+1)
		if err != nil {
			return appended{}, err
		}
		first := slices.IndexFunc(recent, func(r eventstore.Record) bool { return r.ID == records[0].ID })
		if first >= 0 {
			there := recent[first:]
			if len(there) >= len(records) && slices.EqualFunc(there[:len(records)], records, func(r eventstore.Record, n eventstore.NewRecord) bool { return r.ID == n.ID }) {
				end := there[len(records)-1]
				return appended{revision: end.Revision, position: end.Position, repeated: true}, nil
			}
			return appended{}, &eventstore.WrongRevisionError{Stream: stream, Expected: e.number(), Actual: last}
		}
		a, err := s.appendAt(ctx, stream, last, records)
		if !errors.Is(err, eventstore.ErrWrongRevision) {
			return a, err
		}
	}
}

// last is the revision of a stream's last record, shown or not.
func (s *streams) last(ctx context.Context, stream string) (int64, error) {
	r, ok, err := s.store.ReadLast(ctx, stream)
	if err != nil || !ok {
		return eventstore.NoStream, err
	}
	return r.Revision, nil
}

// shownEnd is the revision of the last record that can be read.
func shownEnd(v view, last int64) int64 {
	if last < v.first(last) {
		return eventstore.NoStream
	}
	return last
}

// delete hides all that a stream has; it can be written to again. ok is false
// where there was nothing to hide.
func (s *streams) delete(ctx context.Context, stream string, e expectation) (p eventstore.Position, ok bool, err error) {
	return s.end(ctx, stream, e, func(last int64) (eventstore.NewRecord, bool, error) {
		if last == eventstore.NoStream {
			return eventstore.NewRecord{}, false, nil
		}
		data, err := s.metadataWith(ctx, stream, keyBefore, last+1)
		return eventstore.NewRecord{ID: uuid.New(), Type: typeMetadata, Data: data, Metadata: []byte("{}")}, true, err
	})
}

// tombstone ends a stream for ever.
func (s *streams) tombstone(ctx context.Context, stream string, e expectation) (p eventstore.Position, err error) {
	p, _, err = s.end(ctx, stream, e, func(int64) (eventstore.NewRecord, bool, error) {
		return eventstore.NewRecord{ID: uuid.New(), Type: typeTombstone, Data: []byte("{}"), Metadata: []byte("{}")}, true, nil
	})
	return p, err
}

// end appends to the metastream of stream what with gives for the last
// revision that is shown, where e allows it.
func (s *streams) end(ctx context.Context, stream string, e expectation, with func(last int64) (eventstore.NewRecord, bool, error)) (p eventstore.Position, ok bool, err error) {
	s.change.Lock()
	defer s.change.Unlock()
	defer s.forget(stream)
	v, err := s.view(ctx, stream)
	if err != nil {
		return p, false, err
	}
	if v.tombstone {
		return p, false, errDeleted
	}
	last, err := s.last(ctx, stream)
	if err != nil {
		return p, false, err
	}
	shown := shownEnd(v, last)
	if !e.allows(shown) {
		return p, false, &eventstore.WrongRevisionError{Stream: stream, Expected: e.number(), Actual: shown}
	}
	record, ok, err := with(shown)
	if err != nil || !ok {
		return p, false, err
	}
	end, err := s.last(ctx, metastream+stream)
	if err != nil {
		return p, false, err
	}
	p, err = s.store.Append(ctx, metastream+stream, end, []eventstore.NewRecord{record})
	return p, err == nil, err
}

// metadataWith is a stream's metadata with one value changed.
func (s *streams) metadataWith(ctx context.Context, stream, key string, value int64) ([]byte, error) {
	old, ok, err := s.store.ReadLast(ctx, metastream+stream)
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	if ok {
		var kept map[string]json.RawMessage
		if json.Unmarshal(old.Data, &kept) == nil {
			maps.Copy(m, anyValues(kept))
		}
	}
	m[key] = value
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of %s: %w", stream, err)
	}
	return data, nil
}

func anyValues(raw map[string]json.RawMessage) map[string]any {
	values := make(map[string]any, len(raw))
	for k, v := range raw {
		values[k] = v
	}
	return values
}
