package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

var appendTests = map[string]func(*fixture){
	"a stream begins at NoStream and goes on at its last revision": func(f *fixture) {
		s := stream("s")
		first, second, third := records(1), records(3), records(1)
		p1 := f.append(s, eventstore.NoStream, first)
		p2 := f.append(s, 0, second)
		p3 := f.append(s, 3, third)
		got := f.holds(s, first, second, third)
		require.Equal(f, got[0].Position, p1)
		require.Equal(f, got[3].Position, p2, "of the last record")
		require.Equal(f, got[4].Position, p3)
	},

	"another revision is refused and tells the actual one": func(f *fixture) {
		s, none := stream("s"), stream("none")
		f.refused(none, 0, eventstore.NoStream, records(1))
		f.refused(none, 7, eventstore.NoStream, records(1))
		kept := records(3)
		f.append(s, eventstore.NoStream, kept)
		f.refused(s, eventstore.NoStream, 2, records(1))
		f.refused(s, 0, 2, records(2))
		f.refused(s, 1, 2, records(5))
		f.refused(s, 3, 2, records(1))
		f.holds(s, kept)
		f.holds(none)
	},

	"streams don't touch each other": func(f *fixture) {
		base := stream("s")
		names := []string{base, base + "x", strings.ToUpper(base), base + " ", base + "-"}
		appended := map[string][]eventstore.NewRecord{}
		for i, s := range names {
			appended[s] = records(i + 1)
			f.append(s, eventstore.NoStream, appended[s])
		}
		for _, s := range names {
			f.holds(s, appended[s])
		}
	},

	"nothing to append and no name are refused": func(f *fixture) {
		_, err := f.store.Append(f.ctx, stream("s"), eventstore.NoStream, nil)
		require.Error(f, err)
		_, err = f.store.Append(f.ctx, "", eventstore.NoStream, records(1))
		require.Error(f, err)
	},

	"names, types, data and metadata come back as they were": func(f *fixture) {
		text := "Zoë Ångström 🔔 \u202eabc\u202c \"quoted\" back\\slash 'single' \t % _ ; -- 日本語"
		s := stream("Veranstaltung/Ü 🔔 'x' %_")
		kept := []eventstore.NewRecord{
			{ID: uuid.New(), Type: "Größe-Geändert", Data: quote(text), Metadata: []byte(`{"a":{"b":[1,2.50,null,true]}, "spaces" :  "kept"}`)},
			{ID: uuid.New(), Type: "t", Data: []byte(`{}`), Metadata: []byte(`{}`)},
			{ID: uuid.Max, Type: strings.Repeat("long", 50), Data: []byte(`{"n":12345678901234567890.10}`), Metadata: []byte(`{}`)},
		}
		f.append(s, eventstore.NoStream, kept)
		f.holds(s, kept)
	},

	"what is appended can be changed afterwards": func(f *fixture) {
		s, given := stream("s"), records(2)
		kept := slices.Clone(given)
		for i := range kept {
			kept[i].Data = slices.Clone(given[i].Data)
			kept[i].Metadata = slices.Clone(given[i].Metadata)
		}
		f.append(s, eventstore.NoStream, given)
		for i := range given {
			clear(given[i].Data)
			clear(given[i].Metadata)
		}
		f.holds(s, kept)
	},

	"created is a time in UTC": func(f *fixture) {
		s := stream("s")
		f.append(s, eventstore.NoStream, records(1))
		created := f.read(s)[0].Created
		require.False(f, created.IsZero())
		require.Equal(f, time.UTC, created.Location())
	},

	"a context that has ended appends nothing": func(f *fixture) {
		s := stream("s")
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		_, err := f.store.Append(ctx, s, eventstore.NoStream, records(1))
		require.ErrorIs(f, err, context.Canceled)
		require.NotErrorIs(f, err, eventstore.ErrUnknownOutcome)
		f.holds(s)
	},

	"a context that ends while appending leaves all or nothing": func(f *fixture) {
		for range 50 {
			s, given := stream("s"), records(20)
			ctx, cancel := context.WithCancel(f.ctx)
			done := make(chan error, 1)
			go func() {
				_, err := f.store.Append(ctx, s, eventstore.NoStream, given)
				done <- err
			}()
			cancel()
			err := <-done
			// Repeating settles what became of it.
			p := f.append(s, eventstore.NoStream, given)
			got := f.holds(s, given)
			require.Equal(f, got[19].Position, p)
			if err != nil {
				require.ErrorIs(f, err, context.Canceled)
			}
		}
	},
}

