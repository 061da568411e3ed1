package reminders

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
)

// tableVersion changes with the schema or with what is put into it: a table of
// another version is built anew.
const tableVersion = 4

// table is the planner's own: the open notifications, the events that are being
// planned, and where it is in the log. It is rebuilt from the log alone. Its
// methods may be called concurrently.
type table struct {
	database
	sizes []int // how many rows one statement takes, the most first
	// load, put and remove are the statements for so many rows of open; openOfSome
	// is for so many participants.
	load, put, remove, openOfSome map[int]string
	addWork                       string
}

// database is where the table stands: in a file of this instance's own, or on a
// server, where the instances that share a store share it too. Names of tables
// stand in braces in its queries.
type database interface {
	// query hands over each row of what a query finds.
	query(ctx context.Context, query string, args []any, each func(columns)) error
	// transact runs do in one transaction. It may run it again, where another was
	// in the way.
	transact(do func(transaction) error) error
	// lead makes this instance the only one that may change a table that is shared.
	lead() error
	// shared tells whether others may change the table when this instance doesn't lead.
	shared() bool
	close() error
}

// transaction is a change of the table in the making.
type transaction interface {
	exec(query string, args ...any) error
	query(query string, args []any, each func(columns)) error
	// set gives what meta says under a name.
	set(name, value string) error
}

// columns is a row that was found.
type columns interface {
	text(i int) string
	int(i int) int64
	null(i int) bool
}

// errTaken says that another instance has changed the table since this one led:
// what this one knows of it is no longer so.
var errTaken = errors.New("another instance has taken over the planner's table")

// row is an open notification. Times are in UTC.
type row struct {
	ID, Event, Participant, Channel string
	Due                             time.Time // the scheduled time, or that of the next attempt
	Expires                         time.Time
	Boot                            string // of the claim; empty: PENDING
	Claim                           time.Duration
	Attempt                         int
	InDoubt                         bool // an attempt's outcome is unknown
	Revision                        int64
}

const columnNames = "id, event, participant, channel, due, expires, boot, claim_ms, attempt, in_doubt, revision"

func (r row) values() []any {
	return []any{
		r.ID, r.Event, r.Participant, r.Channel, r.Due.UnixMicro(), r.Expires.UnixMicro(), r.Boot, r.Claim.Milliseconds(), int64(r.Attempt), bit(r.InDoubt), r.Revision,
	}
}

