package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/internal/sqldb"
)

const (
	// prefix stands before the names of the tables, which share the database with
	// those of the read models.
	prefix = "belltower_"
	// connections are few, as what is in memory is not asked for.
	connections = 2
	// startWait is how long opening waits for a server that doesn't answer.
	startWait = 30 * time.Second
	// callTimeout bounds one call of the server.
	callTimeout = 5 * time.Second
	// tries is how often a transaction is tried that another was in the way of, or
	// whose connection turned out to be broken.
	tries = 5
)

// The counter gives each batch its numbers, so that those of two rings differ.
const serverSchema = `
CREATE TABLE IF NOT EXISTS {keyring} (id BIGINT NOT NULL PRIMARY KEY, format BIGINT NOT NULL, secret BYTES NOT NULL, counter BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS {keys} (number BIGINT NOT NULL PRIMARY KEY, sealing BYTES NOT NULL)`

// server is the keys in a database that rings share.
type server struct {
	db    *sqldb.DB
	end   context.CancelFunc
	ended context.Context // of all calls
}

// OpenDatabase opens the keys in a database of a server, which other rings may
// use at the same time, or begins some there. Errors name the database and match
// ErrMissing, ErrNewerFormat, ErrDamaged or ErrUnavailable where that is the
// cause. Close the ring to let go of the connections.
func OpenDatabase(ctx context.Context, target sqldb.Target, opts ...Option) (*Ring, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	db, err := sqldb.Open(ctx, target, sqldb.Options{Connections: connections, Wait: startWait, IdleTransaction: 2 * callTimeout})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s := &server{db: db}
	s.ended, s.end = context.WithCancel(context.Background())
	secret, err := s.begin(ctx, o.existing)
	if err != nil {
		return nil, fmt.Errorf("open the keys in %s: %w", target, errors.Join(err, s.close()))
	}
	return newRing(s, secret), nil
}

// begin reads the secret, and makes the tables first if there are none, unless
// there have to be some.
func (s *server) begin(ctx context.Context, existing bool) (secret []byte, err error) {
	secret, err = s.secret(ctx)
	if !errors.Is(err, ErrMissing) || existing {
		return secret, err
	}
	// Others may do the same at the same time: what is there first stays.
	insert := "INSERT INTO {keyring} (id, format, secret, counter) VALUES (1, ?, ?, 0)" + s.db.OnConflict("{keyring}", []string{"id"})
	err = s.again(ctx, func(ctx context.Context) error {
		if err := s.tables(ctx); err != nil {
			return err
		}
		var left int64
		err := s.db.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT count(*) FROM {keys}")).Scan(&left)
		if err != nil {
			return err
		}
		if left > 0 {
			return s.lost(ctx, left)
		}
		_, err = s.db.ExecContext(ctx, s.db.Bind(prefix, insert), format, newSecret())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	return s.secret(ctx)
}

// tables makes the tables where they are missing.
func (s *server) tables(ctx context.Context) error {
	for _, statement := range s.db.DDL(prefix, serverSchema) {
		if _, err := s.db.ExecContext(ctx, statement); err != nil && !sqldb.Duplicate(err) {
			return err
		}
	}
	return nil
}

// lost says that there are keys and no secret, unless another ring has just put
// both there.
func (s *server) lost(ctx context.Context, left int64) error {
	var there int64
	err := s.db.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT count(*) FROM {keyring}")).Scan(&there)
	if err == nil && there == 0 {
		err = fmt.Errorf("%w: there are %d keys, and no secret with them", ErrDamaged, left)
	}
	return err
}

func (s *server) secret(ctx context.Context) (secret []byte, err error) {
	var found int64
	var stored []byte
	err = s.again(ctx, func(ctx context.Context) error {
		return s.db.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT format, secret FROM {keyring} WHERE id = 1")).Scan(&found, &stored)
	})
	switch {
	case sqldb.NoTable(err):
		return nil, fmt.Errorf("%w: the database has no table of them", ErrMissing)
	case errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("%w: the table of them is empty", ErrMissing)
	case err != nil:
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if err := checkFormat(found); err != nil {
		return nil, err
	}
	if secret, err = checkSecret(stored); err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	return secret, nil
}

func (s *server) read(number int64) (key [keySize]byte, found bool, err error) {
	var stored []byte
	err = s.again(s.ended, func(ctx context.Context) error {
		return s.db.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT sealing FROM {keys} WHERE number = ?"), number).Scan(&stored)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return key, false, nil
	case err != nil:
		return key, false, err
	case len(stored) != keySize:
		return key, false, fmt.Errorf("%w: the key has %d bytes", ErrDamaged, len(stored))
	}
	return [keySize]byte(stored), true, nil
}

func (s *server) add(keys [][keySize]byte) (first int64, err error) {
	insert := s.db.Bind(prefix, "INSERT INTO {keys} (number, sealing) VALUES "+sqldb.Values(len(keys), 2))
	err = s.again(s.ended, func(ctx context.Context) error {
		return s.transact(ctx, func(tx *sql.Tx) error {
			// The row is locked from here on, so that batches come one after another.
			if _, err := tx.ExecContext(ctx, s.db.Bind(prefix, "UPDATE {keyring} SET counter = counter + ? WHERE id = 1"), len(keys)); err != nil {
				return err
			}
			var last int64
			if err := tx.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT counter FROM {keyring} WHERE id = 1")).Scan(&last); err != nil {
				return err
			}
			first = last - int64(len(keys)) + 1
			args := make([]any, 0, 2*len(keys))
			for i := range keys {
				args = append(args, first+int64(i), keys[i][:])
			}
			_, err := tx.ExecContext(ctx, insert, args...)
			return err
		})
	})
	return first, err
}

func (s *server) erase(number int64) (found bool, err error) {
	err = s.again(s.ended, func(ctx context.Context) error {
		return s.transact(ctx, func(tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx, s.db.Bind(prefix, "UPDATE {keys} SET sealing = ? WHERE number = ?"), erased[:], number)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			found = n > 0
			return err
		})
	})
	return found, err
}

func (s *server) close() error {
	s.end()
	return s.db.Close()
}

// transact runs do in a transaction that is durable once it is committed, also
// where the server's configuration has commits not wait for the disk.
func (s *server) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if s.db.Kind() == sqldb.PostgreSQL {
		_, err = tx.ExecContext(ctx, "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'")
	}
	if err == nil {
		err = do(tx)
	}
	if err != nil {
		_ = tx.Rollback() // the error that counts is the first
		return err
	}
	return tx.Commit()
}

// again runs do, and once more where that helps. Where nothing helps now, the
// error is ErrUnavailable. Keys of a commit that nobody knows the end of are never
// used: the next try adds others.
func (s *server) again(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := do(ctx)
		passing := sqldb.Conflict(err) || sqldb.Unreachable(err)
		switch {
		case passing && try < tries && ctx.Err() == nil:
			continue
		case passing, errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
}
