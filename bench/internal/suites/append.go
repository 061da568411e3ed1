package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/bench/internal/bare"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
)

const (
	bareSQLite = "bare SQLite loop"
	rawFile    = "raw file"
	factBytes  = 550 // of a fact, about what they have in practice
	maxCallers = 256

	bothLogs = "both"
	emptyLog = "empty"
	fullLog  = "full"
)

var appendCallers = []int{1, 8, 64, maxCallers}

// appends is durable appends of one fact each to the embedded log. Beside it
// stand SQLite with the log's table, settings and kind of sync, filled by one loop
// with half as many rows to a transaction as there are callers (as many share a
// sync in a group commit: the other half arrives while the disk is busy), and the
// same bytes put behind a file with as many to an fdatasync.
var appends = Suite{
	Name:  "append",
	About: "durable appends to the embedded log beside SQLite in a bare loop and a raw file",
	Sizes: func(z *Sizes) Begin {
		long := z.span("each", 2*time.Second, 50*time.Millisecond, "how long each case is measured")
		full := z.count("facts", 1_000_000, 2_000, "facts in the log that isn't empty")
		logs := z.choice("logs", "logs to append to: both, the empty one, or the one with facts", bothLogs, emptyLog, fullLog)
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			syncDataOnly()
			a := appending{l, *long, *full, *logs}
			var goals []measure.Goal
			for _, c := range a.cases() {
				goals = append(goals, measure.Goal{Case: c.name(), Figure: "answered", Beside: bareSQLite, Must: 0.8, Aim: 1})
			}
			if a.logs == bothLogs { // no decay: at 64 callers the full log is as fast as the empty one
				goals = append(goals, measure.Goal{Case: "64 callers", Figure: "full ÷ empty, new streams", Must: 0.9, Aim: 1})
			}
			return []measure.Contender{{Name: ourName, Run: a.ours}, {Name: bareSQLite, Run: a.sqlite}, {Name: rawFile, Run: a.raw}}, goals, nil
		}
	},
}

type appending struct {
	lab  *lab.Lab
	long time.Duration
	full int
	logs string
}

// appendCase is a row of the table.
type appendCase struct {
	facts, callers int
	existing       bool // streams
}

func callersName(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprint(n, " callers")
}

func (c appendCase) name() string {
	streams := "new"
	if c.existing {
		streams = "existing"
	}
	return fmt.Sprintf("%s, %s streams, %d facts before", callersName(c.callers), streams, c.facts)
}

// facts are how many there are before, for each of the logs.
func (a appending) facts() []int {
	switch a.logs {
	case emptyLog:
		return []int{0}
	case fullLog:
		return []int{a.full}
	}
	return []int{0, a.full}
}

func (a appending) cases() (all []appendCase) {
	for _, facts := range a.facts() {
		for _, callers := range appendCallers {
			for _, existing := range []bool{false, true} {
				all = append(all, appendCase{facts, callers, existing})
			}
		}
	}
	return all
}

// fact makes a record with a random id and with data that SQLite takes as JSON.
func fact() eventstore.NewRecord {
	r := eventstore.NewRecord{
		ID: uuid.New(), Type: "ParticipantRegistered",
		Metadata: fmt.Appendf(nil, `{"actor":"bench","$correlationId":%q,"$causationId":%q}`, uuid.New(), uuid.New()),
	}
	r.Data = slices.Repeat([]byte{'x'}, factBytes-len(r.Type)-len(r.Metadata))
	r.Data[0], r.Data[len(r.Data)-1] = '"', '"'
	return r
}

