package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// say writes to people. Where nobody listens any more, nothing is left to be done.
func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.Out, format, args...) }

// note says on standard error what belongs to the work and not to its outcome.
func (a *app) note(format string, args ...any) { _, _ = fmt.Fprintf(a.Err, format, args...) }

// raw prints what the service has answered, as it is, on a line.
func (a *app) raw(document []byte) error {
	if _, err := fmt.Fprintf(a.Out, "%s\n", strings.TrimRight(string(document), "\n")); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}

func decode[T any](document []byte) (v T, err error) {
	if err := json.Unmarshal(document, &v); err != nil {
		return v, fmt.Errorf("read the service's answer: %w", err)
	}
	return v, nil
}

// id prints the id of what the service has answered, where it has one.
func (a *app) id(document []byte) error {
	v, err := decode[struct {
		ID string `json:"id"`
	}](document)
	if err != nil || v.ID == "" {
		return err
	}
	return a.raw([]byte(v.ID))
}

// show prints one resource: as JSON or its id where that is wanted, else as
// people read it.
func show[T any](a *app, document []byte, details func(T) details) error {
	switch {
	case a.json:
		return a.raw(document)
	case a.quiet:
		return a.id(document)
	}
	v, err := decode[T](document)
	if err != nil {
		return err
	}
	return details(v).print(a.Out, a.out, a.out.columns)
}

// listing is a list to be printed.
type listing struct {
	path  string
	query url.Values
	limit int
	none  string // said where there is nothing
	table *table
}

// list prints all items: a JSON document on each line as it comes, or a table.
func list[T any](ctx context.Context, a *app, c *client.Client, l listing, row func(T) []string) error {
	n := 0
	for item, err := range c.List(ctx, l.path, l.query, l.limit) {
		if err != nil {
			return err
		}
		n++
		switch {
		case a.json:
			err = a.raw(item)
		case a.quiet:
			err = a.id(item)
		default:
			var v T
			if v, err = decode[T](item); err == nil {
				l.table.row(row(v)...)
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case a.json, a.quiet:
		return nil
	case n == 0:
		a.say("%s\n", l.none)
		return nil
	}
	return l.table.print(a.Out, a.out)
}

// limited gives a list's command the flag that ends it early.
func limited(cmd *cobra.Command, limit *int) {
	cmd.Flags().IntVar(limit, "limit", 0, "print at most so many (default: all)")
	cmd.PreRunE = both(cmd.PreRunE, func(*cobra.Command, []string) error {
		if *limit < 0 {
			return usage("--limit: %d is negative", *limit)
		}
		return nil
	})
}

// both runs one check after the other; the first may be nil.
func both(first, second func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	if first == nil {
		return second
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := first(cmd, args); err != nil {
			return err
		}
		return second(cmd, args)
	}
}

// get fetches one resource.
func get(ctx context.Context, c *client.Client, path string) ([]byte, error) {
	reply, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: path})
	return reply.Body, err
}

// write asks for a change, and returns once those who ask next will see it.
func (a *app) write(ctx context.Context, c *client.Client, r client.Request) ([]byte, error) {
	reply, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	a.settle(ctx, c, reply.Token())
	return reply.Body, nil
}

// writeAndShow asks for a change, and shows what the service answered.
func writeAndShow[T any](ctx context.Context, a *app, c *client.Client, r client.Request, details func(T) details) error {
	document, err := a.write(ctx, c, r)
	if err != nil {
		return err
	}
	return show(a, document, details)
}

// settle waits until lists show the write of a Consistency-Token.
func (a *app) settle(ctx context.Context, c *client.Client, token string) {
	if token == "" {
		return
	}
	_, err := c.Do(ctx, client.Request{Method: http.MethodHead, Path: "/v1/events", Query: url.Values{"limit": {"1"}}, After: token})
	if err != nil && ctx.Err() == nil {
		a.note("It is done. The service's lists don't show it yet: %v\n", err)
	}
}

// one is the path of a resource, with an id as it was given.
func one(list, id string, rest ...string) string {
	path := list + "/" + url.PathEscape(id)
	for _, part := range rest {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// value shows what may be absent.
func value[T any](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}
