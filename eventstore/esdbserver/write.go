package esdbserver

import (
	"context"
	"errors"
	"io"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belltower/belltower/eventstore"
)

// Append implements the Streams service. Nothing is appended before the client
// has said that it has sent everything.
func (s *Server) Append(stream api.Streams_AppendServer) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	o := first.GetOptions()
	if o == nil || len(o.GetStreamIdentifier().GetStreamName()) == 0 {
		return status.Error(codes.InvalidArgument, "an append begins with the name of its stream")
	}
	name, e := string(o.GetStreamIdentifier().GetStreamName()), expectationOf(o)
	var records []eventstore.NewRecord
	for size := 0; ; {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		r, err := recordOf(ctx, next.GetProposedMessage())
		if err != nil {
			return err
		}
		if size += eventstore.Size(r); size > eventstore.MaxAppendBytes || len(records) >= eventstore.MaxAppendRecords {
			return tooLarge(ctx)
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return status.Error(codes.InvalidArgument, "there is nothing to append")
	}
	a, err := s.streams.append(ctx, name, e, records)
	var wrong *eventstore.WrongRevisionError
	switch {
	case errors.As(err, &wrong):
		return stream.SendAndClose(e.refusal(wrong.Actual))
	case errors.Is(err, errDeleted):
		return streamDeleted(ctx, name)
	case err != nil:
		return failed(ctx, err)
	}
	success := &api.AppendResp_Success{CurrentRevisionOption: &api.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(a.revision)}}
	if a.repeated {
		success.PositionOption = &api.AppendResp_Success_NoPosition{NoPosition: &empty{}}
	} else {
		success.PositionOption = &api.AppendResp_Success_Position{Position: &api.AppendResp_Position{
			CommitPosition: a.position.Commit, PreparePosition: a.position.Prepare,
		}}
	}
	return stream.SendAndClose(&api.AppendResp{Result: &api.AppendResp_Success_{Success: success}})
}

func recordOf(ctx context.Context, m *api.AppendReq_ProposedMessage) (eventstore.NewRecord, error) {
	id, ok := parseID(m.GetId())
	if m == nil || !ok {
		return eventstore.NewRecord{}, status.Error(codes.InvalidArgument, "an event needs an id")
	}
	for _, key := range []string{metaType, metaContentType} {
		if _, ok := m.GetMetadata()[key]; !ok {
			return eventstore.NewRecord{}, exception(ctx, codes.InvalidArgument, "missing-required-metadata-property",
				"an event needs a "+key, "missing-required-metadata-property", key)
		}
	}
	return eventstore.NewRecord{ID: id, Type: m.GetMetadata()[metaType], Data: m.GetData(), Metadata: m.GetCustomMetadata()}, nil
}

// Delete implements the Streams service: nothing of the stream can be read any
// more; it can be written to again, and its revisions go on.
func (s *Server) Delete(ctx context.Context, req *api.DeleteReq) (*api.DeleteResp, error) {
	name, e := string(req.GetOptions().GetStreamIdentifier().GetStreamName()), expectationOf(req.GetOptions())
	p, ok, err := s.streams.delete(ctx, name, e)
	if err != nil {
		return nil, endFailed(ctx, name, e, err)
	}
	if !ok {
		return &api.DeleteResp{PositionOption: &api.DeleteResp_NoPosition{NoPosition: &empty{}}}, nil
	}
	return &api.DeleteResp{PositionOption: &api.DeleteResp_Position_{Position: &api.DeleteResp_Position{
		CommitPosition: p.Commit, PreparePosition: p.Prepare,
	}}}, nil
}

// Tombstone implements the Streams service: the stream is gone for ever.
func (s *Server) Tombstone(ctx context.Context, req *api.TombstoneReq) (*api.TombstoneResp, error) {
	name, e := string(req.GetOptions().GetStreamIdentifier().GetStreamName()), expectationOf(req.GetOptions())
	p, err := s.streams.tombstone(ctx, name, e)
	if err != nil {
		return nil, endFailed(ctx, name, e, err)
	}
	return &api.TombstoneResp{PositionOption: &api.TombstoneResp_Position_{Position: &api.TombstoneResp_Position{
		CommitPosition: p.Commit, PreparePosition: p.Prepare,
	}}}, nil
}

func endFailed(ctx context.Context, stream string, e expectation, err error) error {
	var wrong *eventstore.WrongRevisionError
	switch {
	case errors.As(err, &wrong):
		return wrongVersion(ctx, stream, e, wrong.Actual)
	case errors.Is(err, errDeleted):
		return streamDeleted(ctx, stream)
	}
	return failed(ctx, err)
}
