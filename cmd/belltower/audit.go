package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/terminal"
	"github.com/belltower/belltower/reminders"
)

func auditCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check every notification of a data folder against what its event wants",
		Long: "Goes through the whole log of a data folder that no process runs on, and holds what\n" +
			"each event wants against its notifications, and these against the table that the\n" +
			"sender goes by. Nothing in the folder is changed. A running service does the same by\n" +
			"itself, a part at each check interval: 'belltower doctor' tells what it has found.\n\n" +
			"Progress goes to standard error. Exit code 0: nothing is wrong. 1: it could not be\n" +
			"done. 3: there are holes.",
		Args: noArguments("audit"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			if s.store != embeddedStore {
				return s.refuse("store", "audit reads an embedded log; one in EventStoreDB is audited by the service that leads: see 'belltower doctor'")
			}
			return runAudit(cmd.Context(), s, asJSON, o)
		},
	}
	s.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

func runAudit(ctx context.Context, s settings, asJSON bool, o output) error {
	report, err := auditFolder(ctx, s, progressTo(o.err))
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(o.out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
	} else {
		printAudit(o.out, report)
	}
	if report.HolesInAll > 0 {
		return found(fmt.Errorf("%d holes", report.HolesInAll))
	}
	return nil
}

func auditFolder(ctx context.Context, s settings, progress func(reminders.AuditProgress)) (_ reminders.AuditReport, err error) {
	data := s.data
	registered := register(io.Discard, s)
	// Opening a log makes one where there is none, which is not what was asked for.
	if _, err := os.Stat(filepath.Join(data, "events.db")); errors.Is(err, fs.ErrNotExist) {
		return reminders.AuditReport{}, fmt.Errorf("%s holds no log", data)
	} else if err != nil {
		return reminders.AuditReport{}, fmt.Errorf("look at the data folder: %w", err)
	}
	log, err := embedded.Open(ctx, data, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, eventstore.ErrLocked) {
		return reminders.AuditReport{}, fmt.Errorf("the data folder %s is in use: stop the service first, or ask it with 'belltower doctor': %w", data, err)
	} else if err != nil {
		return reminders.AuditReport{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	ring, err := openKeys(ctx, s, log)
	if err != nil {
		return reminders.AuditReport{}, err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	return reminders.AuditLog(ctx, reminders.AuditOptions{
		Store: log, Keys: ring, Channels: registered, Fallback: s.providers.limits.fallback, Dir: data, Now: time.Now,
	}, progress)
}

// progressTo says how far an audit has come, twice a second at most and at the end of each part.
func progressTo(to io.Writer) func(reminders.AuditProgress) {
	var said time.Time
	return func(p reminders.AuditProgress) {
		if p.Done < p.Total && time.Since(said) < 500*time.Millisecond {
			return
		}
		said = time.Now()
		fmt.Fprintf(to, "%d of %d %s\n", p.Done, p.Total, p.Part) //nolint:errcheck // where standard error is gone, nobody can be told
	}
}

func printAudit(out io.Writer, r reminders.AuditReport) {
	to := &terminal.Lines{Out: out}
	to.Say("facts       %d\n", r.Facts)
	to.Say("events      %d\n", r.Events)
	to.Say("wanted      %d notifications, sent or not\n", r.Wanted)
	to.Say("open        %d", r.Open)
	if r.Overdue+r.Claimed > 0 {
		to.Say(" (%d are overdue and %d are in doubt: the next start takes them up)", r.Overdue, r.Claimed)
	}
	to.Say("\n")
	if r.Unplanned > 0 {
		to.Say("to be planned at the next start: %d\n", r.Unplanned)
	}
	to.Say("planner     %s\n", r.Planner)
	to.Say("holes       %d\n", r.HolesInAll)
	for _, h := range r.Holes {
		to.Say("  notification %s of event %s: %s\n", h.NotificationID, h.EventID, h.What)
	}
	if r.HolesInAll > 0 {
		to.Say("Where the planner's table is at fault, delete planner.db while the service is stopped: it is made\n" +
			"anew from the log. Please report what happened: a hole is always a fault of Belltower's.\n")
	}
}
