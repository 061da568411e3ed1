package esdbserver

import (
	"context"
	"math"
	"slices"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belltower/belltower/eventstore"
)

// pageSize is how many records are read at once: few, as each may be large.
const pageSize = 128

// BackwardsReader is what a store has that can read the whole log backwards;
// without it, clients can't.
type BackwardsReader interface {
	// ReadBackwards returns up to limit of the last records at or before a
	// position, the last first.
	ReadBackwards(ctx context.Context, from eventstore.Position, limit int) ([]eventstore.Record, error)
}

// reading is one call of Read.
type reading struct {
	*Server
	ctx     context.Context
	options *api.ReadReq_Options
	filter  filter
	textIDs bool
	out     func(*api.ReadResp) error
}

// Read implements the Streams service: reads and subscriptions.
func (s *Server) Read(req *api.ReadReq, stream api.Streams_ReadServer) error {
	ctx, cancel := s.subscribed(stream.Context())
	defer cancel()
	o := req.GetOptions()
	r := &reading{Server: s, ctx: ctx, options: o, out: stream.Send}
	_, r.textIDs = o.GetUuidOption().GetContent().(*api.ReadReq_Options_UUIDOption_String_)
	var err error
	if r.filter, err = filterOf(o.GetFilter()); err != nil {
		return err
	}
	_, subscribe := o.GetCountOption().(*api.ReadReq_Options_Subscription)
	backwards := o.GetReadDirection() == api.ReadReq_Options_Backwards
	switch {
	case o.GetStream() == nil && o.GetAll() == nil:
		return status.Error(codes.InvalidArgument, "a read names a stream or $all")
	case subscribe && backwards:
		return status.Error(codes.InvalidArgument, "subscriptions go forwards")
	case subscribe && o.GetStream() != nil:
		err = r.subscribeToStream(o.GetStream())
	case subscribe:
		err = r.subscribeToAll(o.GetAll())
	case o.GetStream() != nil && backwards:
		err = r.streamBackwards(o.GetStream())
	case o.GetStream() != nil:
		err = r.streamForwards(o.GetStream())
	case backwards:
		err = r.allBackwards(o.GetAll())
	default:
		err = r.allForwards(o.GetAll())
	}
	select {
	case <-s.closing:
		return status.Error(codes.Unavailable, "the server is shutting down")
	default:
	}
	if _, told := status.FromError(err); err == nil || told {
		return err
	}
	return failed(stream.Context(), err)
}

func (r *reading) send(e eventstore.Record) error { return r.out(eventOf(e, r.textIDs)) }

// count is how many events the client wants.
func (r *reading) count() int64 { return int64(min(r.options.GetCount(), math.MaxInt64)) }

func nameOf(o *api.ReadReq_Options_StreamOptions) string {
	return string(o.GetStreamIdentifier().GetStreamName())
}

// lookAt gives what a stream shows: the revisions from first to last. found is
// false where there are none; then the client has been told so.
func (r *reading) lookAt(stream string) (first int64, last eventstore.Record, found bool, err error) {
	v, err := r.streams.view(r.ctx, stream)
	if err != nil {
		return 0, last, false, err
	}
	if v.tombstone {
		return 0, last, false, streamDeleted(r.ctx, stream)
	}
	last, found, err = r.o.Store.ReadLast(r.ctx, stream)
	if err != nil {
		return 0, last, false, err
	}
	first = v.first(last.Revision)
	if !found || last.Revision < first {
		return 0, last, false, r.out(notFound(stream))
	}
	return first, last, true, nil
}

func (r *reading) streamForwards(o *api.ReadReq_Options_StreamOptions) error {
	name := nameOf(o)
	first, last, found, err := r.lookAt(name)
	if err != nil || !found {
		return err
	}
	from := max(first, int64(min(o.GetRevision(), math.MaxInt64)))
	if o.GetEnd() != nil {
		from = last.Revision + 1
	}
	return r.forwards(name, from, last.Revision, r.count())
}

