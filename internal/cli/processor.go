package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// processor is what sends, as the service shows it.
type processor struct {
	State                string  `json:"state"`
	CheckIntervalSeconds int     `json:"check_interval_seconds"`
	Due                  int     `json:"due"`
	OldestDueSeconds     float64 `json:"oldest_due_seconds"`
	InFlight             int     `json:"in_flight"`
}

func processorDetails(p processor) (d details) {
	d.add("state", p.State)
	d.add("check interval", fmt.Sprintf("%d s", p.CheckIntervalSeconds))
	d.add("due", fmt.Sprint(p.Due))
	if p.Due > 0 {
		d.add("oldest due for", fmt.Sprintf("%.0f s", p.OldestDueSeconds))
	}
	d.add("in flight", fmt.Sprint(p.InFlight))
	return d
}

func (a *app) processor() *cobra.Command {
	return group("processor", "Start and stop sending", a.processorStatus(), a.startProcessor(), a.stopProcessor(), a.processorInterval())
}

func (a *app) processorStatus() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{Use: "status", Short: "Show whether it sends, and what waits", Args: takes()}
	watched(cmd, &watch)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		return a.andWatch(ctx, c, watch, client.Stream{Types: processorFacts}, func() error {
			document, err := get(ctx, c, "/v1/processor")
			if err != nil {
				return err
			}
			return show(a, document, processorDetails)
		})
	})
	return cmd
}

const intervalHelp = "how often it looks whether anything was missed, 1s to 1h: 30s, or 30"

// seconds understands 30s and 30; what is out of range is for the service to say.
func seconds(text string) (int, error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		text += "s"
	}
	d, err := parseSpan(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not an interval such as 30s or 5m", text)
	}
	return int(d / time.Second), nil
}

func (a *app) startProcessor() *cobra.Command {
	var interval string
	cmd := &cobra.Command{Use: "start", Short: "Send what is due, from now on", Args: takes()}
	fields := &body{}
	cmd.Flags().StringVar(&interval, "interval", "", intervalHelp+" (default: as it is)")
	fields.add("interval", "check_interval_seconds", func(readTime) (any, error) { return seconds(interval) })
	fields.annotate(cmd)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		object, err := fields.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		return a.steer(ctx, c, "start", object)
	})
	return cmd
}

func (a *app) stopProcessor() *cobra.Command {
	cmd := &cobra.Command{Use: "stop", Short: "Send nothing until it is started again; what is being sent is finished", Args: takes()}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		stop := a.progress("finishing what is being sent", nil)
		defer stop()
		return a.steer(ctx, c, "stop", nil)
	})
	return cmd
}

func (a *app) processorInterval() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "interval SECONDS",
		Short: "Set how often the running processor looks whether anything was missed",
		Args:  takes("an interval"),
	}
	cmd.Annotations = map[string]string{"field:check_interval_seconds": "interval"}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		n, err := seconds(args[0])
		if err != nil {
			return usage("%w", err)
		}
		document, err := get(ctx, c, "/v1/processor")
		if err != nil {
			return err
		}
		p, err := decode[processor](document)
		if err != nil {
			return err
		}
		if p.State != "running" {
			return errors.New("the processor is stopped, and setting the interval would start it: say 'belltower processor start --interval' if you want that")
		}
		return a.steer(ctx, c, "start", map[string]any{"check_interval_seconds": n})
	})
	return cmd
}

func (a *app) steer(ctx context.Context, c *client.Client, what string, object map[string]any) error {
	request := client.Request{Method: http.MethodPost, Path: "/v1/processor/" + what, Slow: true}
	if len(object) > 0 {
		request.Body = object
	}
	return writeAndShow(ctx, a, c, request, processorDetails)
}

