package projections

import (
	"encoding/base64"
	"errors"
	"testing"
)

// Whatever a client sends as a cursor is a place in the list or refused as a cursor.
func FuzzCursor(f *testing.F) {
	list := List[int]{Items: []int{1, 2, 3}}.cut(Page{Limit: 2}, "events", "filter", func(i int) key { return key{} })
	f.Add(list.NextCursor)
	f.Add("")
	f.Add("e30")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"f":null,"k":[1,"2",null]}`)))
	f.Fuzz(func(t *testing.T, cursor string) {
		place, err := Page{Cursor: cursor}.after("events", "filter")
		if err != nil && !errors.Is(err, ErrCursor) {
			t.Fatal(err)
		}
		if (err == nil) != (place != nil) && cursor != "" {
			t.Fatalf("%v, %v", place, err)
		}
	})
}
