package projections

import (
	"context"
	"time"

	"github.com/belltower/belltower/internal/sqldb"
)

// On a database that others use too, one projects into a generation at a time:
// who holds its lease, by the database's own clock. The checkpoint, which moves
// in the transaction of the rows, keeps the rows right when two believe that they do.
const (
	leaseTime  = 2500 * time.Millisecond // that a lease is held without being renewed
	renewEvery = 800 * time.Millisecond
	askEvery   = 500 * time.Millisecond // whether another one's lease has run out
)

// acquire takes the lease of w's generation for holder, where nobody has it.
// The session of the one who let it run out may stand in a transaction: it is ended.
func (w *writer) acquire(holder string) (held bool, err error) {
	var session, before int64
	ask := map[sqldb.Kind]string{sqldb.PostgreSQL: "SELECT pg_backend_pid()", sqldb.MySQL: "SELECT connection_id()", sqldb.SQLite: "SELECT 0"}
	if err := w.row(ask[w.db.Kind()]).Scan(&session); err != nil {
		return false, err
	}
	if err := w.row("SELECT session FROM generations WHERE generation = ?", w.generation).Scan(&before); err != nil {
		return false, err
	}
	n, err := w.exec("UPDATE generations SET holder = ?, session = ?, held_until = "+w.db.Now()+" + ?, used_at = "+w.db.Now()+
		", caught_up = 0 WHERE generation = ? AND (holder = ? OR held_until < "+w.db.Now()+")",
		holder, session, leaseTime.Microseconds(), w.generation, holder)
	if err != nil || n != 1 {
		return false, err
	}
	if w.db.Kind() == sqldb.MySQL && before != 0 && before != session {
		_, _ = w.exec("KILL ?", before) // it is gone already, as a rule; PostgreSQL ends idle transactions by itself
	}
	return true, nil
}

// leaseNews is what the holder of a lease tells the others.
type leaseNews struct {
	caughtUp bool
	failure  string
}

// renew keeps the lease; held is false when another one has it.
func (d *Database) renew(ctx context.Context, generation int64, holder string, news leaseNews) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	caughtUp := 0
	if news.caughtUp {
		caughtUp = 1
	}
	r, err := d.writing.ExecContext(ctx, d.writing.Bind("", "UPDATE generations SET held_until = "+d.writing.Now()+" + ?, used_at = "+d.writing.Now()+
		", caught_up = ?, failure = ? WHERE generation = ? AND holder = ?"),
		leaseTime.Microseconds(), caughtUp, news.failure, generation, holder)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// release gives the lease up, so that another one needn't wait for its end.
func (d *Database) release(ctx context.Context, generation int64, holder string) error {
	_, err := d.writing.ExecContext(ctx, d.writing.Bind("", "UPDATE generations SET held_until = 0, session = 0 WHERE generation = ? AND holder = ?"),
		generation, holder)
	return err
}

// touch says that a generation is in use.
func (d *Database) touch(ctx context.Context, generation int64) error {
	_, err := d.writing.ExecContext(ctx, d.writing.Bind("", "UPDATE generations SET used_at = "+d.writing.Now()+" WHERE generation = ?"), generation)
	return err
}
