package aggregates_test

import (
	"strings"
	"testing"

	"github.com/belltower/belltower/aggregates"
)

// An address that is taken is canonical, and one line.
func FuzzContacts(f *testing.F) {
	for _, s := range []string{"ann@example.org", `"a b"@x.org`, "zoë@bücher.example", "a@b", "a@[127.0.0.1]", "+49 (151) 123-456.78", "0151 123", "+", "+1", "a@b.c\r\nx: y"} {
		f.Add(s, "DE")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, s, region string) {
		if canonical, ok := aggregates.CanonicalEmail(s); ok {
			again, ok := aggregates.CanonicalEmail(canonical)
			if !ok || again != canonical || strings.ContainsAny(canonical, "\r\n") {
				t.Fatalf("%q is canonically %q, and that %q (%t)", s, canonical, again, ok)
			}
		}
		if e164, ok := aggregates.CanonicalPhone(s, region); ok {
			again, ok := aggregates.CanonicalPhone(e164, "")
			if !ok || again != e164 {
				t.Fatalf("%q is canonically %q, and that %q (%t)", s, e164, again, ok)
			}
		}
	})
}
