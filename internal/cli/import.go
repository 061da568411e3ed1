package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

func (a *app) importParticipants() *cobra.Command {
	i := &importing{app: a}
	cmd := &cobra.Command{
		Use:   "import FILE.csv --event EVENT",
		Short: "Register all participants of a file; the same file again does nothing more",
		Long: "Registers the participants of a CSV file, in its order. The first line names the columns:\n" +
			"name and email, and as you like phone, user_id (default: the e-mail address), channels,\n" +
			"time_zone, locale and push_token. Commas, semicolons or tabs separate them. - reads\n" +
			"standard input.\n\n" +
			"Who is registered already is left as they are, or changed to what the file says with\n" +
			"--update. A line that fails is named with the reason, and the rest goes on; then the\n" +
			"exit code is 6. After an interruption, run it again.",
		Args: takes("a file"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"csv"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	cmd.Flags().StringVar(&i.event, "event", "", "the event, an id")
	cmd.Flags().BoolVar(&i.update, "update", false, "change those who are registered with other details")
	cmd.Flags().StringSliceVar(&i.ignore, "ignore", nil, "columns to pass over, by name")
	completeWith(cmd, "event", a.completeEvents)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		if i.event == "" {
			return usage("participants import: give the event with --event")
		}
		i.client, i.name = c, args[0]
		// What has begun waits for a service that is restarted meanwhile.
		c.Patience, c.Reconnect = time.Minute, false
		return i.run(ctx)
	})
	return cmd
}

// importing is one run over a file.
type importing struct {
	*app
	client      *client.Client
	name, event string
	update      bool
	ignore      []string
	roster      roster
	token       string // of the last write
	at, line    atomic.Int64
	imported    imported
}

// imported says what came of it.
type imported struct {
	Added      int          `json:"added"`
	Waitlisted int          `json:"waitlisted"` // of those added
	Updated    int          `json:"updated"`
	Unchanged  int          `json:"unchanged"`
	Failed     []failedLine `json:"failed"`
}

type failedLine struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func (i *importing) run(ctx context.Context) error {
	file, err := i.open()
	if err != nil {
		return err
	}
	// It has to be there: keys of what was added remember even a deleted event.
	if _, err := get(ctx, i.client, one("/v1/events", i.event)); err != nil {
		return err
	}
	if i.roster, err = loadRoster(ctx, i.client, i.event); err != nil {
		return err
	}
	i.imported.Failed = []failedLine{}
	i.client.Reconnect = true
	stop := i.progress("importing", func() string { return fmt.Sprintf("%d lines, at line %d", i.at.Load(), i.line.Load()) })
	err = i.lines(ctx, file)
	stop()
	i.settle(context.WithoutCancel(ctx), i.client, i.token)
	if told := i.tell(); told != nil {
		return errors.Join(err, told)
	}
	if err != nil {
		return i.cutShort(err)
	}
	if n := len(i.imported.Failed); n > 0 {
		return &Error{ExitPartly, fmt.Errorf("%d of %d lines failed", n, i.at.Load())}
	}
	return nil
}

func (i *importing) open() (*csvFile, error) {
	var (
		data []byte
		err  error
	)
	if i.name == "-" {
		i.name = "standard input"
		data, err = io.ReadAll(i.In)
	} else {
		data, err = os.ReadFile(i.name)
	}
	if err != nil {
		return nil, fmt.Errorf("read what to import: %w", err)
	}
	file, err := openCSV(data, i.ignore)
	if err != nil {
		return nil, usage("%s: %w", i.name, err)
	}
	return file, nil
}

// lines goes through the file. Its error is one that holds for all that is left.
func (i *importing) lines(ctx context.Context, file *csvFile) error {
	for {
		line, err := file.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		i.line.Store(int64(line.number))
		if err = line.err; err == nil {
			err = i.one(ctx, line)
		}
		if err != nil && hopeless(ctx, err) {
			return err
		}
		i.at.Add(1)
		if err != nil {
			i.failed(line.number, err)
		}
	}
}

// hopeless tells whether an error would be that of every further line.
func hopeless(ctx context.Context, err error) bool {
	var (
		problem     *client.Problem
		unreachable *client.Unreachable
	)
	if ctx.Err() != nil || errors.As(err, &unreachable) {
		return true
	}
	if !errors.As(err, &problem) {
		return false
	}
	switch problem.Code {
	case "event_cancelled", "event_ended", "event_not_found":
		return true
	}
	return problem.Status == 401 || problem.Status == 403 || problem.Status >= 500 || problem.Temporary()
}

// one sees to one line.
func (i *importing) one(ctx context.Context, line csvLine) error {
	p, err := i.roster.match(line)
	if err != nil {
		return err
	}
	if p == nil {
		return i.register(ctx, line)
	}
	return i.registered(ctx, line, p)
}

// registered sees to a line about somebody who is there.
func (i *importing) registered(ctx context.Context, line csvLine, p *participant) error {
	different := differences(line, p)
	switch {
	case len(different) == 0:
		i.imported.Unchanged++
		return nil
	case i.update:
		return i.change(ctx, line, p)
	}
	// The line may have been taken before: its participant was changed since, or
	// the service writes a phone number otherwise.
	reply, err := i.post(ctx, line, "")
	otherwise := fmt.Errorf("%s is registered already, with another %s; --update changes that", p.Name, strings.Join(different, ", "))
	switch {
	case duplicate(err):
		return otherwise
	case err != nil:
		return err
	case !replayed(reply): // they were removed meanwhile
		return i.added(reply)
	}
	before, err := decode[participant](reply.Body)
	if err != nil {
		return err
	}
	if before.ID != p.ID { // the line was taken, for somebody who was removed since
		return otherwise
	}
	i.imported.Unchanged++
	return nil
}

