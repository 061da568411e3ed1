package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/snapshots"
)

// folder looks whether there is a data folder at all.
func (e *examination) folder() (there bool) {
	info, err := os.Stat(e.data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.add("folder", failing, e.data+" is not there", "name the folder with --data; 'belltower serve' makes it at its first start")
		return false
	case err != nil:
		e.add("folder", failing, err.Error(), "run the doctor as the user that the service runs as")
		return false
	case !info.IsDir():
		e.add("folder", failing, e.data+" is a file", "name the folder with --data")
		return false
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		e.add("folder", warning, fmt.Sprintf("%s is open to other users (%s)", e.data, info.Mode().Perm()), "chmod 700 "+e.data+": names and addresses are in it")
	default:
		e.add("folder", good, e.data, "")
	}
	return true
}

// lock looks whether a service runs on the folder.
func (e *examination) lock() (inUse bool) {
	path := filepath.Join(e.data, "lock")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		e.add("lock", good, "no service has run on this folder yet", "")
		return false
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDWR))
	locked, err := lock.TryLock()
	if err != nil {
		e.add("lock", failing, err.Error(), "run the doctor as the user that the service runs as; the folder must be on a local disk")
		return true
	}
	if !locked {
		e.add("lock", good, "a service runs on this folder", "")
		return true
	}
	if err := lock.Close(); err != nil {
		e.add("lock", failing, err.Error(), "the folder must be on a local disk")
		return true
	}
	e.add("lock", good, "no service runs on this folder", "")
	return false
}

// files looks for the files that can't be made anew.
func (e *examination) files() {
	names := []string{"events.db", keys.FileName}
	if e.settings.store != embeddedStore {
		names = names[1:]
	}
	if e.settings.keysDatabase() != (sqldb.Target{}) {
		names = nil // the database that keeps them is looked at
	}
	if e.settings.providers.webPush.key != nil {
		names = append(names, vapidName)
	}
	for _, name := range names {
		info, err := os.Stat(e.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == keys.FileName && e.has("events.db"):
			e.add("files", failing, name+" is missing: without it, no name and no address in the log can be read", "put back the "+name+" that was backed up with this log")
		case errors.Is(err, fs.ErrNotExist):
			e.add("files", warning, name+" is missing", "'belltower serve' makes it at its first start; if this folder has served before, put back the backup")
		case err != nil:
			e.add("files", failing, err.Error(), "run the doctor as the user that the service runs as")
		case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
			e.add("files", warning, fmt.Sprintf("%s is open to other users (%s)", name, info.Mode().Perm()), "chmod 600 "+e.path(name))
		default:
			e.add("files", good, fmt.Sprintf("%s, %s", name, size(uint64(max(0, info.Size())))), "")
		}
	}
}

// disposable are the files that are made from the log where they are missing.
var disposable = []string{"streams.db", "read.db", "planner.db", snapshots.FileName}

// madeAnew looks at the files that can be lost.
func (e *examination) madeAnew() {
	var there []string
	for _, name := range disposable {
		info, err := os.Stat(e.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			e.add("files", failing, err.Error(), "run the doctor as the user that the service runs as")
		case !info.Mode().IsRegular():
			e.add("files", failing, name+" is no file", "remove it: it is made anew from the log")
		case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
			e.add("files", warning, fmt.Sprintf("%s is open to other users (%s)", name, info.Mode().Perm()), "chmod 600 "+e.path(name))
		default:
			there = append(there, fmt.Sprintf("%s, %s", name, size(uint64(max(0, info.Size())))))
		}
	}
	if len(there) > 0 {
		e.add("files", good, "made from the log, and made anew where they are missing: "+strings.Join(there, "; "), "")
	}
}

func (e *examination) has(name string) bool {
	_, err := os.Stat(e.path(name))
	return err == nil
}

// path is where a file stands: the keys may be in a folder of their own.
func (e *examination) path(name string) string {
	if name == keys.FileName || name == vapidName {
		return filepath.Join(e.settings.keyFolder(), name)
	}
	return filepath.Join(e.data, name)
}

func size(bytes uint64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if bytes < 1024 {
			return fmt.Sprintf("%d %s", bytes, unit)
		}
		bytes /= 1024
	}
	return fmt.Sprintf("%d GiB", bytes)
}

// What is left on the folder's disk should do for days.
const (
	littleSpace = 1 << 30
	noSpace     = 64 << 20
)

func (e *examination) space() {
	free, err := freeSpace(e.data)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		e.add("free space", warning, err.Error(), "")
	case free < noSpace:
		e.add("free space", failing, size(free)+" are left", "make room: without it nothing is written and nothing is sent, and it goes on by itself once there is some")
	case free < littleSpace:
		e.add("free space", warning, size(free)+" are left", "make room before it runs out")
	default:
		e.add("free space", good, size(free)+" are left", "")
	}
}

