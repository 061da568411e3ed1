package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// typedIn is a demo by hand whose answers are piped in.
func typedIn(t *testing.T, folder string, answers ...string) (code int, out, err string) {
	t.Helper()
	p := launch(t, launchOptions{args: []string{"demo", "--interactive"}, env: []string{"TMPDIR=" + folder}, change: func(cmd *exec.Cmd) {
		cmd.Stdin = strings.NewReader(strings.Join(answers, "\n"))
	}})
	code = p.exit(t)
	return code, p.out.String(), p.err.String()
}

// The numbers of the menus, as the user types them.
const (
	mainCreate, mainChoose, mainMessages, mainSendDue, mainProcessor, mainStatistics, mainWait, mainClear, mainQuit = "1", "2", "3", "4", "5", "6", "7", "8", "9"

	eventChange, eventRegister, eventParticipants, eventRemind, eventReminders, eventAnnounce = "1", "2", "3", "4", "5", "6"
	eventMessages, eventHistory, eventCancel, eventDelete, eventBack                          = "7", "8", "9", "10", "11"
)

func TestDemoByHandPiped(t *testing.T) {
	folder := t.TempDir()
	var answers []string
	add := func(more ...string) { answers = append(answers, more...) }
	// title, description, zone, start, end, location, seats, tags
	add(mainCreate, "", "Rounds and call changes", "Europe/Nowhere", "soon", "+20h", "+10m", "", "two", "1", "")
	add("y", "Course", "", "Europe/Vienna", "", "+22h", "", "", "course, bells")
	// user, name, e-mail, phone, channels, zone
	add(eventRegister, "u-1", "Ann", "no address", "12", "pigeon", "")
	add("", "", "", "ann@example.org", "+43 1 234 5678", "email, sms", "-")
	add(eventRegister, "u-2", "Bob", "bob@example.org", "", "", "")
	add(eventRegister, "u-9", "Ann again", "ANN@example.org", "", "", "", "n")
	// minutes, channels, message
	add(eventRemind, "2000", "", "", "y", "60", "email", "")
	add(eventAnnounce, "{{ event.secret }}", "", "y", "{{ participant.name }}, soft shoes please", "sms")
	add(eventChange, "", "-", "", "", "", "", "", "", "y", "", "Rounds", "", "", "", "", "2", "")
	add(eventParticipants, "2", "2", "2", "5") // Bob declines
	add(eventBack)
	add(mainProcessor, "1", "0", "y", "60", "2", "3")
	add(mainChoose, "1", eventAnnounce, "By hand", "email", eventBack)
	add(mainSendDue, "first", mainMessages)
	add(mainProcessor, "1", "", "3")
	add(mainChoose, "1", eventReminders, "1", eventHistory, eventMessages)
	add(eventCancel, "The tower is being repaired", "", eventDelete, "n", eventDelete, "y")
	add(mainStatistics, mainWait, "0", "1", mainClear, "-1", mainClear, "", mainQuit)
	code, out, errs := typedIn(t, folder, answers...)
	require.Equal(t, exitOK, code, "%s\n%s", out, errs)
	require.Empty(t, errs)
	require.Empty(t, leftovers(t, folder))
	rest := out
	for _, want := range []string{
		"Nothing is delivered to anybody",
		"that is no time", `"two" is not a whole number`, "refused (422 invalid)", "- title: must not be blank", "- end_time:", "- time_zone:", "Correct it? [Y/n] y", "created: Course",
		"- email:", "- phone:", "- channels:", "Ann <ann@example.org>, confirmed", "Bob <bob@example.org>, waitlisted at place 1", "refused (409 duplicate_participant)",
		"- minutes_before:", "added", "- message:", "on its way; recipients: 2",
		"refused (422 invalid)", "- description:", "now: Course",
		"Bob <bob@example.org>, released, has declined",
		"- check_interval_seconds:", "it is stopped",
		"sent 1, failed 0, still due 0", "must be a number between 1 and 9", "SENT ", "By hand",
		"it is running and looks every 30 s",
		"60 minutes before by email", "removed", "EventScheduled", "ParticipantResponded", "by admin", "CANCELLED",
		", cancelled", "deleted",
		"holes 0", "from 1 to 600", "refused (400", "0 cleared", "Stopped cleanly",
	} {
		_, after, ok := strings.Cut(rest, want)
		require.True(t, ok, "%q is not said in its place\n%s", want, out)
		rest = after
	}
	require.Contains(t, out, "sent by sms to ")
	require.NotContains(t, out, "\x1b", "no control sequences in a pipe")
	require.NotContains(t, out, "map[", "people read this")
}

