package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// AuditOptions is what AuditLog needs of the world.
type AuditOptions struct {
	Store    eventstore.Store
	Keys     commands.Keys
	Channels []channels.Registration
	Fallback Fallback
	Dir      string // where planner.db stands, which is only read
	Now      func() time.Time
}

// AuditProgress is how far AuditLog has come, in one of its parts.
type AuditProgress struct {
	Part        string
	Done, Total int64
}

// AuditReport is what AuditLog found. Only Holes are faults.
type AuditReport struct {
	Facts      int64  `json:"facts"`
	Events     int    `json:"events"`
	Wanted     int    `json:"wanted"`    // notifications that the events want, sent or not
	Open       int    `json:"open"`      // notifications that are not final
	Overdue    int    `json:"overdue"`   // of them, PENDING for a minute past their time
	Claimed    int    `json:"claimed"`   // of them, in doubt: the process that was sending them has ended
	Unplanned  int    `json:"unplanned"` // wanted by changes that the planner had not come to
	Planner    string `json:"planner"`   // what is to be said of planner.db
	Holes      []Hole `json:"holes"`     // the first maxHoles
	HolesInAll int    `json:"holes_in_all"`
}

func (r *AuditReport) hole(h Hole) {
	r.HolesInAll++
	if len(r.Holes) < maxHoles {
		r.Holes = append(r.Holes, h)
	}
}

