package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// finding is what one check of the doctor's says.
type finding struct {
	Check  string  `json:"check"`
	State  verdict `json:"state"`
	Found  string  `json:"found"`
	Advice string  `json:"advice,omitempty"` // what to do; empty where nothing is to be done
}

// verdict is how good a finding is.
type verdict string

const (
	good    verdict = "ok"
	warning verdict = "warning" // it works, and won't for ever
	failing verdict = "failing"
)

// examination is one run of the doctor's.
type examination struct {
	settings settings
	data     string
	url      string // of a server; empty: where the folder is in use, the one that its settings name
	listen   string
	token    string
	now      func() time.Time
	findings []finding
}

func (e *examination) add(check string, state verdict, found, advice string) {
	e.findings = append(e.findings, finding{check, state, found, advice})
}

func doctorCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	e := &examination{now: time.Now}
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with a data folder and the service on it",
		Long: "Looks at the data folder (lock, files, free space, keys), the clock, the time zones and,\n" +
			"where a service runs, what it says of itself, holes that its auditor found included;\n" +
			"and says what to do about each finding. While no service runs, the log and the keys are\n" +
			"opened, which finishes what a killed process has left; else nothing is changed.\n\n" +
			"The service's token is taken from BELLTOWER_ADMIN_TOKEN or from the data folder.\n\n" +
			"Exit code 0: nothing is failing. 1: it could not be done. 3: something is failing.",
		Args: noArguments("doctor"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			e.settings, e.data, e.listen, e.token = s, s.data, s.listen, s.adminToken
			e.run(cmd.Context())
			return e.tell(o.out, asJSON)
		},
	}
	s.register(cmd.Flags())
	cmd.Flags().StringVar(&e.url, "url", "", "address of the running service (default: from --listen, where the folder is in use)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

// run makes all checks.
func (e *examination) run(ctx context.Context) {
	if e.folder() {
		inUse := e.lock()
		e.files()
		e.space()
		if !inUse {
			e.log(ctx)
		} else if e.url == "" {
			e.url = "http://" + reachable(e.listen)
		}
	}
	e.clock()
	e.timeZones(e.settings)
	if e.url != "" {
		e.server(ctx)
	}
}

// tell prints the findings.
func (e *examination) tell(out io.Writer, asJSON bool) error {
	bad := 0
	for _, f := range e.findings {
		if f.State == failing {
			bad++
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(map[string]any{"failing": bad, "findings": e.findings}); err != nil {
			return fmt.Errorf("print the findings: %w", err)
		}
	} else {
		to := &lines{out: out}
		for _, f := range e.findings {
			to.say("%-8s %-12s %s\n", f.State, f.Check, f.Found)
			if f.Advice != "" {
				to.say("%21s → %s\n", "", f.Advice)
			}
		}
	}
	if bad > 0 {
		return found(fmt.Errorf("%d checks are failing", bad))
	}
	return nil
}