// Wherever the input ends, so does the demo, in order.
func TestDemoByHandInputEnds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, answers := range map[string]string{
		"at once": "", "after an empty line": "\n", "in a form": "1\nCourse\n", "in a line": "1\nCou", "in a choice that is wrong": "77",
		"behind a refusal": "1\n\n\n\n\n\n\n\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			t.Setenv("TMPDIR", folder)
			var out, errs bytes.Buffer
			err := demoByHand(t.Context(), strings.NewReader(answers), nil, false, output{&out, &errs})
			require.NoError(t, err, errs.String())
			require.Contains(t, out.String(), "The input has ended.\n\nStopped cleanly")
			require.Empty(t, leftovers(t, folder))
		})
	}
}

func TestDemoByHandInterrupted(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			folder := t.TempDir()
			p := launch(t, launchOptions{args: []string{"demo", "-i"}, env: []string{"TMPDIR=" + folder}, change: func(cmd *exec.Cmd) {
				in, keep, err := os.Pipe() // nobody types
				require.NoError(t, err)
				t.Cleanup(func() { in.Close(); keep.Close() })
				cmd.Stdin = in
			}})
			p.says(t, &p.out, "between 1 and 9")
			require.NoError(t, p.cmd.Process.Signal(s))
			require.Equal(t, exitFailure, p.exit(t))
			require.Equal(t, "belltower: interrupted; the temporary folder is removed\n", p.err.String())
			require.Empty(t, leftovers(t, folder))
		})
	}
}

func TestDemoPlainAlone(t *testing.T) {
	code, _, err := once(t, nil, "demo", "--plain")
	require.Equal(t, exitUsage, code)
	require.Contains(t, err, "--plain is for demo --interactive")
}

func TestMoment(t *testing.T) {
	now := time.Date(2031, 4, 1, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"+90m": "2031-04-01T11:30:00Z", "+1d": "2031-04-02T10:00:00Z", "+1h30m5s": "2031-04-01T11:30:05Z",
		"2031-07-01 18:00":     "2031-07-01T18:00:00+02:00",
		" 2031-01-01 18:00 ":   "2031-01-01T18:00:00+01:00",
		"2031-01-01 18:00:07":  "2031-01-01T18:00:07+01:00",
		"2031-01-01T18:00:00Z": "2031-01-01T18:00:00Z",
	} {
		got, err := moment(text, "Europe/Vienna", now)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"soon", "+", "+d", "+1w", "2031-02-30 10:00", "18:00"} {
		_, err := moment(text, "Europe/Vienna", now)
		require.ErrorContains(t, err, "that is no time", text)
	}
	got, err := moment("2031-07-01 18:00", "Europe/Nowhere", now)
	require.NoError(t, err, "the service refuses the zone")
	require.Equal(t, "2031-07-01T18:00:00Z", got)
	require.Equal(t, "2031-07-01 18:00", civil("2031-07-01T16:00:00Z", "Europe/Vienna"))
	require.Equal(t, "2031-07-01 18:00:05", civil("2031-07-01T16:00:05Z", "Europe/Vienna"))
}

// A patch has what was changed, and null for what was emptied.
func TestChanges(t *testing.T) {
	form := []*formField{{name: "a", text: "1", read: whole}, {name: "b", text: "x"}, {name: "c", text: "x"}, {name: "d", text: "x, y", read: list}}
	before := texts(form)
	form[0].text, form[1].text, form[3].text = "2", " ", "y"
	got, err := changes(form, before)
	require.NoError(t, err)
	require.Equal(t, object{"a": int64(2), "b": nil, "d": []string{"y"}}, got)
	form[0].text = "two"
	_, err = changes(form, before)
	require.ErrorContains(t, err, `"two" is not a whole number`)
	got, err = filled(form[1:])
	require.NoError(t, err)
	require.Equal(t, object{"c": "x", "d": []string{"y"}}, got)
}

// Each question gets its own line, also one that is longer than what huh takes.
func TestTyped(t *testing.T) {
	in := readTyped(t.Context(), strings.NewReader("one\r\n"+strings.Repeat("x", 100_000)+"\nlast"), nil)
	defer in.close()
	read := func() string {
		var line strings.Builder
		for !strings.HasSuffix(line.String(), "\n") {
			var p [1000]byte
			n, err := in.Read(p[:])
			require.NoError(t, err)
			line.Write(p[:n])
		}
		return line.String()
	}
	require.Equal(t, "one\n", read())
	require.Len(t, read(), 60<<10+1)
	require.Equal(t, "last\n", read())
	require.Equal(t, "\n", read())
	_, err := in.Read(make([]byte, 10))
	require.ErrorIs(t, err, io.EOF)
	require.True(t, in.ended)
}
