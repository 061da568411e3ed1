package torture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// smallDisk mounts a file system of its own, which takes the rights to do so.
func smallDisk(t *testing.T, size string) string {
	disk := t.TempDir()
	err := syscall.Mount("belltower-test", disk, "tmpfs", 0, "size="+size+",mode=0700")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("a small disk can't be mounted without the rights of root: ", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, 0)) })
	return disk
}

// fill leaves no byte free, and gives what frees them again.
func fill(t *testing.T, disk string) (free func()) {
	path := filepath.Join(disk, "ballast")
	ballast, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer ballast.Close()
	for chunk := make([]byte, 1<<16); len(chunk) > 0; {
		if _, err = ballast.Write(chunk); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			chunk = chunk[:len(chunk)/2]
		}
	}
	return func() { require.NoError(t, os.Remove(path)) }
}

// On a full disk writes are refused, reads go on, also after a kill and a start
// while it is full; and once there is room writes go on by themselves.
// The disk holds what three write-ahead logs grow to between checkpoints.
func TestFullDisk(t *testing.T) {
	beside(t)
	budget(t, time.Minute)
	seed := seeded(t)
	r := newRun(t, smallDisk(t, "160m"), seed, 3)
	work := func(n int) {
		r.all(false, func(c *client) error {
			c.patient = true
			defer func() { c.patient = false }()
			if c.open != nil {
				if err := c.do(t.Context(), c.open); err != nil {
					return err
				}
			}
			return c.work(t.Context(), n)
		})()
	}
	refused := func(v *service) {
		// What SQLite has room for in the files that it has, it still takes.
		r.all(false, func(c *client) error {
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
				again := c.open
				if again == nil {
					again = c.next()
				}
				if err := c.do(t.Context(), again); errors.Is(err, errUnavailable) {
					return nil
				} else if err != nil {
					return err
				}
			}
			return errors.New("a full disk takes everything")
		})()
		// The read models stand still, as read.db is on the same disk; they are there.
		for _, read := range []string{"/healthz", "/v1/events", "/v1/notifications", "/v1/stats", r.clients[0].some(1)[0].path("/history")} {
			got, err := v.api.ask(t.Context(), request{method: "GET", path: read})
			require.NoError(t, err)
			require.Contains(t, []int{200, 404}, got.status, read) // the event may have been deleted
		}
	}
	for range sized(t, 1, 3, 30) {
		v := r.serve()
		if r.clients[0].hall == "" {
			r.prepare(v)
		}
		work(40)
		free := fill(t, r.folder+"/..")
		refused(v)
		free()
		work(40)
		free = fill(t, r.folder+"/..")
		refused(v)
		v.kill(t)

		fill(t, r.folder+"/..")
		v = r.serve() // while it is full
		refused(v)
		free()
		work(40)
		v.finish(t)
		require.NotContains(t, v.logged(), "panic")
	}
	r.conclude("on a full disk")
	r.ledger.tell(t, 3*sized(t, 1, 3, 30), "full disks")
	require.Positive(t, r.ledger.counts().unavailable)
}

// powerDisk is a file system in a file, whose power can be cut.
type powerDisk struct {
	t           *testing.T
	image, path string
}

func newPowerDisk(t *testing.T) *powerDisk {
	d := &powerDisk{t: t, image: filepath.Join(t.TempDir(), "disk"), path: t.TempDir()}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("a disk in a file takes this program: ", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("a disk in a file can't be mounted without the rights of root")
	}
	require.NoError(t, os.WriteFile(d.image, nil, 0o600))
	require.NoError(t, os.Truncate(d.image, 512<<20))
	said, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput()
	require.NoError(t, err, "%s", said)
	if said, err := d.mount(); err != nil {
		t.Skipf("a disk in a file can't be mounted here, which containers often forbid: %v: %s", err, said)
	}
	t.Cleanup(func() { _ = exec.Command("umount", d.path).Run() })
	return d
}

func (d *powerDisk) mount() (said []byte, err error) {
	return exec.Command("mount", "-o", "loop", d.image, d.path).CombinedOutput()
}

const (
	shutdownIoctl = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	noLogFlush    = 2          // what isn't in the journal yet is lost
)

// cut takes the power: what was written and not synced is lost. Nothing may be in
// the middle of a sync then: one that the shutdown overtakes may succeed without
// having written what it was for, as docs/reliability.md tells.
func (d *powerDisk) cut() {
	root, err := os.Open(d.path)
	require.NoError(d.t, err)
	how := uint32(noLogFlush)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, root.Fd(), shutdownIoctl, uintptr(unsafe.Pointer(&how)))
	require.NoError(d.t, root.Close())
	if errno != 0 {
		d.t.Skip("this kernel's ext4 can't be shut down: ", errno)
	}
}

// restore gives the power back.
func (d *powerDisk) restore() {
	said, err := exec.Command("umount", d.path).CombinedOutput()
	require.NoError(d.t, err, "%s", said)
	said, err = d.mount()
	require.NoError(d.t, err, "%s", said)
}

// freeze stops v wherever it is: calls of the system that are under way come to
// their end, and v hears of it only when it goes on.
func (v *service) freeze(t *testing.T) {
	require.NoError(t, syscall.Kill(v.pid, syscall.SIGSTOP))
	until(t, v, "all its threads have stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", v.pid))
		require.NoError(t, err)
		return !slices.ContainsFunc(threads, func(thread string) bool {
			stat, err := os.ReadFile(thread)
			state := stat[bytes.LastIndexByte(stat, ')')+1:]
			return err == nil && !bytes.HasPrefix(state, []byte(" T"))
		})
	})
}

// TestPowerCut cuts the power of the disk under load, again and again.
func TestPowerCut(t *testing.T) {
	beside(t)
	budget(t, time.Minute)
	seed := seeded(t)
	d := newPowerDisk(t)
	cuts := sized(t, 3, 5, 200)
	k := newKilling(newRun(t, d.path, seed, 6), seed)
	k.fault = func(v *service) {
		v.freeze(t)
		d.cut()
		v.kill(t)
		d.restore()
	}
	v := k.serve()
	k.prepare(v)
	k.gather(sized(t, 1, 2, 20), sized(t, 50, 500, 1000))
	v.finish(t)
	for i := range cuts {
		k.round(i)
		k.ledger.clean(t, "after a power cut")
	}
	k.conclude("after all power cuts")
	k.ledger.tell(t, cuts, "power cuts")
	require.Positive(t, k.ledger.counts().delivered)
}