var repeatTests = map[string]func(*fixture){
	"the same ids at the same revision succeed again": func(f *fixture) {
		s := stream("s")
		first, second := records(3), records(2)
		p1 := f.append(s, eventstore.NoStream, first)
		require.Equal(f, p1, f.append(s, eventstore.NoStream, first), "as the end of the stream")
		p2 := f.append(s, 2, second)
		f.append(stream("other"), eventstore.NoStream, records(1))
		require.Equal(f, p1, f.append(s, eventstore.NoStream, first), "after others wrote")
		require.Equal(f, p2, f.append(s, 2, second))
		f.holds(s, first, second)
	},

	"the same ids with other content change nothing": func(f *fixture) {
		s, first := stream("s"), records(2)
		p := f.append(s, eventstore.NoStream, first)
		other := records(2)
		other[0].ID, other[1].ID = first[0].ID, first[1].ID
		require.Equal(f, p, f.append(s, eventstore.NoStream, other))
		f.holds(s, first)
	},

	"a part or another grouping is refused": func(f *fixture) {
		s := stream("s")
		first, second, third := records(3), records(2), records(1)
		f.append(s, eventstore.NoStream, first)
		f.append(s, 2, second)
		f.append(s, 4, third)
		f.refused(s, eventstore.NoStream, 5, first[:1])
		f.refused(s, eventstore.NoStream, 5, first[:2])
		f.refused(s, 0, 5, first[1:])
		f.refused(s, eventstore.NoStream, 5, slices.Concat(first, second))
		f.refused(s, eventstore.NoStream, 5, slices.Concat(first, records(1)))
		f.refused(s, 0, 5, slices.Concat(first[1:], second[:1]))
		f.refused(s, 2, 5, slices.Concat(second, third))
		f.refused(s, 2, 5, []eventstore.NewRecord{second[1], second[0]})
		f.refused(s, 4, 5, slices.Concat(third, records(1)))
		f.holds(s, first, second, third)
	},

	"the same ids at another revision are refused": func(f *fixture) {
		s := stream("s")
		first, second := records(2), records(2)
		f.append(s, eventstore.NoStream, first)
		f.append(s, 1, second)
		f.refused(s, 0, 3, first)
		f.refused(s, eventstore.NoStream, 3, second)
		f.refused(s, 7, 3, second)
		f.holds(s, first, second)
	},

	"the same ids in another stream are other records": func(f *fixture) {
		a, b, first := stream("a"), stream("b"), records(2)
		f.append(a, eventstore.NoStream, first)
		f.append(b, eventstore.NoStream, first)
		f.refused(stream("c"), 0, eventstore.NoStream, first)
		f.holds(a, first)
		f.holds(b, first)
	},
}

var limitTests = map[string]func(*fixture){
	"an append of the most records is taken": func(f *fixture) {
		s, most := stream("s"), records(eventstore.MaxAppendRecords)
		p := f.append(s, eventstore.NoStream, most)
		f.holds(s, most)
		require.Equal(f, p, f.append(s, eventstore.NoStream, most))
	},

	"an append of the most bytes is taken": func(f *fixture) {
		one, many := stream("one"), stream("many")
		large := []eventstore.NewRecord{sized(eventstore.MaxAppendBytes)}
		f.append(one, eventstore.NoStream, large)
		f.holds(one, large)
		parts := make([]eventstore.NewRecord, 16)
		for i := range parts {
			parts[i] = sized(eventstore.MaxAppendBytes / len(parts))
		}
		f.append(many, eventstore.NoStream, parts)
		f.holds(many, parts)
	},

	"more is refused as too large": func(f *fixture) {
		s := stream("s")
		for _, over := range [][]eventstore.NewRecord{
			records(eventstore.MaxAppendRecords + 1),
			{sized(eventstore.MaxAppendBytes + 1)},
			{sized(eventstore.MaxAppendBytes / 2), sized(eventstore.MaxAppendBytes/2 + 1)},
		} {
			_, err := f.store.Append(f.ctx, s, eventstore.NoStream, over)
			require.ErrorIs(f, err, eventstore.ErrTooLarge)
		}
		f.holds(s)
		f.append(s, eventstore.NoStream, records(1))
	},
}
