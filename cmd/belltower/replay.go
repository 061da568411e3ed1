package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/cli"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/terminal"
)

// intoVariable gives --into where its password is to be seen by nobody.
const intoVariable = "BELLTOWER_REPLAY_INTO"

// replay is one run of the command.
type replay struct {
	settings   settings
	env        map[string]string
	connection cli.Connection
	projection string // empty: all
	until      string // as given
	into       string // as given
	verify     bool
	asJSON     bool
	out        output
	cmd        *cobra.Command

	names  []string            // of projections, in order
	end    eventstore.Position // of until, where it is a position
	time   time.Time           // of until, where it is a time
	target sqldb.Target        // of into
}

// replayed is what came of one projection.
type replayed struct {
	Projection       string               `json:"projection"`
	Purpose          string               `json:"purpose"` // "rebuild", "verify" or "into"
	Facts            int64                `json:"facts"`
	Seconds          float64              `json:"seconds"`
	RowsCompared     int64                `json:"rows_compared,omitempty"`
	DifferencesInAll int64                `json:"differences_in_all"`
	Differences      []rowdiff.Difference `json:"differences,omitempty"` // the first of them
}

func replayCommand(env []string, o output) *cobra.Command {
	r := &replay{env: environment(env), out: o}
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Build projections anew from the log, or verify them",
		Long: "Builds projections from the beginning of the log, beside what is there, which goes on\n" +
			"answering, and then puts them in its place in one transaction. Where a service runs on\n" +
			"the data folder, or --url names one, it is asked to do so, by the administrator's\n" +
			"token; where read models are on a server that instances share, this process does it\n" +
			"while they go on. A replay that is interrupted changes nothing.\n\n" +
			"With --verify they are compared row by row with what is there, at the same position,\n" +
			"and what differs is named; personal data is hidden. With --into the read models are\n" +
			"built in another database, which is empty or holds an earlier replay. --until ends\n" +
			"either of them at a position of the log, as 'belltower stats --json' shows it, or at\n" +
			"a time (RFC 3339), both inclusive.\n\n" +
			"Progress goes to standard error. Exit code 0: it is done, and nothing differs. 1: it\n" +
			"could not be done. 2: a wrong flag or argument. 3: --verify has found a difference.\n" +
			"4, 5: a running service refused, or could not be reached.",
		Args: noArguments("replay"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.settings.resolve(cmd.Flags(), r.env); err != nil {
				return err
			}
			r.cmd = cmd
			if err := r.check(); err != nil {
				return err
			}
			return r.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	r.settings.register(flags)
	r.connection.Register(flags)
	flags.StringVar(&r.projection, "projection", "", "the one to build: "+strings.Join(projectionNames, " or ")+" (default: all)")
	flags.StringVar(&r.until, "until", "", "last position, or time as in RFC 3339, that is taken (default: all)")
	setting{"into", intoVariable, "", "database to build the read models in: a SQLite file, postgres://… or mysql://…; set one with a password by the variable", &r.into}.register(flags, r.env)
	flags.BoolVar(&r.verify, "verify", false, "compare with what is there, and change nothing")
	flags.BoolVar(&r.asJSON, "json", false, "print what came of it as JSON")
	return cmd
}

var projectionNames = []string{httpapi.ReadModels, httpapi.Planner}

// check refuses flags that can't be, or can't be together.
func (r *replay) check() (err error) {
	switch {
	case r.projection == "" && r.settings.store != embeddedStore && r.settings.rows.Shared():
		r.names = []string{httpapi.ReadModels} // the planner's table is changed by who leads alone
	case r.projection == "":
		r.names = projectionNames
	case slices.Contains(projectionNames, r.projection):
		r.names = []string{r.projection}
	default:
		return usage(fmt.Errorf("--projection: there is none with the name %q; there are: %s", r.projection, strings.Join(projectionNames, ", ")))
	}
	if r.into != "" && r.verify {
		return usage(errors.New("--into and --verify ask for two things: give one"))
	}
	if r.into != "" {
		if r.target, err = intoTarget(r.into); err != nil {
			return usage(fmt.Errorf("--into (%s): %w", intoVariable, err))
		}
		if r.target.Path() != "" && sameFile(r.target.Path(), filepath.Join(r.settings.data, "read.db")) {
			return usage(fmt.Errorf("--into (%s): that is where the service has its read models", intoVariable))
		}
	}
	if r.until != "" {
		if !r.verify && r.into == "" {
			return usage(errors.New("--until: what ends before the log does is put in nobody's place: give --into or --verify too"))
		}
		if r.end, r.time, err = untilOf(r.until); err != nil {
			return usage(fmt.Errorf("--until: %w", err))
		}
	}
	if r.into != "" || r.until != "" {
		if r.projection == httpapi.Planner {
			return usage(errors.New("--into and --until are for the read models: what is planned is always of the log's end"))
		}
		r.names = []string{httpapi.ReadModels}
	}
	return nil
}

// sameFile tells whether two paths lead to one file that is there.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// intoTarget reads --into: a server, or a file.
func intoTarget(text string) (sqldb.Target, error) {
	if strings.Contains(text, "://") {
		return sqldb.Parse(text)
	}
	if text == string(sqldb.SQLite) {
		return sqldb.Target{}, errors.New("it names no file; one that is called sqlite is ./sqlite")
	}
	return sqldb.File(text), nil
}

// untilOf reads --until: a position or a time.
func untilOf(text string) (eventstore.Position, time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return eventstore.Start, at, nil
	}
	p, err := eventstore.ParsePosition(text)
	if err != nil || p == eventstore.Start {
		return eventstore.Start, time.Time{}, fmt.Errorf("%q is neither a position such as 1234 nor a time such as 2031-05-06T07:00:00Z", text)
	}
	return p, time.Time{}, nil
}

