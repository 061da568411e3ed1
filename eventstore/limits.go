package eventstore

import (
	"errors"
	"fmt"
)

// CheckAppend refuses what no store takes, with ErrTooLarge where it is too
// much at once, and returns how many bytes count against MaxAppendBytes.
// Adapters call it first.
func CheckAppend(stream string, records []NewRecord) (bytes int, err error) {
	if stream == "" {
		return 0, errors.New("eventstore: a stream needs a name")
	}
	if len(records) == 0 {
		return 0, errors.New("eventstore: an append needs records")
	}
	for _, r := range records {
		bytes += Size(r)
	}
	if len(records) > MaxAppendRecords || bytes > MaxAppendBytes {
		return 0, fmt.Errorf("%w: %d records with %d bytes, at most %d with %d",
			ErrTooLarge, len(records), bytes, MaxAppendRecords, MaxAppendBytes)
	}
	return bytes, nil
}

// Size is how many bytes of a record count against MaxAppendBytes: those of its
// data and metadata, and twice those of its type, as EventStoreDB counts them.
func Size(r NewRecord) int { return 2*len(r.Type) + len(r.Data) + len(r.Metadata) }
