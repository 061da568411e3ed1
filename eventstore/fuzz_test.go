package eventstore_test

import (
	"testing"

	"github.com/belltower/belltower/eventstore"
)

// What is read as a position is written as one that is read as the same.
func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0", "1", "18446744073709551615", "1/2", "1-2", "-1", "", "00", "1/", "C:1/P:2", "１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := eventstore.ParsePosition(s)
		if err != nil {
			return
		}
		if again, err := eventstore.ParsePosition(p.String()); err != nil || again != p {
			t.Fatalf("%q was read as %v, and that as %v, %v", s, p, again, err)
		}
	})
}
