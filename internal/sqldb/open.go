package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// DB is an open database. Its connections are in UTC, its text is UTF-8, and a
// statement sees what was committed before it began.
type DB struct {
	*sql.DB
	Dialect
	Target Target
	// Version is what the database calls itself.
	Version string
}

// Options are how a database is opened.
type Options struct {
	// Connections bounds how many are open at once; 0: 4.
	Connections int
	// Together lets several statements be sent at once, which makes one that is
	// put together from what others say more dangerous.
	Together bool
	// Pragmas are SQLite's, such as journal_mode(WAL).
	Pragmas []string
	// VFS is SQLite's way to files, by name; empty: its own.
	VFS string
	// Wait is how long a server that can't be reached is waited for.
	Wait time.Duration
	// IdleTransaction ends a session that leaves a transaction open so long, on
	// servers that can: PostgreSQL and MariaDB. 0: never.
	IdleTransaction time.Duration
	// ReadOnly changes nothing of a SQLite file, not even what a killed process has
	// left beside it: the file is looked at as it is. On a server it has no meaning.
	ReadOnly bool
}

// Open connects to a database. Where a server can't be reached, the error is Unreachable.
func Open(ctx context.Context, t Target, o Options) (*DB, error) {
	if o.Connections == 0 {
		o.Connections = 4
	}
	until := time.Now().Add(o.Wait)
	for {
		db, err := open(ctx, t, o)
		if err == nil {
			db.SetMaxOpenConns(o.Connections)
			db.SetMaxIdleConns(o.Connections)
			if t.Shared() {
				db.SetConnMaxIdleTime(5 * time.Minute)
			}
			return db, nil
		}
		if !Unreachable(err) || !time.Now().Before(until) {
			return nil, fmt.Errorf("open %s: %w", t, t.mask(err))
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("open %s: %w", t, errors.Join(ctx.Err(), t.mask(err)))
		}
	}
}

func open(ctx context.Context, t Target, o Options) (*DB, error) {
	switch t.kind {
	case SQLite:
		return openSQLite(ctx, t, o)
	case PostgreSQL:
		return openPostgreSQL(ctx, t, o)
	case MySQL:
		return openMySQL(ctx, t, o)
	}
	return nil, errors.New("no database is named")
}

func openSQLite(ctx context.Context, t Target, o Options) (*DB, error) {
	if t.path == "" {
		return nil, errors.New("no file is named")
	}
	query := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, o.Pragmas...)}
	if o.VFS != "" {
		query.Set("vfs", o.VFS)
	}
	if o.ReadOnly {
		query.Set("mode", "ro")
		if _, err := os.Stat(t.path + "-wal"); errors.Is(err, os.ErrNotExist) { // nobody has it open
			query.Set("immutable", "1")
		}
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: t.path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	return ask(ctx, db, "SELECT 'SQLite ' || sqlite_version()", DB{Dialect: newDialect(SQLite, false), Target: t})
}

func openPostgreSQL(ctx context.Context, t Target, o Options) (*DB, error) {
	c, err := pgx.ParseConfig(t.url.String())
	if err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTime
	}
	set := c.RuntimeParams
	set["timezone"], set["client_encoding"], set["default_transaction_isolation"] = "UTC", "UTF8", "read committed"
	if set["application_name"] == "" {
		set["application_name"] = "belltower"
	}
	if o.IdleTransaction > 0 {
		set["idle_in_transaction_session_timeout"] = fmt.Sprint(o.IdleTransaction.Milliseconds())
	}
	db, err := ask(ctx, stdlib.OpenDB(*c), "SELECT 'PostgreSQL ' || current_setting('server_version')", DB{Dialect: newDialect(PostgreSQL, false), Target: t})
	if err != nil {
		return nil, err
	}
	var encoding string
	if err = checkVersion(PostgreSQL, strings.TrimPrefix(db.Version, "PostgreSQL ")); err == nil {
		err = db.QueryRowContext(ctx, "SELECT getdatabaseencoding()").Scan(&encoding)
	}
	if err == nil && encoding != "UTF8" {
		err = fmt.Errorf("its encoding is %s and must be UTF8", encoding)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func openMySQL(ctx context.Context, t Target, o Options) (*DB, error) {
	c, err := t.mysql()
	if err != nil {
		return nil, err
	}
	c.Timeout = connectTime
	c.ClientFoundRows = true   // an UPDATE counts the rows it finds, as elsewhere
	c.InterpolateParams = true // one trip to the server instead of three
	c.Logger = &mysql.NopLogger{}
	c.MaxAllowedPacket = 0 // as large as the server takes
	c.MultiStatements = o.Together
	version, err := versionOfMySQL(ctx, c)
	if err == nil {
		err = checkVersion(MySQL, version)
	}
	if err != nil {
		return nil, err
	}
	d := newDialect(MySQL, strings.Contains(version, "MariaDB"))
	c.Params = map[string]string{
		"sql_mode":  "'ANSI_QUOTES,STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
		"time_zone": "'+00:00'",
	}
	isolation := "transaction_isolation"
	if d.mariadb {
		isolation = "tx_isolation"
		if o.IdleTransaction > 0 {
			c.Params["idle_transaction_timeout"] = fmt.Sprint(int(max(1, o.IdleTransaction.Seconds())))
		}
	}
	c.Params[isolation] = "'READ-COMMITTED'"
	c.Params["collation_connection"] = "'" + d.collation() + "'"
	if err := c.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return ask(ctx, sql.OpenDB(connector), "SELECT concat('MySQL ', version())", DB{Dialect: d, Target: t})
}

// connectTime bounds how long connecting to a server takes.
const connectTime = 5 * time.Second

func versionOfMySQL(ctx context.Context, c *mysql.Config) (version string, err error) {
	connector, err := mysql.NewConnector(c.Clone())
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	err = db.QueryRowContext(ctx, "SELECT version()").Scan(&version)
	return version, errors.Join(err, db.Close())
}

func ask(ctx context.Context, db *sql.DB, version string, out DB) (*DB, error) {
	out.DB = db
	if err := db.QueryRowContext(ctx, version).Scan(&out.Version); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &out, nil
}

// masked is an error whose text has no password in it.
type masked struct {
	error
	text string
}

func (m masked) Error() string { return m.text }
func (m masked) Unwrap() error { return m.error }

func (t Target) mask(err error) error {
	if text := t.hide(err.Error()); text != err.Error() {
		return masked{err, text}
	}
	return err
}

// Snapshot runs read on one state of the database.
func (d *DB) Snapshot(ctx context.Context, read func(*sql.Tx) error) error {
	o := &sql.TxOptions{ReadOnly: true}
	if d.kind != SQLite { // whose transactions are that
		o.Isolation = sql.LevelRepeatableRead
	}
	tx, err := d.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	err = read(tx)
	if end := tx.Rollback(); err == nil && !errors.Is(end, sql.ErrTxDone) {
		err = end
	}
	return err
}
