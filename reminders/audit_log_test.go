package reminders

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/commands"
)

// auditLog audits what a world has left, with nothing running.
func (w *world) auditLog() AuditReport {
	w.t.Helper()
	said := 0
	report, err := AuditLog(w.t.Context(), AuditOptions{
		Store: w.store, Keys: w.ring, Channels: w.registrations(), Dir: w.dir, Now: w.now,
	}, func(AuditProgress) { said++ })
	require.NoError(w.t, err)
	require.Positive(w.t, said)
	return report
}

// afterwards changes the planner's table while nothing runs.
func (w *world) afterwards(query string) {
	w.t.Helper()
	table, err := tryTable(filepath.Join(w.dir, "planner.db"))
	require.NoError(w.t, err)
	require.NoError(w.t, table.change(func(c change) error { return c.exec(query) }))
	require.NoError(w.t, table.close())
}

func TestAuditLog(t *testing.T) {
	for name, c := range map[string]struct {
		running func(w *world) // before it is stopped
		stopped func(w *world)
		holes   string // what is said of the first; empty: there is none
		check   func(t *testing.T, r AuditReport)
	}{
		"as it is to be": {check: func(t *testing.T, r AuditReport) {
			require.Equal(t, []int{1, 1, 1, 0, 0, 0}, []int{r.Events, r.Wanted, r.Open, r.Overdue, r.Claimed, r.Unplanned})
			require.Contains(t, r.Planner, "has come to position 4")
		}},
		"overdue": {stopped: func(*world) { at(time.Hour + 2*time.Minute) }, check: func(t *testing.T, r AuditReport) {
			require.Equal(t, 1, r.Overdue, "it waits for the next start")
		}},
		"a removed row":     {stopped: func(w *world) { w.afterwards("DELETE FROM open") }, holes: "not in the planner's table"},
		"a lost timer":      {stopped: func(w *world) { w.afterwards("UPDATE open SET due = due + 1") }, holes: "otherwise than the log"},
		"a row of the past": {running: func(w *world) { at(61 * time.Minute) }, stopped: func(w *world) { w.afterwards("INSERT INTO open VALUES ('x', 'e', 'p', 'email', 0, 0, '', 0, 0, 0, 0)") }, holes: "still in the planner's table"},
		"cancelled though wanted": {running: func(w *world) {
			do(w, commands.CancelNotification{NotificationID: w.only().ID, Reason: "removed"})
			at(2 * time.Minute)
		}, holes: "wanted, and cancelled"},
		"never scheduled": {stopped: func(w *world) {
			w.unplanned()
			log := w.log()
			table, err := tryTable(filepath.Join(w.dir, "planner.db"))
			require.NoError(w.t, err)
			require.NoError(w.t, table.change(func(c change) error { return c.setMark(markPlanned, log[len(log)-1].Record) }))
			require.NoError(w.t, table.close())
		}, holes: "wanted, and not scheduled"},
		"not planned yet": {stopped: (*world).unplanned, check: func(t *testing.T, r AuditReport) {
			require.Equal(t, 1, r.Unplanned)
		}},
		"without a table": {stopped: func(w *world) { (&player{world: w}).loseTable() }, check: func(t *testing.T, r AuditReport) {
			require.Contains(t, r.Planner, "missing")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(time.Minute)
				if c.running != nil {
					c.running(w)
				}
				w.stop()
				defer w.start()
				if c.stopped != nil {
					c.stopped(w)
				}
				report := w.auditLog()
				if c.holes == "" {
					require.Empty(t, report.Holes)
				} else {
					require.Equal(t, 1, report.HolesInAll)
					require.Contains(t, report.Holes[0].What, c.holes)
				}
				if c.check != nil {
					c.check(t, report)
				}
			})
		})
	}
}

// unplanned registers somebody while no planner runs.
func (w *world) unplanned() {
	w.t.Helper()
	w.handler = commands.NewHandler(commands.Options{Store: w.store, Keys: w.ring, Now: w.now, Channels: Kinds(w.registrations())})
	defer w.handler.Close()
	w.register("bob")
}