// eachCase has cases measured on logs that open makes, a new one for each case
// that begins with an empty log and one for all others.
func (a appending) eachCase(ctx context.Context, measureCase func(ctx context.Context, c appendCase, dir string) (load.Answered, error), fill func(ctx context.Context, dir string) error) (figures []measure.Figure, err error) {
	var full string
	if a.logs != emptyLog {
		if full, err = a.lab.Folder("log"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(full)) }()
		a.lab.Progress("filling a log with %d facts", a.full)
		if err := fill(ctx, full); err != nil {
			return nil, fmt.Errorf("fill the log: %w", err)
		}
	}
	rates := map[appendCase]float64{}
	for _, c := range a.cases() {
		dir := full
		if c.facts == 0 {
			if dir, err = a.lab.Folder("log"); err != nil {
				return nil, err
			}
		}
		answered, err := measureCase(ctx, c, dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
		if c.facts == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
		}
		got := answered.Figures(c.name())
		figures = append(figures, got...)
		rates[c] = got[0].Value
	}
	if a.logs != bothLogs {
		return figures, nil
	}
	for _, callers := range appendCallers {
		figures = append(figures, measure.Figure{Case: callersName(callers), Name: "full ÷ empty, new streams",
			Value: rates[appendCase{a.full, callers, false}] / rates[appendCase{0, callers, false}]})
	}
	return figures, nil
}

func (a appending) ours(ctx context.Context) ([]measure.Figure, error) {
	return a.eachCase(ctx, a.embedded, func(ctx context.Context, dir string) error {
		log, err := embedded.Open(ctx, dir, embedded.Options{})
		if err != nil {
			return err
		}
		const streams = 10 // facts of a stream
		_, err = load.Times(ctx, 8, (a.full+streams-1)/streams, func(ctx context.Context, _, _ int) error {
			records := make([]eventstore.NewRecord, streams)
			for i := range records {
				records[i] = fact()
			}
			_, err := log.Append(ctx, "event-"+uuid.NewString(), eventstore.NoStream, records)
			return err
		})
		return errors.Join(err, log.Close())
	})
}

func (a appending) embedded(ctx context.Context, c appendCase, dir string) (answered load.Answered, err error) {
	log, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		return answered, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	// Each caller goes round streams of its own.
	const own = 16
	type place struct {
		stream   string
		revision int64
	}
	places := make([][own]place, c.callers)
	if c.existing {
		if _, err := load.Times(ctx, maxCallers, c.callers*own, func(ctx context.Context, _, n int) error {
			p := &places[n/own][n%own]
			p.stream = "event-" + uuid.NewString()
			_, err := log.Append(ctx, p.stream, eventstore.NoStream, []eventstore.NewRecord{fact()})
			return err
		}); err != nil {
			return answered, err
		}
	}
	turns := make([]int, c.callers)
	return load.During(ctx, c.callers, a.long, func(ctx context.Context, caller, _ int) error {
		if !c.existing {
			_, err := log.Append(ctx, "event-"+uuid.NewString(), eventstore.NoStream, []eventstore.NewRecord{fact()})
			return err
		}
		at := &places[caller][turns[caller]%own]
		turns[caller]++
		_, err := log.Append(ctx, at.stream, at.revision, []eventstore.NewRecord{fact()})
		at.revision++
		return err
	})
}

// raw puts facts behind a file. Neither streams nor what is in it before make a
// difference to it, so they are measured only once.
func (a appending) raw(ctx context.Context) (figures []measure.Figure, err error) {
	dir, err := a.lab.Folder("raw")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	rates := map[int]float64{}
	for _, callers := range appendCallers {
		rows := max(1, callers/2)
		var written atomic.Int64
		var buffer []byte
		answered, err := load.During(ctx, 1, a.long, func(context.Context, int, int) error {
			buffer = buffer[:0]
			for range rows {
				r := fact()
				buffer = append(buffer, r.ID[:]...)
				buffer = append(buffer, r.Type...)
				buffer = append(buffer, r.Data...)
				buffer = append(buffer, r.Metadata...)
			}
			written.Add(int64(rows))
			if _, err := file.Write(buffer); err != nil {
				return err
			}
			return bare.SyncData(file)
		})
		if err != nil {
			return nil, err
		}
		rates[callers] = float64(written.Load()) / answered.Elapsed.Seconds()
	}
	for _, c := range a.cases() {
		figures = append(figures, measure.Figure{Case: c.name(), Name: "answered", Unit: "1/s", Value: rates[c.callers]})
	}
	return figures, nil
}
