package projections_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Hours counts the messages that were sent, by the hour of the day in UTC. It
// has a database of its own. Counts may be called concurrently with Follow.
type Hours struct {
	db *sql.DB
}

// OpenHours opens the counts in the file path, which is made where it is missing.
func OpenHours(ctx context.Context, path string) (*Hours, error) {
	// A transaction that was broken off may hold the file for a moment after its end.
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, fmt.Errorf("open hours: %w", err)
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS sent (hour INTEGER PRIMARY KEY, messages INTEGER NOT NULL) STRICT;
		CREATE TABLE IF NOT EXISTS checkpoint (one INTEGER PRIMARY KEY CHECK (one = 1), position TEXT NOT NULL) STRICT;`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open hours: %w", err), db.Close())
	}
	return &Hours{db}, nil
}

// Close ends the use of the database; Follow must have ended.
func (h *Hours) Close() error { return h.db.Close() }

// Follow counts what is in the log and what comes, until ctx ends or something
// fails. Called again, it goes on where it was.
func (h *Hours) Follow(ctx context.Context, store eventstore.Store, keys events.Keys) error {
	position := eventstore.Start
	var text string
	switch err := h.db.QueryRowContext(ctx, "SELECT position FROM checkpoint").Scan(&text); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return fmt.Errorf("follow hours: %w", err)
	default:
		if position, err = eventstore.ParsePosition(text); err != nil {
			return fmt.Errorf("follow hours: %w", err)
		}
	}
	facts, err := store.Subscribe(ctx, position)
	if err != nil {
		return fmt.Errorf("follow hours: %w", err)
	}
	defer facts.Close()
	for {
		batch, err := facts.Next(ctx)
		if err != nil {
			return fmt.Errorf("follow hours: %w", err)
		}
		if err := h.apply(ctx, batch, keys); err != nil {
			return fmt.Errorf("follow hours: %w", err)
		}
	}
}

// apply counts a batch: the rows and the position up to which they count move
// in one transaction, so that every fact counts once, whenever this ends.
func (h *Hours) apply(ctx context.Context, batch eventstore.Batch, keys events.Keys) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	for _, r := range batch.Records {
		if r.Stream == "lease" { // of several instances on one store: no fact
			continue
		}
		fact, err := events.Decode(keys, r.ID, r.Type, r.Data)
		if err != nil {
			return fmt.Errorf("fact at %v: %w", r.Position, err)
		}
		sent, ok := fact.(events.NotificationSent)
		if !ok {
			continue
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO sent VALUES (?, 1) ON CONFLICT (hour) DO UPDATE SET messages = messages + 1`, sent.SentTime.UTC().Hour())
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO checkpoint VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET position = excluded.position`, batch.Position.String())
	if err != nil {
		return err
	}
	return tx.Commit()
}

// Counts gives the number of messages for each hour of the day.
func (h *Hours) Counts(ctx context.Context) (counts [24]int, err error) {
	rows, err := h.db.QueryContext(ctx, "SELECT hour, messages FROM sent")
	if err != nil {
		return counts, fmt.Errorf("read hours: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var hour, messages int
		if err := rows.Scan(&hour, &messages); err != nil {
			return counts, fmt.Errorf("read hours: %w", err)
		}
		counts[hour] = messages
	}
	return counts, rows.Err()
}
