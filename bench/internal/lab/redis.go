package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/belltower/belltower/bench/internal/measure"
)

// Redis starts an empty Redis that keeps what it is given in an append-only
// file, synced as fsync says, and gives its address and what ends it;
// measure.ErrMissing where there is no Redis.
//
// Without an append-only file, which is the default, Redis loses up to an hour
// at a crash (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/,
// "Snapshotting"), which nobody would take for reminders. With it, "the
// suggested (and default) policy is to fsync every second" (same page, "How
// durable is the append only file?"): up to a second can be lost. "always"
// would be what the others promise.
func (l *Lab) Redis(ctx context.Context, fsync string) (address string, end func() error, err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", nil, fmt.Errorf("redis-server is %w: install redis-server", measure.ErrMissing)
	}
	for try := 1; ; try++ {
		address, end, err = l.serveRedis(ctx, program, fsync)
		if err == nil || try == 5 || ctx.Err() != nil { // else another may have taken the port
			return address, end, err
		}
	}
}

func (l *Lab) serveRedis(ctx context.Context, program, fsync string) (string, func() error, error) {
	dir, err := l.Folder("redis")
	if err != nil {
		return "", nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return "", nil, err
	}
	process, err := Start(dir, Command(context.WithoutCancel(ctx), program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
		"--dir", dir, "--appendonly", "yes", "--appendfsync", fsync))
	if err != nil {
		return "", nil, err
	}
	end := func() error { return errors.Join(process.Stop(syscall.SIGTERM), os.RemoveAll(dir)) }
	address := "127.0.0.1:" + strconv.Itoa(port)
	client := redis.NewClient(&redis.Options{Addr: address})
	err = process.Until(ctx, 10*time.Millisecond, func() (bool, error) { return client.Ping(ctx).Err() == nil, nil })
	if err = errors.Join(err, client.Close()); err != nil {
		return "", nil, errors.Join(fmt.Errorf("start Redis: %w", err), end())
	}
	return address, end, nil
}