// duplicate tells whether somebody is registered already.
func duplicate(err error) bool {
	var problem *client.Problem
	return errors.As(err, &problem) && problem.Code == "duplicate_participant"
}

// replayed tells whether an answer is that to the same request before.
func replayed(r client.Reply) bool { return r.Header.Get("Idempotent-Replayed") == "true" }

// change gives p the details of a line.
func (i *importing) change(ctx context.Context, line csvLine, p *participant) error {
	body := line.body()
	delete(body, "user_id")
	reply, err := i.client.Do(ctx, client.Request{Method: http.MethodPatch, Path: one("/v1/participants", p.ID), Body: body})
	if err != nil {
		return err
	}
	changed, err := decode[participant](reply.Body)
	if err != nil {
		return err
	}
	i.token = reply.Token()
	if changed.Revision == p.Revision {
		i.imported.Unchanged++
	} else {
		i.imported.Updated++
	}
	delete(i.roster.byEmail, strings.ToLower(p.Email))
	i.roster.add(changed)
	return nil
}

// register adds somebody who isn't in the roster. The key of the request comes
// from the line alone, so that whoever repeats it, at whatever time, adds nobody
// twice. Who was added and is gone was removed; then the key is another one.
func (i *importing) register(ctx context.Context, line csvLine) error {
	for before := ""; ; {
		reply, err := i.post(ctx, line, before)
		switch {
		case duplicate(err):
			return i.overtaken(ctx, line, err)
		case err != nil:
			return err
		case !replayed(reply):
			return i.added(reply)
		}
		p, err := decode[participant](reply.Body)
		if err != nil {
			return err
		}
		now, err := i.client.Do(ctx, client.Request{Method: http.MethodGet, Path: one("/v1/participants", p.ID), After: reply.Token()})
		var problem *client.Problem
		switch {
		case err == nil:
			if p, err = decode[participant](now.Body); err != nil {
				return err
			}
			i.roster.add(p)
			i.imported.Unchanged++
			return nil
		case errors.As(err, &problem) && problem.Status == http.StatusNotFound:
			before = p.ID
		default:
			return err
		}
	}
}

// overtaken sees to a line about somebody whom another has registered since the
// roster was read. Lists show that a moment after refusals do.
func (i *importing) overtaken(ctx context.Context, line csvLine, refusal error) (err error) {
	for range 5 {
		if i.roster, err = loadRoster(ctx, i.client, i.event); err != nil {
			return err
		}
		p, err := i.roster.match(line)
		if err != nil {
			return err
		}
		if p != nil {
			return i.registered(ctx, line, p)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return refusal
}

func (i *importing) added(reply client.Reply) error {
	p, err := decode[participant](reply.Body)
	if err != nil {
		return err
	}
	i.token = reply.Token()
	i.roster.add(p)
	i.imported.Added++
	if p.Status == "waitlisted" {
		i.imported.Waitlisted++
	}
	return nil
}

// post registers the participant of a line; before is whom the same line added
// and who has been removed since.
func (i *importing) post(ctx context.Context, line csvLine, before string) (client.Reply, error) {
	body := line.body()
	canonical, err := json.Marshal(body)
	if err != nil {
		return client.Reply{}, err
	}
	digest := sha256.Sum256(append(canonical, before...))
	return i.client.Do(ctx, client.Request{
		Method: http.MethodPost, Path: one("/v1/events", i.event, "participants"), Body: body, Key: "import-" + hex.EncodeToString(digest[:]),
	})
}

// failed names a line and what is wrong with it: every fault, not the first.
func (i *importing) failed(number int, err error) {
	message := err.Error()
	if problem := (*client.Problem)(nil); errors.As(err, &problem) {
		message = problem.Detail
		if len(problem.Errors) > 0 {
			faults := make([]string, len(problem.Errors))
			for j, f := range problem.Errors {
				faults[j] = f.Field + ": " + f.Message
			}
			message = strings.Join(faults, "; ")
		}
	}
	i.imported.Failed = append(i.imported.Failed, failedLine{number, message})
	wipe := ""
	if i.err.there() {
		wipe = "\r\x1b[K"
	}
	i.note("%s%s:%d: %s\n", wipe, i.name, number, clean(message))
}

func (i *importing) tell() error {
	if i.json {
		document, err := json.Marshal(i.imported)
		if err != nil {
			return err
		}
		return i.raw(document)
	}
	if i.quiet {
		return nil
	}
	r := i.imported
	i.say("added %d", r.Added)
	if r.Waitlisted > 0 {
		i.say(" (%d of them wait in line)", r.Waitlisted)
	}
	i.say(", updated %d, already there %d, failed %d\n", r.Updated, r.Unchanged, len(r.Failed))
	return nil
}

// cutShort says where it ended, and that going on is safe.
func (i *importing) cutShort(err error) error {
	i.note("It ended at line %d. Run it again: who was added is not added twice.\n", i.line.Load())
	return err
}
