package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
	ballast, err := os.Create(path)
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

// On a full disk writes are refused, reads go on, and once there is room writes
// do too, by themselves. Nothing acknowledged is lost, and nothing is sent twice.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "12m")
	folder := filepath.Join(disk, "data")
	p := serving(t, folder)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	path := "/v1/events/" + event.text("id")
	var there []string
	register := func(i int) reply {
		got, err := p.client().ask(t.Context(), "POST", path+"/participants", "", aPerson(i, nil))
		require.NoError(t, err, &p.err)
		if got.status == 201 {
			there = append(there, got.body.text("id"))
		}
		return got
	}
	for i := range 20 {
		require.Equal(t, 201, register(i).status)
	}

	free := fill(t, disk)
	next := 20
	// What SQLite has room for in the files that it has, it still takes.
	until(t, "writes are refused", func() bool {
		next++
		got := register(next)
		if got.status == 201 {
			return false
		}
		require.Equal(t, 503, got.status, got.body)
		require.NotEmpty(t, got.header.Get("Retry-After"))
		return true
	})
	acknowledged := len(there)
	for _, read := range []string{path, path + "/participants", "/v1/participants/" + there[0], "/v1/notifications", "/v1/stats", path + "/history"} {
		p.does(t, 200, "GET", read, nil)
	}
	for i := range 600 { // more than the keys that were made ahead
		got := register(1000 + i)
		require.Equal(t, 503, got.status, got.body)
	}
	got, err := p.client().ask(t.Context(), "GET", "/healthz", "", nil)
	require.NoError(t, err)
	require.Equal(t, 200, got.status)

	free()
	until(t, "writes go on by themselves", func() bool {
		next++
		return register(next).status == 201
	})
	require.Len(t, there, acknowledged+1)
	look := func() {
		until(t, "the read models show everything", func() bool {
			return p.does(t, 200, "GET", path, nil).number("participant_count") == len(there)
		})
		shown := ids(p.does(t, 200, "GET", path+"/participants?limit=200", nil).items())
		for _, id := range there {
			require.True(t, shown[id], id)
		}
	}
	look()
	p.does(t, 202, "POST", path+"/announcements", object{"message": "Hear, hear"})
	until(t, "all have heard", func() bool {
		return p.does(t, 200, "GET", "/v1/stats", nil).inner("notifications").inner("by_status").number("SENT") == len(there)
	})
	p.finish(t, syscall.SIGTERM)
	require.Len(t, sentLines(t, p.out.String()), len(there))
	require.Empty(t, clear([]byte(p.err.String()), []string{"n1@example.org", testAdmin}))
	p = serving(t, folder)
	look()
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, strings.ToLower(p.err.String()), "level=error")
}
