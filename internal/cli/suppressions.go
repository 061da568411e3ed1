package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// suppression is whether an address is sent to, as the service shows it.
type suppression struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	To         string     `json:"to"`
	Suppressed bool       `json:"suppressed"`
	Reason     *string    `json:"reason"`
	Provider   *string    `json:"provider"`
	Code       *string    `json:"code"`
	Since      *time.Time `json:"since"`
}

// addressKinds are the kinds of address that can be suppressed.
var addressKinds = []string{"email", "phone", "push_token", "endpoint"}

func (a *app) suppressions() *cobra.Command {
	return group("suppressions", "See which addresses nothing is sent to, and why, and release them",
		a.listSuppressions(),
		a.onAddress("lookup", "Tell whether an address is sent to, and if not, why", "/v1/suppressions/lookup", false),
		a.onAddress("add", "Send nothing more to an address", "/v1/suppressions", true),
		a.onAddress("release", "Send to an address again, whoever suppressed it; what has FAILED meanwhile is sent by notifications retry", "/v1/suppressions/release", true))
}

func (a *app) suppressionDetails(s suppression) (d details) {
	d.add("id", s.ID)
	d.add("kind", s.Kind)
	d.add("address", s.To)
	d.add("suppressed", map[bool]string{true: "yes", false: "no"}[s.Suppressed])
	d.add("reason", value(s.Reason))
	d.add("told by", value(s.Provider))
	d.add("code", value(s.Code))
	if s.Since != nil {
		d.add("since", shownExactly(*s.Since, machineZone(a.Env)))
	}
	return d
}

func (a *app) listSuppressions() *cobra.Command {
	var (
		f     filter
		limit int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the addresses that nothing is sent to, masked, in order of the time since when",
		Args:  takes(),
	}
	f.choice(cmd, "kind", "kind", "of that kind", addressKinds...)
	f.choice(cmd, "reason", "reason", "for that reason", "stop", "complaint", "gone", "by_hand")
	f.text(cmd.Flags(), "provider", "provider", "of which that provider told: sendgrid, twilio")
	limited(cmd, &limit)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		query, err := f.query(cmd.Flags(), a.localTime)
		if err != nil {
			return err
		}
		zone := machineZone(a.Env)
		return list(ctx, a, c, listing{
			path: "/v1/suppressions", query: query, limit: limit, none: "There are no such addresses.",
			table: columns("[ID]", "[SINCE]", "[REASON]", "KIND?", "TOLD BY?", "ADDRESS"),
		}, func(s suppression) []string {
			since := ""
			if s.Since != nil {
				since = shown(*s.Since, zone)
			}
			return []string{s.ID, since, value(s.Reason), s.Kind, value(s.Provider), s.To}
		})
	})
	return cmd
}

// onAddress is a command about one address, which the service is told in a body.
func (a *app) onAddress(use, short, path string, changes bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use + " KIND ADDRESS",
		Short: short,
		Long: short + ".\n\nKIND is email, phone, push_token, or endpoint: the URL that webhooks go to.\n\n" +
			fmt.Sprintf("  belltower suppressions %s email someone@example.org", use),
		Args: takes("a kind of address", "an address"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return addressKinds, cobra.ShellCompDirectiveNoFileComp
		},
	}
	var key *string
	if changes {
		key = keyed(cmd.Flags())
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		request := client.Request{Method: http.MethodPost, Path: path, Body: map[string]string{"kind": args[0], "address": args[1]}}
		if changes {
			request.Key = keyOr(*key)
			return writeAndShow(ctx, a, c, request, a.suppressionDetails)
		}
		reply, err := c.Do(ctx, request)
		if err != nil {
			return err
		}
		return show(a, reply.Body, a.suppressionDetails)
	})
	return cmd
}