// forwards sends the records of a stream from one revision up to another, at
// most count of them.
func (r *reading) forwards(name string, from, to, count int64) error {
	for from <= to && count > 0 {
		page, err := r.o.Store.ReadStream(r.ctx, name, from, int(min(pageSize, count, to-from+1)))
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := r.send(e); err != nil {
				return err
			}
		}
		if len(page) == 0 {
			return nil
		}
		from += int64(len(page))
		count -= int64(len(page))
	}
	return nil
}

func (r *reading) streamBackwards(o *api.ReadReq_Options_StreamOptions) error {
	name := nameOf(o)
	first, last, found, err := r.lookAt(name)
	if err != nil || !found {
		return err
	}
	to, count := last.Revision, r.count()
	switch o.GetRevisionOption().(type) {
	case *api.ReadReq_Options_StreamOptions_Start:
		to = 0
	case *api.ReadReq_Options_StreamOptions_Revision:
		to = min(to, int64(min(o.GetRevision(), math.MaxInt64)))
	}
	if to == last.Revision && count > 0 {
		if err := r.send(last); err != nil {
			return err
		}
		to--
		count--
	}
	for to >= first && count > 0 {
		from := max(first, to-min(pageSize, count)+1)
		page, err := r.o.Store.ReadStream(r.ctx, name, from, int(to-from)+1)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(page) {
			if err := r.send(e); err != nil {
				return err
			}
		}
		count -= to - from + 1
		to = from - 1
	}
	return nil
}

// allForwards sends what stands at a position or behind it, as far as the log
// goes now.
func (r *reading) allForwards(o *api.ReadReq_Options_AllOptions) error {
	if o.GetEnd() != nil {
		return nil
	}
	after, count := eventstore.Start, r.count()
	pass := func(e eventstore.Record) error {
		if count == 0 || !r.filter.passes(e) {
			return nil
		}
		count--
		return r.send(e)
	}
	if p := o.GetPosition(); p != nil {
		after = position(p.GetCommitPosition(), p.GetPreparePosition())
		e, ok, err := r.o.Store.RecordAt(r.ctx, after)
		if err != nil {
			return err
		}
		if ok {
			if err := pass(e); err != nil {
				return err
			}
		}
	}
	if count == 0 {
		return nil
	}
	end, err := r.o.Store.End(r.ctx)
	if err != nil || !after.Before(end) {
		return err
	}
	sub, err := r.o.Store.Subscribe(r.ctx, after)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // it was only read
	for count > 0 {
		b, err := sub.Next(r.ctx)
		if err != nil {
			return err
		}
		for _, e := range b.Records {
			if end.Before(e.Position) {
				return nil
			}
			if err := pass(e); err != nil {
				return err
			}
		}
		if b.CaughtUp || !b.Position.Before(end) {
			return nil
		}
	}
	return nil
}

func (r *reading) allBackwards(o *api.ReadReq_Options_AllOptions) error {
	log, ok := r.o.Store.(BackwardsReader)
	if !ok {
		return status.Error(codes.Unimplemented, "this store can't be read backwards")
	}
	from, err := r.o.Store.End(r.ctx)
	if err != nil || o.GetStart() != nil {
		return err
	}
	inclusive := true
	if p := o.GetPosition(); p != nil {
		// Backwards, a position is what the read begins before.
		from, inclusive = position(p.GetCommitPosition(), p.GetPreparePosition()), false
	}
	for count := r.count(); count > 0; {
		page, err := log.ReadBackwards(r.ctx, from, int(min(pageSize, count+1)))
		if err != nil {
			return err
		}
		sent := 0
		for _, e := range page {
			if e.Position == from && !inclusive {
				continue
			}
			sent++
			if count == 0 || !r.filter.passes(e) {
				continue
			}
			count--
			if err := r.send(e); err != nil {
				return err
			}
		}
		if sent == 0 {
			return nil
		}
		from, inclusive = page[len(page)-1].Position, false
	}
	return nil
}
