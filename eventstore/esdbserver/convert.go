package esdbserver

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

// The keys of the metadata that the server itself keeps of an event.
const (
	metaType        = "type"
	metaContentType = "content-type"
	metaCreated     = "created"
)

// empty is the protocol's own, not Google's.
type empty = shared.Empty

// ticks are .NET's: hundreds of nanoseconds since 1970.
func ticks(t time.Time) int64 { return t.UnixNano() / 100 }

func structured(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

func parseID(id *shared.UUID) (parsed uuid.UUID, ok bool) {
	if s := id.GetStructured(); s != nil {
		binary.BigEndian.PutUint64(parsed[:8], uint64(s.GetMostSignificantBits()))
		binary.BigEndian.PutUint64(parsed[8:], uint64(s.GetLeastSignificantBits()))
		return parsed, true
	}
	parsed, err := uuid.Parse(id.GetString_())
	return parsed, err == nil
}

func position(commit, prepare uint64) eventstore.Position {
	return eventstore.Position{Commit: commit, Prepare: prepare}
}

// eventOf is a record as clients read it. The store doesn't keep what a
// client said of the content, so it is looked at: what is JSON is called so.
func eventOf(r eventstore.Record, textIDs bool) *api.ReadResp {
	id := structured(r.ID)
	if textIDs {
		id = &shared.UUID{Value: &shared.UUID_String_{String_: r.ID.String()}}
	}
	content := "application/octet-stream"
	if json.Valid(r.Data) {
		content = "application/json"
	}
	return &api.ReadResp{Content: &api.ReadResp_Event{Event: &api.ReadResp_ReadEvent{
		Event: &api.ReadResp_ReadEvent_RecordedEvent{
			Id:               id,
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(r.Stream)},
			StreamRevision:   uint64(r.Revision),
			CommitPosition:   r.Position.Commit,
			PreparePosition:  r.Position.Prepare,
			Metadata: map[string]string{
				metaType: r.Type, metaContentType: content, metaCreated: strconv.FormatInt(ticks(r.Created), 10),
			},
			CustomMetadata: r.Metadata,
			Data:           r.Data,
		},
		Position: &api.ReadResp_ReadEvent_CommitPosition{CommitPosition: r.Position.Commit},
	}}}
}

func notFound(stream string) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_StreamNotFound_{StreamNotFound: &api.ReadResp_StreamNotFound{
		StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)},
	}}}
}

func checkpoint(p eventstore.Position) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_Checkpoint_{Checkpoint: &api.ReadResp_Checkpoint{
		CommitPosition: p.Commit, PreparePosition: p.Prepare,
	}}}
}
