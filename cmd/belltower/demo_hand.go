package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belltower/belltower/internal/terminal"
)

// demoByHand shows menus until the user has seen enough, and leaves nothing behind.
func demoByHand(ctx context.Context, in io.Reader, env map[string]string, plain bool, o output) error {
	// A terminal that is closed is no reason to leave a folder behind.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	stdout := &terminal.Lines{Out: o.out}
	// While a form is shown nothing may be written between its lines.
	sent, warned := &held{}, &held{}
	err := inTemporaryFolder(ctx, sent, warned, stdout, func(s *service) error {
		ask := newAsker(ctx, in, o.out, stdout, env, plain)
		defer ask.close()
		stdout.Say("Belltower %s is on %s, in a temporary folder. Nothing is delivered to anybody.\n", version(), s.url)
		if ask.typed == nil {
			stdout.Say("Esc goes back, Ctrl-C ends it.\n")
		}
		h := &hand{ctx: ctx, client: demoClient{url: s.url, token: s.token}, ask: ask, out: stdout, sent: sent, warned: warned, warnings: o.err}
		err := h.menu("What now?", h.main)
		h.tell()
		if errors.Is(err, errEnded) {
			stdout.Say("The input has ended.\n")
			return nil
		}
		return err
	})
	warned.flush(o.err)
	return err
}

// hand does what its user chooses.
type hand struct {
	ctx      context.Context
	client   demoClient
	ask      *asker
	out      *terminal.Lines
	sent     *held // lines of the console channel
	warned   *held // lines of the service's log
	warnings io.Writer
	after    string // Consistency-Token of the last write
}

// choice is a line of a menu.
type choice struct {
	title string
	do    func() error // nil: goes back
}

// menu shows choices, which may change, until one of them goes back.
func (h *hand) menu(title string, choices func() ([]choice, error)) error {
	for {
		h.tell()
		all, err := choices()
		if err != nil {
			return err
		}
		if all == nil { // what the menu is about is gone
			return nil
		}
		titles := make([]string, len(all))
		for i, c := range all {
			titles[i] = c.title
		}
		chosen, err := h.ask.choose(title, titles)
		if errors.Is(err, errBack) || (err == nil && all[chosen].do == nil) {
			return nil
		} else if err != nil {
			return err
		}
		if err := all[chosen].do(); err != nil && !errors.Is(err, errBack) {
			return err
		}
	}
}

func (h *hand) main() ([]choice, error) {
	return []choice{
		{"Create an event", h.createEvent},
		{"Choose an event, to see or change it", h.chooseEvent},
		{"List all messages", func() error { return h.messages("/v1/notifications") }},
		{"Send what is due now", h.sendDue},
		{"Start or stop the processor, which sends by the clock", h.processor},
		{"Show statistics", h.statistics},
		{"Wait, and see what is sent", h.wait},
		{"Clear messages that are done", h.clear},
		{"Quit", nil},
	}, nil
}

// call makes a request, and says why where it is refused: then ok is false.
func (h *hand) call(method, path string, body any) (answer object, ok bool, err error) {
	got, err := h.client.ask(h.ctx, method, path, h.after, body)
	if err != nil {
		return nil, false, err
	}
	if token := got.token(); token != "" {
		h.after = token
	}
	if got.status < 400 {
		return got.body, true, nil
	}
	h.out.Say("   refused (%d %s): %s\n", got.status, got.body.text("code"), strings.TrimSuffix(got.body.text("detail"), "."))
	for _, fault := range got.body.list("errors") {
		h.out.Say("   - %s: %s\n", fault.text("field"), fault.text("message"))
	}
	return got.body, false, nil
}

// all gets the items of every page.
func (h *hand) all(path string) ([]object, error) {
	var items []object
	joint := "?"
	if strings.Contains(path, "?") {
		joint = "&"
	}
	for cursor := ""; ; {
		page := path + joint + "limit=200"
		if cursor != "" {
			page += "&cursor=" + cursor
		}
		got, ok, err := h.call(http.MethodGet, page, nil)
		if err != nil || !ok {
			return items, err
		}
		items = append(items, got.items()...)
		if cursor = got.text("next_cursor"); cursor == "" {
			return items, nil
		}
	}
}