// stats are what the service counts, as far as they are shown to people.
type stats struct {
	Events       map[string]int `json:"events"`
	Participants struct {
		Total      int            `json:"total"`
		ByResponse map[string]int `json:"by_response"`
		ByStatus   map[string]int `json:"by_status"`
	} `json:"participants"`
	Notifications struct {
		Total     int            `json:"total"`
		ByStatus  map[string]int `json:"by_status"`
		ByChannel map[string]int `json:"by_channel"`
	} `json:"notifications"`
	Processor    processor `json:"processor"`
	Conservation struct {
		Due      int `json:"due"`
		Final    int `json:"final"`
		InFlight int `json:"in_flight"`
		Holes    int `json:"holes"`
	} `json:"conservation"`
	Overtaken int `json:"overtaken"`
	Planner   struct {
		LagSeconds float64 `json:"lag_seconds"`
		Error      string  `json:"error"`
		Planning   []struct {
			EventID string `json:"event_id"`
			Done    int    `json:"done"`
			Total   int    `json:"total"`
		} `json:"planning"`
	} `json:"planner"`
	Channels []struct {
		Name     string `json:"name"`
		Provider string `json:"provider"`
		State    string `json:"state"`
	} `json:"channels"`
	Store struct {
		Position string `json:"position"`
		Events   int64  `json:"events"`
	} `json:"store"`
	Projections []struct {
		Name       string  `json:"name"`
		LagSeconds float64 `json:"lag_seconds"`
	} `json:"projections"`
	TimeZones struct {
		Version string `json:"version"`
		Source  string `json:"source"`
	} `json:"time_zones"`
}

func (a *app) stats() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{Use: "stats", Short: "Show what there is, what was sent, and whether anything is missing", Args: takes()}
	watched(cmd, &watch)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		return a.andWatch(ctx, c, watch, client.Stream{}, func() error {
			document, err := get(ctx, c, "/v1/stats")
			if err != nil {
				return err
			}
			return show(a, document, statsDetails)
		})
	})
	return cmd
}

func statsDetails(s stats) (d details) {
	d.add("events", counted(s.Events, "total", "upcoming", "ongoing", "past", "cancelled"))
	d.add("participants", fmt.Sprintf("total %d, %s, %s", s.Participants.Total, counted(s.Participants.ByStatus), counted(s.Participants.ByResponse)))
	d.add("notifications", fmt.Sprintf("total %d, %s", s.Notifications.Total, counted(s.Notifications.ByStatus, "PENDING", "READY", "SENDING", "SENT", "DELIVERED", "FAILED", "CANCELLED")))
	d.add("by channel", counted(s.Notifications.ByChannel))
	d.add("processor", fmt.Sprintf("%s, every %d s; due %d, in flight %d", s.Processor.State, s.Processor.CheckIntervalSeconds, s.Processor.Due, s.Processor.InFlight))
	d.add("conservation", fmt.Sprintf("due %d, final %d, in flight %d, holes %d", s.Conservation.Due, s.Conservation.Final, s.Conservation.InFlight, s.Conservation.Holes))
	if s.Overtaken > 0 {
		d.add("overtaken", fmt.Sprint(s.Overtaken))
	}
	d.add("planner", fmt.Sprintf("%.1f s behind", s.Planner.LagSeconds))
	d.add("planner stands", s.Planner.Error)
	for _, p := range s.Planner.Planning {
		d.add("planning", fmt.Sprintf("%s: %d of %d", p.EventID, p.Done, p.Total))
	}
	for _, c := range s.Channels {
		d.add("channel", fmt.Sprintf("%s, by %s: %s", c.Name, c.Provider, c.State))
	}
	for _, p := range s.Projections {
		d.add("read by", fmt.Sprintf("%s, %.1f s behind", strings.ReplaceAll(p.Name, "_", " "), p.LagSeconds))
	}
	d.add("log", fmt.Sprintf("%d domain events, at position %s", s.Store.Events, s.Store.Position))
	d.add("time zones", s.TimeZones.Version+", "+s.TimeZones.Source)
	return d
}

// counted says how many there are of each, in the order of first, then by name.
func counted(numbers map[string]int, first ...string) string {
	names := slices.DeleteFunc(slices.Clone(first), func(name string) bool { _, there := numbers[name]; return !there })
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %d", strings.ReplaceAll(name, "_", " "), numbers[name])
	}
	return strings.Join(parts, ", ")
}