// AuditLog goes through the whole log, while no process runs on it, and holds
// what each event's stream wants against the notifications' streams, and these
// against the table that the sender goes by. It writes nothing but to a temporary
// folder. An error says that it could not be done.
func AuditLog(ctx context.Context, o AuditOptions, progress func(AuditProgress)) (_ AuditReport, err error) {
	dir, err := os.MkdirTemp("", "belltower-audit-")
	if err != nil {
		return AuditReport{}, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	handler := commands.NewHandler(commands.Options{Store: o.Store, Keys: o.Keys, Now: o.Now, Channels: Kinds(o.Channels)})
	defer handler.Close()
	a := &logAudit{o: o, handler: handler, progress: progress, touched: map[string]bool{}}
	if a.anew, err = a.planner(filepath.Join(dir, "anew.db")); err != nil {
		return AuditReport{}, err
	}
	defer func() { err = errors.Join(err, a.anew.table.close()) }()
	if err := a.openKept(ctx, filepath.Join(dir, "kept.db")); err != nil {
		return AuditReport{}, err
	}
	if a.kept != nil {
		defer func() { err = errors.Join(err, a.kept.table.close()) }()
	}
	for _, part := range []func(context.Context) error{a.readLog, a.compareTables, a.compareEvents} {
		if err := part(ctx); err != nil {
			return AuditReport{}, err
		}
	}
	return a.report, nil
}

// logAudit is one AuditLog under way.
type logAudit struct {
	o        AuditOptions
	handler  *commands.Handler
	progress func(AuditProgress)
	anew     *planner // its table is made from the log alone
	kept     *planner // nil where planner.db is none to go on with; else, a copy brought to the log's end
	upTo     eventstore.Position
	events   []string
	touched  map[string]bool // behind the planner's checkpoint
	report   AuditReport
}

// planner is one that only keeps its table.
func (a *logAudit) planner(path string) (*planner, error) {
	t, err := tryTable(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &planner{
		commands: a.handler, store: a.o.Store, table: t, kinds: Kinds(a.o.Channels), fallback: a.o.Fallback, now: a.o.Now, logger: slog.New(slog.DiscardHandler),
		applied: func(eventstore.Position) {}, steered: func() {}, untold: func(context.Context, string, int) {}, whole: map[string]asked{}, changed: make(chan struct{}),
	}, nil
}

// openKept opens a copy of planner.db, where it is one to go on with.
func (a *logAudit) openKept(ctx context.Context, path string) error {
	original := filepath.Join(a.o.Dir, "planner.db")
	if _, err := os.Stat(original); errors.Is(err, os.ErrNotExist) {
		a.report.Planner = "planner.db is missing, and is made from the log at the next start"
		return nil
	}
	err := copyTable(original, path)
	if err == nil {
		a.kept, err = a.planner(path)
	}
	if damaged(err) {
		a.report.Planner = fmt.Sprintf("planner.db can't be used, and is made from the log at the next start: %v", err)
		return nil
	} else if err != nil {
		return fmt.Errorf("copy planner.db: %w", err)
	}
	usable, err := a.kept.usable(ctx, a.kept.plansFor())
	if err != nil {
		return err
	}
	if !usable {
		a.report.Planner = "planner.db was made from another log or for other channels, and is made anew at the next start"
		err := a.kept.table.close()
		a.kept = nil
		return err
	}
	position, _, err := a.kept.table.mark(markPlanned)
	if err != nil {
		return fmt.Errorf("read up to where all is planned: %w", err)
	}
	a.upTo = position
	a.report.Planner = "planner.db has come to position " + position.String()
	return nil
}

func copyTable(from, to string) (err error) {
	conn, err := sqlite.OpenConn(from, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return sqlitex.ExecuteTransient(conn, "VACUUM INTO ?", &sqlitex.ExecOptions{Args: []any{to}})
}

// readLog brings both tables to the log's end.
func (a *logAudit) readLog(ctx context.Context) error {
	end, err := a.o.Store.End(ctx)
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	subscription, err := a.o.Store.Subscribe(ctx, eventstore.Start)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer subscription.Close() //nolint:errcheck // nothing was written through it
	for {
		b, err := subscription.Next(ctx)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if err := a.apply(ctx, b.Records); err != nil {
			return err
		}
		a.report.Facts += int64(len(b.Records))
		a.progress(AuditProgress{"facts read", a.report.Facts, max(a.report.Facts, int64(end.Commit))})
		if b.CaughtUp {
			return nil
		}
	}
}

func (a *logAudit) apply(ctx context.Context, records []eventstore.Record) error {
	if len(records) == 0 {
		return nil
	}
	if _, err := a.anew.applyFacts(ctx, records); err != nil {
		return err
	}
	for _, r := range records {
		if r.Type == (events.EventScheduled{}).Name() && r.Revision == 0 {
			a.events = append(a.events, r.Stream[len(commands.EventStream("")):])
		}
	}
	behind := records
	for len(behind) > 0 && !a.upTo.Before(behind[0].Position) {
		behind = behind[1:]
	}
	if a.kept == nil || len(behind) == 0 {
		return nil
	}
	touch, err := a.kept.applyFacts(ctx, behind)
	if err != nil {
		return err
	}
	for event := range touch {
		a.touched[event] = true
	}
	return nil
}

const auditPage = 1000

// compareTables holds the table that the sender goes by against one made anew.
func (a *logAudit) compareTables(ctx context.Context) error {
	now := a.o.Now()
	err := a.each(ctx, a.anew.table, func(r row) error {
		a.report.Open++
		switch {
		case r.Boot != "":
			a.report.Claimed++
		case r.Due.Before(now.Add(-grace)):
			a.report.Overdue++
		}
		if a.kept == nil {
			return nil
		}
		rows, err := a.kept.table.rows(ctx, "id = ?", r.ID)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			a.report.hole(Hole{r.ID, r.Event, "open, and not in the planner's table"})
		} else if k := rows[0]; k.Revision != r.Revision || k.Boot != r.Boot || !k.Due.Equal(r.Due) || !k.Expires.Equal(r.Expires) || k.Channel != r.Channel {
			a.report.hole(Hole{r.ID, r.Event, "the planner's table has it otherwise than the log"})
		}
		return nil
	})
	if err != nil || a.kept == nil {
		return err
	}
	return a.each(ctx, a.kept.table, func(r row) error {
		rows, err := a.anew.table.rows(ctx, "id = ?", r.ID)
		if err == nil && len(rows) == 0 {
			a.report.hole(Hole{r.ID, r.Event, "over, and still in the planner's table"})
		}
		return err
	})
}

// each hands over a table's rows.
func (a *logAudit) each(ctx context.Context, t *table, do func(row) error) error {
	for last := ""; ; {
		rows, err := t.rows(ctx, "id > ? ORDER BY id LIMIT ?", last, auditPage)
		if err != nil {
			return fmt.Errorf("read what is open: %w", err)
		}
		for _, r := range rows {
			if err := do(r); err != nil {
				return err
			}
			last = r.ID
		}
		if len(rows) < auditPage {
			return nil
		}
	}
}

// compareEvents holds what each event wants against the notifications' streams.
func (a *logAudit) compareEvents(ctx context.Context) error {
	live := &auditor{commands: a.handler, store: a.o.Store, kinds: Kinds(a.o.Channels), fallback: a.o.Fallback, now: a.o.Now}
	for i, event := range a.events {
		wanted, _, err := live.wanted(ctx, event)
		if err != nil {
			return fmt.Errorf("look at event %s: %w", event, err)
		}
		a.report.Events++
		a.report.Wanted += len(wanted)
		planned := a.kept != nil && !a.touched[event]
		is := make(map[string]bool, len(wanted))
		for _, id := range wanted {
			is[id] = true
			n, err := live.notification(ctx, id)
			if err != nil {
				return fmt.Errorf("look at notification %s: %w", id, err)
			}
			if what := wantedYet(n); what != "" && planned {
				a.report.hole(Hole{id, event, what})
			} else if what != "" {
				a.report.Unplanned++
			}
		}
		open, err := a.anew.table.rows(ctx, "event = ? AND boot = ''", event)
		if err != nil {
			return fmt.Errorf("read what is open: %w", err)
		}
		for _, r := range open {
			if !is[r.ID] && planned {
				a.report.hole(Hole{r.ID, event, "open, and nobody wants it"})
			}
		}
		if i%100 == 99 || i == len(a.events)-1 {
			a.progress(AuditProgress{"events compared", int64(i + 1), int64(len(a.events))})
		}
	}
	return nil
}
