package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// past is the point in the past that --as-of names.
type past struct{ text string }

func pastOf(cmd *cobra.Command) *past {
	p := &past{}
	cmd.Flags().StringVar(&p.text, "as-of", "", "as it was at this time or revision: 3, yesterday, "+timeHelp)
	return p
}

// into adds it to a query, where it is given.
func (p *past) into(a *app, query url.Values, watch bool) error {
	if p.text == "" {
		return nil
	}
	if watch {
		return usage("--as-of and --watch don't go together: what was doesn't change")
	}
	point, err := a.point(p.text)
	if err == nil {
		query.Set("as_of", point)
	}
	return err
}

// getAsOf reads a resource as it is, or as it was.
func getAsOf(ctx context.Context, a *app, c *client.Client, path string, p *past) ([]byte, error) {
	query := url.Values{}
	if err := p.into(a, query, false); err != nil {
		return nil, err
	}
	reply, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
	return reply.Body, err
}

// point is a revision, as it is, or a time.
func (a *app) point(text string) (string, error) {
	if strings.Trim(text, "0123456789") == "" {
		return text, nil
	}
	t, err := a.localTime(text)
	if err != nil {
		return "", usage("--as-of: %w", err)
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}
