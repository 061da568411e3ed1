package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
)

// A generation is one build of the read models' rows: all of its tables have its
// number before their names. Another one is built beside the live one, which goes
// on answering, and then they are swapped in one transaction.

// State is what becomes of a generation.
type State string

// The states of a generation.
const (
	Making   State = "making"   // its tables are being made
	Building State = "building" // it has not been live yet
	Live     State = "live"     // queries of its version are answered from it
	Old      State = "old"      // another one has taken its place
)

// Generation is what is known of one build of the rows.
type Generation struct {
	Number   int64
	Version  int // of the rows
	State    State
	Begun    time.Time           // by the database's clock, in UTC
	Used     time.Time           // when somebody last said that it is in use
	Position eventstore.Position // up to here its rows show everything
	Facts    int64               // that they were built from
	// Failure is why who projects on a database that instances share doesn't go on.
	Failure string
}

// Version is the version of the rows that this program builds.
const Version = version

// ErrNoGeneration says that there is no such generation.
var ErrNoGeneration = errors.New("projections: there is no such generation")

// projection names what a generation holds; there is one kind.
const projection = "models"

// controlSchema: times are microseconds of the database's clock. The row of
// generation 0 is locked by who changes others, and its session is the last number
// that was given: none is given again, as somebody may still be dropping its tables.
const controlSchema = `
CREATE TABLE {generations} (
	generation   BIGINT NOT NULL PRIMARY KEY,
	projection   KEY(64) NOT NULL,
	version      BIGINT NOT NULL,
	state        KEY(32) NOT NULL,
	begun_at     BIGINT NOT NULL,
	used_at      BIGINT NOT NULL,
	holder       KEY(64) NOT NULL,
	session      BIGINT NOT NULL,
	held_until   BIGINT NOT NULL,
	caught_up    BIGINT NOT NULL,
	seen_commit  BIGINT NOT NULL,
	seen_prepare BIGINT NOT NULL,
	failure      TEXT NOT NULL
);
`

// prepare makes the table of generations where there is none.
func (d *Database) prepare(ctx context.Context) error {
	w, err := connect(ctx, d.writing, 0)
	if err != nil {
		return err
	}
	w.prefix = ""
	defer func() { _ = w.close() }()
	var n int
	err = w.row("SELECT count(*) FROM generations").Scan(&n)
	if err == nil && n > 0 {
		return nil
	}
	if err != nil && !sqldb.NoTable(err) {
		return err
	}
	if err != nil {
		for _, s := range d.writing.DDL("", controlSchema) {
			if _, err := w.conn.ExecContext(ctx, s); err != nil && !sqldb.Duplicate(err) {
				return fmt.Errorf("make the table of generations: %w", err)
			}
		}
	}
	_, err = w.exec("INSERT INTO generations VALUES (0, ?, 0, '', 0, 0, '', 0, 0, 0, 0, 0, '')"+
		d.writing.OnConflict("generations", []string{"generation"}), projection)
	return err
}

// control changes the table of generations, one at a time.
func (d *Database) control(ctx context.Context, change func(*writer) error) error {
	w, err := connect(ctx, d.writing, 0)
	if err != nil {
		return err
	}
	w.prefix = ""
	err = w.transact(func() error {
		var zero int64
		err := w.row("SELECT generation FROM generations WHERE generation = 0" + d.writing.ForUpdate()).Scan(&zero)
		if err != nil {
			return err
		}
		return change(w)
	})
	return errors.Join(err, w.close())
}

// generations lists those that are there, the first made first, without their checkpoints.
func (w *writer) generations() (all []Generation, now time.Time, err error) {
	err = w.rows(func(row scanner) error {
		var g Generation
		var begun, used, clock int64
		err := row.Scan(&g.Number, &g.Version, &g.State, &g.Failure, &begun, &used, &clock)
		g.Begun, g.Used, now = timeOf(begun), timeOf(used), timeOf(clock)
		if g.Number > 0 {
			all = append(all, g)
		}
		return err
	}, "SELECT generation, version, state, failure, begun_at, used_at, "+w.db.Now()+" FROM generations ORDER BY generation")
	return all, now, err
}

// Generations lists the generations that are there, the first made first.
func (d *Database) Generations(ctx context.Context) ([]Generation, error) {
	all, _, err := d.list(ctx)
	for i := range all {
		if all[i].State == Making || err != nil {
			continue
		}
		c, wrong := scanCheckpoint(d.reading.QueryRowContext(ctx, d.reading.Bind(prefixOf(all[i].Number), selectCheckpoint)))
		if wrong != nil && !sqldb.NoTable(wrong) && !errors.Is(wrong, sql.ErrNoRows) { // else it is half dropped
			err = wrong
		}
		all[i].Position, all[i].Facts = c.position, c.facts
	}
	if err != nil {
		return nil, fmt.Errorf("list the generations of the read models: %w", err)
	}
	return all, nil
}

