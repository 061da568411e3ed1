package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/cli"
	"github.com/belltower/belltower/internal/client"
	"github.com/belltower/belltower/internal/terminal"
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
	settings   settings
	env        map[string]string
	connection cli.Connection // to a server; none is named: where the folder is in use, the one that its settings name
	data       string
	now        func() time.Time
	lookup     func(ctx context.Context, name string) (texts []string, err error) // in DNS
	findings   []finding
}

func (e *examination) add(check string, state verdict, found, advice string) {
	e.findings = append(e.findings, finding{check, state, found, advice})
}

func doctorCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	e := &examination{now: time.Now, env: values, lookup: net.DefaultResolver.LookupTXT}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with a data folder and the service on it",
		Long: "Looks at the configuration, the data folder (lock, files, free space, keys), the clock,\n" +
			"the time zones, the database that instances share, the providers (it logs in and sends nothing), what DNS says of the keys that sign mail and, where a service runs,\n" +
			"its clock and what it says of itself, holes that its auditor found included; and says\n" +
			"what to do about each finding. While no service runs, the log and the keys are opened,\n" +
			"which finishes what a killed process has left; else nothing is changed.\n\n" +
			"With --url or BELLTOWER_URL that service is looked at, wherever it runs, and the data\n" +
			"folder only where there is one.\n\n" +
			"Exit code 0: nothing is failing. 1: it could not be done. 2: a wrong flag or argument.\n" +
			"3: something is failing.",
		Args: noArguments("doctor"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			configured, err := e.configuration(cmd.Flags())
			if err != nil {
				return err
			}
			e.data = e.settings.data
			if err := e.run(cmd.Context(), configured); err != nil {
				return err
			}
			return e.tell(o.out, asJSON)
		},
	}
	e.settings.register(cmd.Flags())
	e.connection.Register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

// run makes all checks; configured tells whether the settings may be relied on.
func (e *examination) run(ctx context.Context, configured bool) error {
	// A wrong address or token is a mistake of the caller's, and no finding.
	url, token, err := e.connection.Resolve(e.env, func() (cli.Local, error) {
		return cli.Local{URL: "http://" + reachable(e.settings.listen), TokenFile: filepath.Join(e.data, adminTokenFile)}, nil
	})
	if err != nil {
		return err
	}
	ask, inUse := e.connection.Named(e.env), false
	if !e.elsewhere() && e.folder() {
		inUse = e.lock()
		e.files()
		e.madeAnew()
		e.space()
		if !inUse {
			e.log(ctx)
		}
		ask = ask || inUse
	}
	e.clock()
	e.timeZones(e.settings)
	if configured {
		e.readModels(ctx, inUse)
		e.database(ctx)
		e.providers(ctx)
		e.signing(ctx)
	}
	if ask {
		defer client.CloseIdle()
		e.server(ctx, &client.Client{URL: url, Token: token})
	}
	return nil
}

// elsewhere tells whether the service that is named has its folder on another
// machine, as far as can be seen: none is named here, and there is none.
func (e *examination) elsewhere() bool {
	_, named := e.settings.sources["data"]
	_, err := os.Stat(e.data)
	return e.connection.Named(e.env) && !named && errors.Is(err, fs.ErrNotExist)
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
		to := &terminal.Lines{Out: out}
		for _, f := range e.findings {
			to.Say("%-8s %-13s %s\n", f.State, f.Check, f.Found)
			if f.Advice != "" {
				to.Say("%22s → %s\n", "", f.Advice)
			}
		}
	}
	if bad > 0 {
		return found(fmt.Errorf("%d checks are failing", bad))
	}
	return nil
}
