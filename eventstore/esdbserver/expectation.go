package esdbserver

import (
	"math"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/belltower/belltower/eventstore"
)

// expectation is what a client expects of a stream before it writes.
type expectation struct {
	kind     expected
	revision int64 // of exactly
}

type expected int

const (
	anything expected = iota
	noStream
	streamExists
	exactly
)

// number is how EventStoreDB writes an expectation as a number.
func (e expectation) number() int64 {
	switch e.kind {
	case noStream:
		return -1
	case anything:
		return -2
	case streamExists:
		return -4
	}
	return e.revision
}

// options is what the requests that write have in common.
type options interface {
	GetNoStream() *empty
	GetAny() *empty
	GetStreamExists() *empty
	GetRevision() uint64
}

func expectationOf(o options) expectation {
	switch {
	case o.GetNoStream() != nil:
		return expectation{kind: noStream, revision: eventstore.NoStream}
	case o.GetAny() != nil:
		return expectation{kind: anything}
	case o.GetStreamExists() != nil:
		return expectation{kind: streamExists}
	}
	return expectation{kind: exactly, revision: int64(min(o.GetRevision(), math.MaxInt64))}
}

// allows tells whether a stream may be written to whose last revision is last,
// NoStream where it has none that can be read.
func (e expectation) allows(last int64) bool {
	switch e.kind {
	case noStream:
		return last == eventstore.NoStream
	case streamExists:
		return last != eventstore.NoStream
	case exactly:
		return last == e.revision
	}
	return true
}

// refusal is the answer to an append that expected something else.
func (e expectation) refusal(actual int64) *api.AppendResp {
	wrong := &api.AppendResp_WrongExpectedVersion{}
	none := &empty{}
	// Clients of versions before 20.6.1 read the fields of that name.
	switch e.kind {
	case noStream:
		wrong.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: none}
		wrong.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: math.MaxUint64}
	case anything:
		wrong.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: none}
		wrong.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: none}
	case streamExists:
		wrong.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: none}
		wrong.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: none}
	case exactly:
		wrong.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: uint64(e.revision)}
		wrong.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: uint64(e.revision)}
	}
	if actual == eventstore.NoStream {
		wrong.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: none}
		wrong.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: none}
	} else {
		wrong.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(actual)}
		wrong.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(actual)}
	}
	return &api.AppendResp{Result: &api.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: wrong}}
}