func (d *Database) list(ctx context.Context) ([]Generation, time.Time, error) {
	w, err := connect(ctx, d.writing, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	w.prefix = ""
	all, now, err := w.generations()
	return all, now, errors.Join(err, w.close())
}

// ours is the generation that this version answers from: the live one where it
// has our rows, else the first that has. ok is false where none has.
func ours(all []Generation) (g Generation, ok bool) {
	for _, one := range all {
		if one.Version != version {
			continue
		}
		if one.State == Live {
			return one, true
		}
		if !ok {
			g, ok = one, true
		}
	}
	return g, ok
}

func liveOf(all []Generation) (g Generation, ok bool) {
	for _, one := range all {
		if one.State == Live {
			return one, true
		}
	}
	return Generation{}, false
}

// makingTime is after how long tables that are still being made were given up.
const makingTime = time.Minute

// choose gives the generation that this version answers from, and begins one
// where there is none.
func (d *Database) choose(ctx context.Context) (Generation, error) {
	for {
		all, now, err := d.list(ctx)
		if sqldb.NoTable(err) {
			if err = d.prepare(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return Generation{}, err
		}
		g, ok := ours(all)
		switch {
		case !ok:
			if g, err = d.begin(ctx, "", false); err == nil || !errors.Is(err, errThere) {
				return g, err
			}
		case g.State != Making:
			return g, nil
		case now.Sub(g.Used) > makingTime:
			if err := d.Drop(ctx, g.Number); err != nil {
				return Generation{}, err
			}
		}
		select { // another instance makes the tables
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return Generation{}, ctx.Err()
		}
	}
}

// begin makes the tables of another generation, with or without its indexes. With
// a holder it is only his, whatever else there is; without, errThere says that
// there is one of this version, and where none is live this one becomes it.
func (d *Database) begin(ctx context.Context, holder string, indexed bool) (Generation, error) {
	var g Generation
	err := d.control(ctx, func(w *writer) error {
		all, now, err := w.generations()
		if err != nil {
			return err
		}
		if _, ok := ours(all); ok && holder == "" {
			return errThere
		}
		g = Generation{Version: version, State: Making, Begun: now, Used: now}
		if err := w.row("SELECT session FROM generations WHERE generation = 0").Scan(&g.Number); err != nil {
			return err
		}
		for _, one := range all {
			g.Number = max(g.Number, one.Number)
		}
		g.Number++
		if _, err := w.exec("UPDATE generations SET session = ? WHERE generation = 0", g.Number); err != nil {
			return err
		}
		var held int64
		if holder != "" {
			held = leaseTime.Microseconds()
		}
		_, err = w.exec("INSERT INTO generations VALUES (?, ?, ?, ?, "+w.db.Now()+", "+w.db.Now()+", ?, 0, "+w.db.Now()+" + ?, 0, 0, 0, '')",
			g.Number, projection, version, string(Making), holder, held)
		return err
	})
	if err != nil {
		return g, err
	}
	w, err := connect(ctx, d.writing, g.Number)
	if err != nil {
		return g, err
	}
	defer func() { _ = w.close() }()
	if err := w.makeTables(ctx, indexed); err != nil {
		return g, err
	}
	if _, err := w.exec("INSERT INTO {checkpoint} VALUES (?, 0, 0, ?, 0, 0)", version, uuid.Nil.String()); err != nil {
		return g, err
	}
	return g, d.control(ctx, func(c *writer) error {
		all, _, err := c.generations()
		if g.State = Building; err == nil && holder == "" {
			if _, ok := liveOf(all); !ok {
				g.State = Live
			}
		}
		if err == nil {
			_, err = c.exec("UPDATE generations SET state = ? WHERE generation = ?", string(g.State), g.Number)
		}
		return err
	})
}

// Swap makes a generation the live one, in one transaction. The one before is
// kept until nobody uses it any more. The generation should have caught up.
func (d *Database) Swap(ctx context.Context, number int64) error {
	err := d.control(ctx, func(w *writer) error {
		if _, err := w.exec("UPDATE generations SET state = ?, used_at = "+w.db.Now()+" WHERE state = ? AND generation <> ?",
			string(Old), string(Live), number); err != nil {
			return err
		}
		n, err := w.exec("UPDATE generations SET state = ?, used_at = "+w.db.Now()+" WHERE generation = ? AND generation > 0 AND state <> ?",
			string(Live), number, string(Making))
		if err == nil && n != 1 {
			err = ErrNoGeneration
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("swap the read models to generation %d: %w", number, err)
	}
	return nil
}

// Drop removes a generation and its tables, large ones in slices. Queries that
// were using it find the live one.
func (d *Database) Drop(ctx context.Context, number int64) error {
	if err := d.drop(ctx, number); err != nil {
		return fmt.Errorf("drop generation %d of the read models: %w", number, err)
	}
	return nil
}

func (d *Database) drop(ctx context.Context, number int64) error {
	err := d.control(ctx, func(w *writer) error {
		// Nobody chooses it any more, and a drop that ends half-way is taken up again.
		n, err := w.exec("UPDATE generations SET state = ?, version = 0, used_at = 0 WHERE generation = ? AND generation > 0", string(Old), number)
		if err == nil && n != 1 {
			err = ErrNoGeneration
		}
		return err
	})
	if err != nil {
		return err
	}
	w, err := connect(ctx, d.writing, number)
	if err != nil {
		return err
	}
	err = w.dropTables(ctx)
	if err == nil {
		_, err = w.exec("DELETE FROM generations WHERE generation = ?", number)
	}
	return errors.Join(err, w.close())
}

func (w *writer) dropTables(ctx context.Context) error {
	for _, s := range append(shapes, shape{table: "{checkpoint}", keys: 1, columns: []string{"fact_id"}}) {
		// Dropping a table takes SQLite as long as it is large, and all others wait.
		for w.db.Kind() == sqldb.SQLite {
			n, err := w.exec(w.db.DeleteSome(s.table, s.key(), "1 = 1"), 4*slice)
			if err != nil && !sqldb.NoTable(err) {
				return err
			}
			if n == 0 {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if _, err := w.conn.ExecContext(ctx, w.db.Bind(w.prefix, "DROP TABLE IF EXISTS "+s.table)); err != nil {
			return err
		}
	}
	return nil
}