// log opens the log and looks whether the keys are its own.
func (e *examination) log(ctx context.Context) {
	if e.settings.store != embeddedStore {
		e.add("log", good, "it is in EventStoreDB: a running service tells in /readyz whether it reaches it", "")
		return
	}
	if !e.has("events.db") {
		return
	}
	log, err := embedded.Open(ctx, e.data, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	switch {
	case errors.Is(err, eventstore.ErrLocked):
		e.add("log", good, "a service has just taken the folder", "")
		return
	case errors.Is(err, eventstore.ErrCorrupt):
		e.add("log", failing, err.Error(), "put back the backup of events.db and keys.db, and keep the damaged files")
		return
	case err != nil:
		e.add("log", failing, err.Error(), "look at the disk and the file's rights; 'belltower serve' won't start either")
		return
	}
	defer func() {
		if err := log.Close(); err != nil {
			e.add("log", failing, err.Error(), "look at the disk")
		}
	}()
	end, err := log.End(ctx)
	if err != nil {
		e.add("log", failing, err.Error(), "look at the disk")
		return
	}
	e.add("log", good, fmt.Sprintf("%d facts; the last ones are whole", end.Commit), "")
	if last, ok, err := log.RecordAt(ctx, end); err == nil && ok && last.Created.After(e.now().Add(time.Minute)) {
		e.add("clock", failing, fmt.Sprintf("it shows %s, and the log's last fact is of %s", e.now().UTC().Format(time.RFC3339), last.Created.Format(time.RFC3339)),
			"set the clock right, by NTP: reminders go out by it")
	}
	if end != eventstore.Start && e.has(keys.FileName) {
		e.keys(ctx, log, end)
	}
}

// sampled is how many of the first and of the last facts are opened with the keys.
const sampled = 1000

// keys looks whether the facts at both ends of the log can be opened: those of
// another log can't, and of older keys the last can't.
func (e *examination) keys(ctx context.Context, log eventstore.Store, end eventstore.Position) {
	ring, err := keys.Open(ctx, e.settings.keyFolder(), keys.Existing())
	var mark *keys.MovedError
	if errors.As(err, &mark) {
		advice := "use them with --read-models " + mark.To + " and --store esdb://…"
		if !mark.Done {
			advice = "run 'belltower keys move' again, with that database: nobody can use them until that has ended"
		}
		e.add("keys", failing, mark.Error(), advice)
		return
	}
	if err != nil {
		e.add("keys", failing, err.Error(), "put back the keys.db that was backed up with this log")
		return
	}
	defer func() {
		if err := ring.Close(); err != nil {
			e.add("keys", failing, err.Error(), "look at the disk")
		}
	}()
	opened := 0
	after := eventstore.Start
	for range 2 {
		subscription, err := log.Subscribe(ctx, after)
		if err != nil {
			e.add("keys", failing, err.Error(), "look at the disk")
			return
		}
		for n := 0; n < sampled; {
			b, err := subscription.Next(ctx)
			if err != nil {
				e.add("log", failing, err.Error(), "put back the backup of events.db and keys.db, and keep the damaged files")
				break
			}
			for _, r := range b.Records {
				switch _, err := events.Decode(ring, r.ID, r.Type, r.Data); {
				case errors.Is(err, events.ErrNewerFact):
					e.add("log", failing, fmt.Sprintf("a newer Belltower wrote the fact at %s", r.Position), "run that version")
					return
				case err != nil:
					e.add("keys", failing, fmt.Sprintf("the fact at %s can't be opened: %v", r.Position, err), "put back the keys.db that was backed up with this log, or later")
					return
				}
				opened++
			}
			if n += len(b.Records); b.CaughtUp {
				break
			}
		}
		_ = subscription.Close()
		if end.Commit <= 2*sampled {
			break
		}
		after = eventstore.Position{Commit: end.Commit - sampled, Prepare: end.Prepare - min(end.Prepare, sampled)}
	}
	e.add("keys", good, fmt.Sprintf("they open the log: %d facts were tried", opened), "")
}

// clock looks whether the clock is one to send by.
func (e *examination) clock() {
	now := e.now()
	if now.Year() < 2025 || now.Year() > 2100 {
		e.add("clock", failing, "it shows "+now.UTC().Format(time.RFC3339), "set it right, by NTP: reminders go out by it")
		return
	}
	switch synchronised, known := clockSynchronised(); {
	case known && !synchronised:
		e.add("clock", warning, "it shows "+now.UTC().Format(time.RFC3339)+", and the system says that nothing keeps it right", "turn on NTP: reminders go out by this clock")
	default:
		e.add("clock", good, "it shows "+now.UTC().Format(time.RFC3339), "")
	}
}

// timeZones tells which time zones a service with these settings goes by, and of
// which year.
func (e *examination) timeZones(s settings) {
	zones, _ := chooseZones(s, systemZones)
	found := fmt.Sprintf("version %s, %s", zones.Version, zones.Source)
	if zones.Version != unknownZones && zones.Version[:4] < fmt.Sprint(e.now().Year()-1) {
		e.add("time zones", warning, found, "update tzdata or Belltower: countries change their clocks at short notice")
		return
	}
	e.add("time zones", good, found, "")
}
