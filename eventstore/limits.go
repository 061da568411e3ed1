package eventstore

import (
	"errors"
	"fmt"
)

// CheckAppend refuses what no store takes, with ErrTooLarge where it is too
// much at once, and returns how many bytes count against MaxAppendBytes: those
// of types, data and metadata. Adapters call it first.
func CheckAppend(stream string, records []NewRecord) (bytes int, err error) {
	if stream == "" {
		return 0, errors.New("eventstore: a stream needs a name")
	}
	if len(records) == 0 {
		return 0, errors.New("eventstore: an append needs records")
	}
	for _, r := range records {
		bytes += len(r.Type) + len(r.Data) + len(r.Metadata)
	}
	if len(records) > MaxAppendRecords || bytes > MaxAppendBytes {
		return 0, fmt.Errorf("%w: %d records with %d bytes, at most %d with %d",
			ErrTooLarge, len(records), bytes, MaxAppendRecords, MaxAppendBytes)
	}
	return bytes, nil
}
