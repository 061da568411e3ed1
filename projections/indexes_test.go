package projections

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// indexesOf are the indexes of a generation that the schema names.
func indexesOf(t *testing.T, d *Database, generation int64) (names []string) {
	w, err := connect(bg, d.writing, generation)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.close()) }()
	all := map[string]bool{}
	for _, s := range w.db.DDL("", schema) {
		if name := indexOf(s); name != "" {
			all[name] = true
		}
	}
	require.NotEmpty(t, all)
	require.NoError(t, w.rows(func(row scanner) error {
		var name string
		err := row.Scan(&name)
		for schemas := range all {
			if name == w.prefix+schemas {
				names = append(names, schemas)
			}
		}
		return err
	}, w.db.Indexes()+" ORDER BY 1"))
	return names
}

// Whoever builds a generation, and however it went, it has all indexes before it
// is asked, and those that folding asks from the beginning.
func TestIndexesAreThereBeforeTheyAreAsked(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(0, 10)
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		d := m.database
		clearing := []string{"notifications_final"}
		require.Equal(t, clearing, indexesOf(t, d, 1))
		stop := w.follow(t, m)
		w.shown(m)
		whole := indexesOf(t, d, 1)
		require.Len(t, whole, 15)

		// A build that is killed, half of its indexes made, is gone on with.
		facts := w.facts()
		until := func(p eventstore.Position) Source { return Source{Store: w.store, Keys: w.keys, Until: p} }
		b, err := d.Build(bg)
		require.NoError(t, err)
		require.Equal(t, clearing, indexesOf(t, d, b.Generation()))
		ended, end := context.WithCancel(bg)
		end()
		require.ErrorIs(t, b.Fold(ended, until(facts[20].Position), func(Progress) {}), context.Canceled)
		_, err = b.w.conn.ExecContext(bg, b.w.db.Bind(b.w.prefix, "CREATE INDEX {participants_line} ON {participants} (event_id, line)"))
		require.NoError(t, err)
		require.NoError(t, b.Close())
		b, err = d.Resume(bg, b.Generation())
		require.NoError(t, err)
		require.Len(t, indexesOf(t, d, b.Generation()), 2)
		require.NoError(t, b.Fold(bg, until(w.last), func(Progress) {}))
		require.Equal(t, whole, indexesOf(t, d, b.Generation()))
		require.Empty(t, differences(t, d, 1, b.Generation()))
		require.NoError(t, b.Close())

		// Beside others in the same file it has them from the beginning.
		b, err = d.build(bg, true)
		require.NoError(t, err)
		require.Equal(t, whole, indexesOf(t, d, b.Generation()))
		require.NoError(t, b.Fold(bg, until(w.last), func(Progress) {}))
		require.Empty(t, differences(t, d, 1, b.Generation()))
		require.NoError(t, b.Close())
		stop()
	})
}

// A transaction may have more rows than a statement takes, and longer ones.
func TestMoreRowsThanAStatementTakes(t *testing.T) {
	was := atOnceOnServer
	defer func() { atOnceOnServer = was }()
	atOnceOnServer = 50
	onEach(t, func(t *testing.T, w *world) {
		w.happen(0, 60)
		long := make([]byte, maxStatement/5)
		for i := range long {
			long[i] = 'x'
		}
		for i := range 40 {
			id := fmt.Sprintf("%036d", 5000+i)
			e := meeting(id)
			e.Description = string(long[:len(long)-i])
			w.event(id, e)
		}
		facts := w.facts()
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		require.NoError(t, m.writer.foldAll(facts, len(facts)))
		b, err := m.database.Build(bg)
		require.NoError(t, err)
		defer func() { require.NoError(t, b.disconnect()) }()
		for few := range slices.Chunk(facts, 9) {
			require.NoError(t, b.w.fold(few))
		}
		require.Empty(t, differences(t, m.database, b.Generation(), 1))
	})
}
