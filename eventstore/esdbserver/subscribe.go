package esdbserver

import (
	"math"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

var (
	caughtUp   = &api.ReadResp{Content: &api.ReadResp_CaughtUp_{CaughtUp: &api.ReadResp_CaughtUp{}}}
	fellBehind = &api.ReadResp{Content: &api.ReadResp_FellBehind_{FellBehind: &api.ReadResp_FellBehind{}}}
)

// confirm tells the client that its subscription begins.
func (r *reading) confirm() error {
	return r.out(&api.ReadResp{Content: &api.ReadResp_Confirmation{
		Confirmation: &api.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

// subscribeToAll sends what stands behind a position, and what comes. With a
// filter it tells now and then how far it has looked.
func (r *reading) subscribeToAll(o *api.ReadReq_Options_AllOptions) error {
	after := eventstore.Start
	if p := o.GetPosition(); p != nil {
		after = position(p.GetCommitPosition(), p.GetPreparePosition())
	} else if o.GetEnd() != nil {
		var err error
		if after, err = r.o.Store.End(r.ctx); err != nil {
			return err
		}
	}
	sub, err := r.o.Store.Subscribe(r.ctx, after)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // it was only read
	if err := r.confirm(); err != nil {
		return err
	}
	looked := 0 // since what was told last
	return r.follow(sub, func(b eventstore.Batch, live bool) error {
		for _, e := range b.Records {
			passes := r.filter.passes(e)
			if looked++; passes {
				if err := r.send(e); err != nil {
					return err
				}
			}
			if r.filter.of != nil && looked >= r.filter.interval {
				if err := r.out(checkpoint(e.Position)); err != nil {
					return err
				}
				looked = 0
			}
		}
		if r.filter.of != nil && looked > 0 && b.CaughtUp && !live {
			looked = 0
			return r.out(checkpoint(b.Position))
		}
		return nil
	})
}

// follow hands over the batches of sub, and tells the client when it has caught
// up and when it has fallen behind.
func (r *reading) follow(sub eventstore.Subscription, each func(b eventstore.Batch, live bool) error) error {
	for live := false; ; {
		b, err := sub.Next(r.ctx)
		if err != nil {
			return err
		}
		if live && !b.CaughtUp {
			live = false
			if err := r.out(fellBehind); err != nil {
				return err
			}
		}
		if err := each(b, live); err != nil {
			return err
		}
		if !live && b.CaughtUp {
			live = true
			if err := r.out(caughtUp); err != nil {
				return err
			}
		}
	}
}

// subscribeToStream sends what a stream has behind a revision, and what comes.
func (r *reading) subscribeToStream(o *api.ReadReq_Options_StreamOptions) error {
	name := nameOf(o)
	v, err := r.streams.view(r.ctx, name)
	if err != nil {
		return err
	}
	if v.tombstone {
		return streamDeleted(r.ctx, name)
	}
	// What is appended from here on comes by the log, what was there before by
	// the stream; a record that is in both comes once, by its revision.
	end, err := r.o.Store.End(r.ctx)
	if err != nil {
		return err
	}
	sub, err := r.o.Store.Subscribe(r.ctx, end)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // it was only read
	if err := r.confirm(); err != nil {
		return err
	}
	last, err := r.streams.last(r.ctx, name)
	if err != nil {
		return err
	}
	next := v.first(last)
	switch o.GetRevisionOption().(type) {
	case *api.ReadReq_Options_StreamOptions_Revision:
		next = max(next, int64(min(o.GetRevision(), math.MaxInt64-1))+1)
	case *api.ReadReq_Options_StreamOptions_End:
		next = last + 1
	}
	if err := r.forwards(name, next, last, math.MaxInt64); err != nil {
		return err
	}
	next = max(next, last+1)
	return r.follow(sub, func(b eventstore.Batch, _ bool) error {
		for _, e := range b.Records {
			if e.Stream != name || e.Revision < next {
				continue
			}
			if err := r.send(e); err != nil {
				return err
			}
			next = e.Revision + 1
		}
		return nil
	})
}
