package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// inForce is a setting as config shows it.
type inForce struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Secret bool   `json:"secret,omitempty"`
}

func configCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var (
		s      settings
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the settings in force, and where each comes from",
		Long: "Shows the settings that serve would run with in this place: a flag wins over its\n" +
			"variable, which wins over the file. Secrets are not shown.",
		Args: noArguments("config"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(o.out)
				encoder.SetIndent("", "  ")
				encoder.SetEscapeHTML(false)
				return encoder.Encode(s.inForce())
			}
			table := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
			for _, one := range s.inForce() {
				fmt.Fprintf(table, "%s\t%s\t%s\n", one.Name, orDash(one.Value), one.Source) //nolint:errcheck // Flush tells
			}
			return table.Flush()
		},
	}
	s.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, for programs")
	return cmd
}

// inForce lists all settings, in the order of their flags.
func (s *settings) inForce() []inForce {
	var all []inForce
	source := func(name string) string {
		if from, ok := s.sources[name]; ok {
			return from
		}
		return "default"
	}
	for _, f := range s.flags() {
		all = append(all, inForce{Name: f.flag, Value: withoutPassword(*f.value), Source: source(f.flag)})
	}
	for _, name := range secretVariables {
		shown := ""
		if _, given := s.sources[name]; given {
			shown = "(hidden)"
		}
		label := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "BELLTOWER_"), "_", "-"))
		all = append(all, inForce{Name: label, Value: shown, Source: source(name), Secret: true})
	}
	return all
}

var passwordInURL = regexp.MustCompile(`^([a-z+]+://[^:/@]*):[^@]*@`)

// withoutPassword hides the password in a connection string, which --store may have.
func withoutPassword(value string) string {
	return passwordInURL.ReplaceAllString(value, "$1:(hidden)@")
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

// noArguments refuses arguments by what was given.
func noArguments(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(fmt.Errorf("%s takes no arguments, and was given %q", command, args[0]))
		}
		return nil
	}
}