// purpose is what is done, as a running service calls it too.
func (r *replay) purpose() string {
	switch {
	case r.verify:
		return "verify"
	case r.into != "":
		return "into"
	}
	return "rebuild"
}

func (r *replay) run(ctx context.Context) error {
	how, err := r.way(ctx)
	if err != nil {
		return err
	}
	var all []replayed
	for _, name := range r.names {
		began := time.Now()
		done := replayed{Projection: name, Purpose: r.purpose()}
		err := r.shown(name, func(progress func(facts int64, part float64)) error {
			return how.replay(ctx, &done, progress)
		})
		if err != nil {
			return errors.Join(err, how.close())
		}
		done.Seconds = time.Since(began).Seconds()
		all = append(all, done)
		if !r.asJSON {
			done.print(&terminal.Lines{Out: r.out.out})
		}
	}
	if err := how.close(); err != nil {
		return err
	}
	if r.asJSON {
		encoder := json.NewEncoder(r.out.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(all); err != nil {
			return fmt.Errorf("print what came of it: %w", err)
		}
	}
	differences := int64(0)
	for _, one := range all {
		differences += one.DifferencesInAll
	}
	if differences > 0 {
		return found(fmt.Errorf("%d differences", differences))
	}
	return nil
}

// oneSecond is how often progress is told where there is no terminal.
const oneSecond = time.Second

// shown runs work with its progress on standard error.
func (r *replay) shown(name string, work func(progress func(facts int64, part float64)) error) error {
	columns := terminal.Columns(r.out.err)
	far := &progressOf{meter: terminal.NewMeter("facts", time.Now(), 0, 0)}
	beside := columns
	if columns > 0 {
		beside = max(columns-len(name)-2, 1)
	}
	stop := terminal.Progress(r.out.err, columns, oneSecond, func() string { return name + ": " + far.line(beside) })
	defer stop()
	return work(far.set)
}

func (d replayed) print(to *terminal.Lines) {
	to.Say("%-12s ", d.Projection)
	switch d.Purpose {
	case "verify":
		to.Say("verified: %d facts, %d rows compared, %d differences, %.1f s\n", d.Facts, d.RowsCompared, d.DifferencesInAll, d.Seconds)
	case "into":
		to.Say("built: %d facts, %.1f s\n", d.Facts, d.Seconds)
	default:
		to.Say("built anew: %d facts, %.1f s\n", d.Facts, d.Seconds)
	}
	for _, one := range d.Differences {
		to.Say("  %s\n", one)
	}
	if more := d.DifferencesInAll - int64(len(d.Differences)); more > 0 {
		to.Say("  and %d more\n", more)
	}
}

// note keeps a difference, if it is among the first.
func (d *replayed) note(one rowdiff.Difference) error {
	d.DifferencesInAll++
	if len(d.Differences) < maxDifferences {
		d.Differences = append(d.Differences, one)
	}
	return nil
}
