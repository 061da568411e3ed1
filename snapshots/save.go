package snapshots

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/internal/sqldb"
)

// changing is a transaction that writes.
type changing struct {
	db   *sqldb.DB
	conn *sql.Conn
}

func change(ctx context.Context, db *sqldb.DB, do func(*changing) error) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, db.BeginWriting()); err != nil {
		return err
	}
	if err := do(&changing{db, conn}); err != nil {
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, back)
	}
	_, err = conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	return err
}

func (c *changing) exec(ctx context.Context, query string, args ...any) error {
	_, err := c.conn.ExecContext(ctx, c.db.Bind(prefix, query), args...)
	return err
}

func (c *changing) save(ctx context.Context, stream string, s commands.Snapshot) (written int, err error) {
	there, err := c.parts(ctx, stream)
	if err != nil {
		return 0, err
	}
	names := make([]string, len(s.Parts))
	for i, p := range s.Parts {
		names[i] = hex.EncodeToString(p.ID[:])
		switch {
		case there[names[i]]:
			continue
		case p.Data == nil:
			return 0, commands.ErrPartsMissing
		}
		if err := c.exec(ctx, "INSERT INTO {parts} (stream, id, data) VALUES (?, ?, ?)"+c.db.OnConflict("{parts}", []string{"stream", "id"}), stream, names[i], p.Data); err != nil {
			return 0, err
		}
		there[names[i]] = true
		written += len(p.Data)
	}
	if err := c.exec(ctx, "DELETE FROM {snapshots} WHERE stream = ? AND revision = ?", stream, s.Revision); err != nil {
		return 0, err
	}
	if err := c.exec(ctx, "INSERT INTO {snapshots} (stream, revision, version, at, head, parts) VALUES (?, ?, ?, ?, ?, ?)",
		stream, s.Revision, s.Version, s.At.UnixMicro(), s.Head, strings.Join(names, " ")); err != nil {
		return 0, err
	}
	return written + len(s.Head) + len(names)*33, c.thin(ctx, stream, s.Version, there)
}

// parts are those of a stream that are kept.
func (c *changing) parts(ctx context.Context, stream string) (map[string]bool, error) {
	there := map[string]bool{}
	err := c.each(ctx, "SELECT id FROM {parts} WHERE stream = ?", []any{stream}, func(rows *sql.Rows) error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		there[id] = true
		return nil
	})
	return there, err
}

func (c *changing) each(ctx context.Context, query string, args []any, do func(*sql.Rows) error) error {
	rows, err := c.conn.QueryContext(ctx, c.db.Bind(prefix, query), args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := do(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// thin deletes what is not worth its room: snapshots of other versions, those
// that worth doesn't name, and parts that no snapshot has.
func (c *changing) thin(ctx context.Context, stream string, version int64, there map[string]bool) error {
	var revisions, others []int64
	parts := map[int64]string{}
	err := c.each(ctx, "SELECT revision, version, parts FROM {snapshots} WHERE stream = ? ORDER BY revision DESC", []any{stream}, func(rows *sql.Rows) error {
		var revision, of int64
		var names string
		if err := rows.Scan(&revision, &of, &names); err != nil {
			return err
		}
		if parts[revision] = names; of == version {
			revisions = append(revisions, revision)
		} else {
			others = append(others, revision)
		}
		return nil
	})
	if err != nil {
		return err
	}
	keep := worth(revisions)
	for _, revision := range append(others, revisions...) {
		if slices.Contains(keep, revision) && !slices.Contains(others, revision) {
			for _, name := range strings.Fields(parts[revision]) {
				delete(there, name)
			}
			continue
		}
		if err := c.exec(ctx, "DELETE FROM {snapshots} WHERE stream = ? AND revision = ?", stream, revision); err != nil {
			return err
		}
	}
	for name := range there {
		if err := c.exec(ctx, "DELETE FROM {parts} WHERE stream = ? AND id = ?", stream, name); err != nil {
			return err
		}
	}
	return nil
}

// most is how many snapshots a stream has.
const most = 5

// worth tells which snapshots to keep, the newest first in both: the last two,
// for requests that are repeated, and others at growing distances, for looks at the past.
func worth(revisions []int64) []int64 {
	keep := slices.Clone(revisions)
	for len(keep) > most {
		// The one goes without which the way between its neighbours grows the least, seen from the end.
		least, way := 0, 0.0
		for i := 2; i < len(keep); i++ {
			older := int64(-1)
			if i+1 < len(keep) {
				older = keep[i+1]
			}
			if w := float64(keep[0]-older) / float64(keep[0]-keep[i-1]); least == 0 || w < way {
				least, way = i, w
			}
		}
		keep = slices.Delete(keep, least, least+1)
	}
	return keep
}
