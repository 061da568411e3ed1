package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/projections"
)

// rebuilt makes the planner's table and the read models anew from the log, and
// holds them against those that came about step by step.
func (s *sim) rebuilt(dir string) (wrong []string) {
	compare := func(what string, before, after []string) {
		gone, come := without(before, after), without(after, before)
		if len(gone)+len(come) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: built step by step\n  %s\nbuilt anew\n  %s", what,
				strings.Join(gone[:min(5, len(gone))], "\n  "), strings.Join(come[:min(5, len(come))], "\n  ")))
		}
	}
	ctx := context.Background()
	models, err := projections.Open(ctx, dir, projections.Options{Store: s.store, Keys: s.ring, Now: s.now, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	following, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = models.Follow(following)
	}()
	last, err := s.store.End(ctx)
	must(err)
	must(models.WaitFor(ctx, last))
	time.Sleep(time.Minute) // what is deleted is swept
	end()
	<-done
	must(models.Close())
	compare("read models", dumpTables(filepath.Join(s.dir, "read.db")), dumpTables(filepath.Join(dir, "read.db")))

	// What is due after the end stays as it is: nothing is sent while it is planned.
	const open = "SELECT id, event, participant, channel, due, expires, boot, revision FROM open ORDER BY id"
	before, facts := dumpRows(filepath.Join(s.dir, "planner.db"), open), s.oracle.facts
	s.loseTable()
	s.start()
	p := s.process
	if wrong := s.run(func() bool { return time.Since(p.up) > 20*time.Second }); len(wrong) > 0 {
		return wrong
	}
	s.over()
	compare("the planner's table", before, dumpRows(filepath.Join(s.dir, "planner.db"), open))
	if s.oracle.faults(); s.oracle.facts != facts {
		wrong = append(wrong, fmt.Sprintf("planning again appended %d facts", s.oracle.facts-facts))
	}
	return wrong
}

// without gives what all has and others don't.
func without(all, others []string) (only []string) {
	there := map[string]int{}
	for _, o := range others {
		there[o]++
	}
	for _, a := range all {
		if there[a]--; there[a] < 0 {
			only = append(only, a)
		}
	}
	return only
}

func dumpTables(path string) (rows []string) {
	for _, table := range dumpRows(path, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'generations' ORDER BY name") {
		for _, row := range dumpRows(path, "SELECT * FROM "+table) {
			rows = append(rows, table+": "+row)
		}
	}
	return rows
}

func dumpRows(path, query string) (rows []string) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	must(err)
	defer func() { must(conn.Close()) }()
	must(sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(row *sqlite.Stmt) error {
		var columns []string
		for i := range row.ColumnCount() {
			columns = append(columns, row.ColumnText(i))
		}
		rows = append(rows, strings.Join(columns, " | "))
		return nil
	}}))
	return rows
}