func rowOf(c columns) row {
	return row{
		ID: c.text(0), Event: c.text(1), Participant: c.text(2), Channel: c.text(3),
		Due: time.UnixMicro(c.int(4)).UTC(), Expires: time.UnixMicro(c.int(5)).UTC(),
		Boot: c.text(6), Claim: milliseconds(c.int(7)), Attempt: int(c.int(8)), InDoubt: c.int(9) != 0, Revision: c.int(10),
	}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// newTable is the table in a database that speaks a dialect and takes so many
// rows in one statement, in the order of their number, the most first; 1 is the last.
func newTable(d database, dialect sqldb.Dialect, sizes ...int) *table {
	t := &table{database: d, sizes: sizes, load: map[int]string{}, put: map[int]string{}, remove: map[int]string{}, openOfSome: map[int]string{}}
	changed := []string{"due", "expires", "boot", "claim_ms", "attempt", "in_doubt", "revision"}
	for i, name := range changed {
		changed[i] = name + " = new." + name
	}
	conflict := dialect.OnConflict("{open}", []string{"id"}, changed...)
	for _, n := range sizes {
		ids := sqldb.Values(1, n)
		t.load[n] = "SELECT " + columnNames + " FROM {open} WHERE id IN " + ids
		t.put[n] = "INSERT INTO {open} (" + columnNames + ") VALUES " + sqldb.Values(n, 11) + conflict
		t.openOfSome[n] = "SELECT id, participant FROM {open} WHERE event = ? AND participant IN " + ids
		t.remove[n] = "DELETE FROM {open} WHERE id IN " + ids
	}
	t.addWork = "INSERT INTO {work} (event, participant, notification, checked, ordinal, again) VALUES (?, '', '', 0, 0, 0)" +
		dialect.OnConflict("{work}", []string{"event"}, "again = 1")
	return t
}

// portions cuts n rows into as many as statements take.
func (t *table) portions(n int, do func(from, size int) error) error {
	from := 0
	for _, size := range t.sizes {
		for ; n-from >= size; from += size {
			if err := do(from, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// change is one transaction.
type change struct {
	transaction
	t *table
}

// change runs do in one transaction.
func (t *table) change(do func(change) error) error {
	return t.transact(func(tx transaction) error { return do(change{tx, t}) })
}

// The places in the log that the table keeps: what came up to there is planned,
// and what came up to there the table shows, which may be more.
const (
	markPlanned = "planned"
	markApplied = "applied"
)

// mark gives the position of a place and the id of the fact there; Start where there is none.
func (t *table) mark(name string) (eventstore.Position, uuid.UUID, error) {
	value, err := t.meta(name)
	if err != nil || value == "" {
		return eventstore.Start, uuid.Nil, err
	}
	position, id, _ := strings.Cut(value, " ")
	p, err := eventstore.ParsePosition(position)
	if err != nil {
		return eventstore.Start, uuid.Nil, err
	}
	fact, err := uuid.Parse(id)
	return p, fact, err
}

func (c change) setMark(name string, r eventstore.Record) error {
	return c.set(name, r.Position.String()+" "+r.ID.String())
}

func (t *table) meta(name string) (value string, err error) {
	err = t.query(context.Background(), "SELECT value FROM {meta} WHERE name = ?", []any{name}, func(c columns) { value = c.text(0) })
	return value, err
}

// reset empties the table, so that it is built from the log's beginning, for
// the given channels.
func (t *table) reset(channels string) error {
	return t.change(func(c change) error {
		for _, name := range []string{"open", "work", "putoff"} {
			if name == "putoff" && t.shared() {
				continue
			}
			if err := c.exec("DELETE FROM {" + name + "}"); err != nil {
				return err
			}
		}
		for _, name := range []string{markPlanned, markApplied} {
			if err := c.set(name, ""); err != nil {
				return err
			}
		}
		return c.set("channels", channels)
	})
}

// folding gives what the table has of notifications, to fold facts into.
func (t *table) folding(ctx context.Context, ids []string) (folding, error) {
	all := make(folding, len(ids))
	err := t.portions(len(ids), func(from, size int) error {
		return t.query(ctx, t.load[size], anys(ids[from:from+size]), func(c columns) {
			r := rowOf(c)
			all[r.ID] = &folded{row: r, open: true, was: true}
		})
	})
	return all, err
}

// foldingOf gives what the table has of the notifications that facts are about.
func (t *table) foldingOf(ctx context.Context, entries []stored) (folding, error) {
	var ids []string
	listed := map[string]bool{}
	for _, entry := range entries {
		if id, ok := notificationOf(entry.Fact); ok && !listed[id] {
			ids, listed[id] = append(ids, id), true
		}
	}
	return t.folding(ctx, ids)
}

// keep puts rows into the table, in place of those of the same notifications, and
// removes others.
func (c change) keep(put []row, remove []string) error {
	err := c.t.portions(len(put), func(from, size int) error {
		args := make([]any, 0, size*11)
		for _, r := range put[from : from+size] {
			args = append(args, r.values()...)
		}
		return c.exec(c.t.put[size], args...)
	})
	if err != nil {
		return err
	}
	return c.t.portions(len(remove), func(from, size int) error {
		return c.exec(c.t.remove[size], anys(remove[from:from+size])...)
	})
}

func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}

func (t *table) rows(ctx context.Context, where string, args ...any) ([]row, error) {
	var rows []row
	err := t.query(ctx, "SELECT "+columnNames+" FROM {open} WHERE "+where, args, func(c columns) { rows = append(rows, rowOf(c)) })
	return rows, err
}

// openOfThese gives what is open for each of some participants of an event.
func (t *table) openOfThese(ctx context.Context, event string, participants []string) ([][]Open, error) {
	at := make(map[string]int, len(participants))
	for i, participant := range participants {
		at[participant] = i
	}
	open := make([][]Open, len(participants))
	err := t.portions(len(participants), func(from, size int) error {
		args := append([]any{event}, anys(participants[from:from+size])...)
		return t.query(ctx, t.openOfSome[size], args, func(c columns) {
			o := Open{NotificationID: c.text(0), ParticipantID: c.text(1)}
			open[at[o.ParticipantID]] = append(open[at[o.ParticipantID]], o)
		})
	})
	return open, err
}

// lateShare is how many of the rows that are read ahead are those that were due last.
const lateShare = 256

// due gives up to limit PENDING rows of a channel that are due at now: all, where there
// are no more. Otherwise most of them are those that were due first, and some those that were due last, so
// that what comes while very many wait doesn't wait for all of them. Events take turns,
// so that one with many holds up no other.
func (t *table) due(ctx context.Context, channel string, now time.Time, limit int) ([]row, error) {
	late := min(lateShare, limit/4)
	rows, err := t.rows(ctx, "boot = '' AND channel = ? AND due <= ? ORDER BY due LIMIT ?", channel, now.UnixMicro(), limit-late)
	if err != nil || len(rows) < limit-late || late == 0 {
		return inTurn(rows), err
	}
	last, err := t.rows(ctx, "boot = '' AND channel = ? AND due <= ? ORDER BY due DESC LIMIT ?", channel, now.UnixMicro(), late)
	if err != nil {
		return nil, err
	}
	first := make(map[string]bool, len(rows))
	for _, r := range rows {
		first[r.ID] = true
	}
	for _, r := range slices.Backward(last) {
		if !first[r.ID] {
			rows = append(rows, r)
		}
	}
	return inTurn(rows), nil
}

// inTurn lets events take turns, each row of an event behind those before it.
func inTurn(rows []row) []row {
	turns, of := make([]int, len(rows)), map[string]int{}
	order := make([]int, len(rows))
	for i, r := range rows {
		order[i], turns[i] = i, of[r.Event]
		of[r.Event]++
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(turns[a], turns[b]) })
	taken := make([]row, len(rows))
	for i, n := range order {
		taken[i] = rows[n]
	}
	return taken
}

// expired gives PENDING rows that were not sent in time.
func (t *table) expired(ctx context.Context, now time.Time, limit int) ([]row, error) {
	return t.rows(ctx, "boot = '' AND expires < ? ORDER BY expires LIMIT ?", now.UnixMicro(), limit)
}

// claimedByOthers gives rows that a process other than boot has claimed.
func (t *table) claimedByOthers(ctx context.Context, boot string, limit int) ([]row, error) {
	return t.rows(ctx, "boot <> '' AND boot <> ? LIMIT ?", boot, limit)
}

// claimedBy gives the rows that the process boot has claimed.
func (t *table) claimedBy(ctx context.Context, boot string) ([]row, error) {
	return t.rows(ctx, "boot <> '' AND boot = ?", boot)
}

// claims counts what is claimed, by whomever.
func (t *table) claims() (n int, err error) {
	err = t.query(context.Background(), "SELECT count(*) FROM {open} WHERE boot <> ''", nil, func(c columns) { n = int(c.int(0)) })
	return n, err
}

// inDoubt counts the rows of which an attempt's outcome is unknown.
func (t *table) inDoubt(ctx context.Context) (n int, err error) {
	err = t.query(ctx, "SELECT count(*) FROM {open} WHERE in_doubt <> 0", nil, func(c columns) { n = int(c.int(0)) })
	return n, err
}

// next tells when the next PENDING row of a channel becomes due after now; zero where none does.
func (t *table) next(channel string, now time.Time) (time.Time, error) {
	return t.min("SELECT min(due) FROM {open} WHERE boot = '' AND channel = ? AND due > ?", channel, now.UnixMicro())
}

// nextExpiry tells when the next PENDING row expires that hasn't yet; zero where none does.
func (t *table) nextExpiry(now time.Time) (time.Time, error) {
	return t.min("SELECT min(expires) FROM {open} WHERE boot = '' AND expires >= ?", now.UnixMicro())
}

func (t *table) min(query string, args ...any) (at time.Time, err error) {
	err = t.query(context.Background(), query, args, func(c columns) {
		if !c.null(0) {
			at = time.UnixMicro(c.int(0)).UTC()
		}
	})
	return at, err
}

// backlog tells how many PENDING rows of a channel are due and since when the first has been.
func (t *table) backlog(channel string, now time.Time) (due int, oldest time.Time, err error) {
	err = t.query(context.Background(), "SELECT count(*), min(due) FROM {open} WHERE boot = '' AND channel = ? AND due <= ?",
		[]any{channel, now.UnixMicro()}, func(c columns) {
			if due = int(c.int(0)); due > 0 {
				oldest = time.UnixMicro(c.int(1)).UTC()
			}
		})
	return due, oldest, err
}
