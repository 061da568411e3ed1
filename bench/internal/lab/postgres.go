package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/belltower/belltower/bench/internal/measure"
)

// Postgres is a PostgreSQL server in a folder of the lab, with the settings that
// initdb makes: fsync and synchronous_commit are on.
type Postgres struct {
	process *Process
	port    int
}

// Database makes an empty database and gives its URL, and what removes it. The
// server is started the first time; measure.ErrMissing where there is none.
func (l *Lab) Database(ctx context.Context) (url string, drop func() error, err error) {
	p, err := l.postgres(ctx)
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(rand.Text())
	if err := p.admin(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	return p.url(name), func() error {
		// The checkpoint is there so that no other contender waits for what this one has left.
		ctx := context.WithoutCancel(ctx)
		return errors.Join(p.admin(ctx, "DROP DATABASE "+name+" WITH (FORCE)"), p.admin(ctx, "CHECKPOINT"))
	}, nil
}

func (p *Postgres) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

func (p *Postgres) admin(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err == nil {
		_, err = conn.Exec(ctx, statement)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// postgresPrograms finds the folder of initdb and postgres: in PATH, or where
// Debian and Red Hat put them, the newest version first.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("find initdb: %w", err)
		}
		found = append(found, paths...)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL (initdb) is %w: install postgresql", measure.ErrMissing)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Trim(filepath.Base(filepath.Dir(filepath.Dir(path))), "pgsql-"))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func (l *Lab) startPostgres(ctx context.Context) (*Postgres, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	l.Progress("starting PostgreSQL of %s", programs)
	dir, err := l.Folder("postgres")
	if err != nil {
		return nil, err
	}
	run, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := Command(ctx, filepath.Join(programs, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	run(initdb)
	if _, err := output(initdb); err != nil {
		return nil, fmt.Errorf("make a PostgreSQL cluster: %w", err)
	}
	for try := 1; ; try++ {
		p, err := l.servePostgres(ctx, programs, dir, run)
		if err == nil {
			l.OnClose(func() error { return p.process.Stop(syscall.SIGINT) })
			return p, nil
		}
		if try == 5 || ctx.Err() != nil { // else another may have taken the port
			return nil, err
		}
	}
}

func (l *Lab) servePostgres(ctx context.Context, programs, dir string, run func(*exec.Cmd)) (*Postgres, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	serve := Command(context.WithoutCancel(ctx), filepath.Join(programs, "postgres"), "-D", filepath.Join(dir, "data"),
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(port), "-c", "unix_socket_directories="+dir)
	run(serve)
	p := &Postgres{port: port}
	if p.process, err = Start(dir, serve); err != nil {
		return nil, err
	}
	err = p.process.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		conn, err := pgx.Connect(ctx, p.url("postgres"))
		if err != nil {
			return false, nil //nolint:nilerr // it isn't there yet
		}
		return true, conn.Close(ctx)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), p.process.Kill())
	}
	return p, nil
}

// unprivileged gives dir to a user that isn't root, where this process is, as
// PostgreSQL refuses to run as root; run makes a command run as that user.
func unprivileged(dir string) (run func(*exec.Cmd), err error) {
	if os.Getuid() != 0 {
		return func(cmd *exec.Cmd) { cmd.Dir = dir }, nil
	}
	var owner *user.User
	for _, name := range []string{"postgres", "nobody"} {
		if owner, err = user.Lookup(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("a user that PostgreSQL can run as, in place of root, is %w: %w", measure.ErrMissing, err)
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("number of user %s: %w", owner.Username, err)
	}
	gid, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("number of group %s: %w", owner.Gid, err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("give a folder to %s: %w", owner.Username, err)
	}
	return func(cmd *exec.Cmd) {
		cmd.Dir = dir
		as(cmd, uint32(uid), uint32(gid))
	}, nil
}
