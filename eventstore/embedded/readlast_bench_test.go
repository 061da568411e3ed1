package embedded

import (
	"testing"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

// BenchmarkReadLast reads the last record of one stream after another, most of
// which have none, as a server does that looks whether a stream has metadata.
func BenchmarkReadLast(b *testing.B) {
	l, err := Open(b.Context(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for range 2000 {
		if _, err := l.Append(b.Context(), uuid.NewString(), eventstore.NoStream, []eventstore.NewRecord{{ID: uuid.New(), Type: "t", Data: []byte("{}")}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, _, err := l.ReadLast(b.Context(), uuid.NewString()); err != nil {
			b.Fatal(err)
		}
	}
}