// submit asks for fields and makes a request of them, until it is taken or given up.
func (h *hand) submit(title, method, path string, fields []*formField, body func() (object, error)) (object, error) {
	for {
		if err := h.ask.fill(title, fields); err != nil {
			return nil, err
		}
		sent, err := body()
		if err == nil {
			var answer object
			var ok bool
			if answer, ok, err = h.call(method, path, sent); err != nil {
				return nil, err
			} else if ok {
				return answer, nil
			}
		} else {
			h.out.Say("   %v\n", err)
		}
		again, err := h.ask.confirm("Correct it?", true)
		if err != nil {
			return nil, err
		}
		if !again {
			return nil, errBack
		}
	}
}

// tell shows what went out since it was shown last.
func (h *hand) tell() {
	for _, line := range h.sent.take() {
		h.out.Say("   sent %s\n", carried(line))
	}
	h.warned.flush(h.warnings)
}

func (h *hand) sendDue() error {
	got, ok, err := h.call(http.MethodPost, "/v1/notifications/send-due", nil)
	if err == nil && ok {
		h.out.Say("   sent %d, failed %d, still due %d\n", got.number("sent"), got.number("failed"), got.number("still_due"))
	}
	return err
}

func (h *hand) processor() error {
	return h.menu("The processor", func() ([]choice, error) {
		got, ok, err := h.call(http.MethodGet, "/v1/processor", nil)
		if err != nil || !ok {
			return nil, err
		}
		h.out.Say("   it is %s and looks every %d s; %s\n", got.text("state"), got.number("check_interval_seconds"), counts(got, "due", "in_flight"))
		return []choice{
			{"Start it", func() error {
				every := &formField{name: "check_interval_seconds", title: "Seconds between checks", hint: "1 to 3600", text: "30", read: whole}
				_, err := h.submit("Start the processor", http.MethodPost, "/v1/processor/start", []*formField{every}, func() (object, error) { return filled([]*formField{every}) })
				return err
			}},
			{"Stop it", func() error { _, _, err := h.call(http.MethodPost, "/v1/processor/stop", nil); return err }},
			{"Back", nil},
		}, nil
	})
}

func (h *hand) statistics() error {
	got, ok, err := h.call(http.MethodGet, "/v1/stats", nil)
	if err == nil && ok {
		sayStatistics(h.out, got)
	}
	return err
}

func (h *hand) wait() error {
	bound := 10
	seconds := &formField{title: "Seconds", text: strconv.Itoa(bound), hint: "1 to 600", read: func(text string) (_ any, err error) {
		if bound, err = strconv.Atoi(strings.TrimSpace(text)); err != nil || bound < 1 || bound > 600 {
			return nil, errors.New("a whole number from 1 to 600 is needed")
		}
		return bound, nil
	}}
	if err := h.ask.fill("Wait", []*formField{seconds}); err != nil {
		return err
	}
	h.out.Say("   waiting for %d s\n", bound)
	end := time.After(time.Duration(bound) * time.Second)
	for tick := time.Tick(100 * time.Millisecond); ; {
		select {
		case <-tick:
			h.tell()
		case <-end:
			h.tell()
			return nil
		case <-h.ctx.Done():
			return errInterrupted
		}
	}
}

func (h *hand) clear() error {
	days := &formField{title: "Done for how many days", text: "0", read: whole}
	if err := h.ask.fill("Clear messages that are done", []*formField{days}); err != nil {
		return err
	}
	got, ok, err := h.call(http.MethodDelete, "/v1/notifications?older_than_days="+url.QueryEscape(strings.TrimSpace(days.text)), nil)
	if err == nil && ok {
		h.out.Say("   %d cleared\n", got.number("removed"))
	}
	return err
}

func (h *hand) messages(path string) error {
	items, err := h.all(path)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		h.out.Say("   there are no messages\n")
	}
	for _, n := range items {
		text := n.text("message")
		if text == "" {
			text = "(its text is made when it is sent)"
		}
		h.out.Say("   %-9s  %s  %s: %s", n.text("status"), when(n.text("scheduled_time")), n.text("channel"), oneLine(text))
		if why := n.text("last_error"); why != "" {
			h.out.Say(" (%s)", why)
		}
		h.out.Say("\n")
	}
	return nil
}

// oneLine shows a text in one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// one has one of the items chosen; nil where there is none, or none was wanted.
func (h *hand) one(title, none string, items []object, label func(object) string) (object, error) {
	if len(items) == 0 {
		h.out.Say("   %s\n", none)
		return nil, nil
	}
	options := make([]string, 0, len(items)+1)
	for _, item := range items {
		options = append(options, label(item))
	}
	chosen, err := h.ask.choose(title, append(slices.Clip(options), "Back"))
	if err != nil || chosen == len(items) {
		return nil, err
	}
	return items[chosen], nil
}
