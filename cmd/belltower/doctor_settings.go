package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/belltower/belltower/channels"
)

// configuration reads the settings. What is wrong in the file or in a variable is
// a finding, and the checks that don't need it go on; a wrong flag is an error.
func (e *examination) configuration(flags *pflag.FlagSet) (configured bool, err error) {
	for _, name := range unknownVariables(e.env) {
		e.add("configuration", warning, name+" looks like a setting and is none", "'belltower serve --help' lists those there are")
	}
	var found settings
	unset := pflag.NewFlagSet("", pflag.ContinueOnError)
	found.register(unset)
	if f := flags.Lookup(configFlag); f.Changed {
		if err := unset.Set(configFlag, f.Value.String()); err != nil {
			return false, err
		}
	}
	wrong := found.resolve(unset, e.env)
	err = e.settings.resolve(flags, e.env)
	switch {
	case wrong != nil:
		e.add("configuration", failing, wrong.Error(), "correct it: 'belltower serve' won't start so; 'belltower config' shows what is in force")
		return false, nil
	case err != nil:
		return false, err
	}
	from := map[string]int{}
	for _, source := range found.sources {
		file, _, inFile := strings.Cut(source, ":")
		if !inFile {
			file = "the environment"
		}
		from[file]++
	}
	said := "neither a file nor a variable sets anything"
	if len(from) > 0 {
		said = fmt.Sprintf("%s; the rest are defaults", counted(from))
	}
	e.add("configuration", good, said, "")
	return true, nil
}

// counted says how many settings come from where.
func counted(from map[string]int) string {
	parts := make([]string, 0, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		parts = append(parts, fmt.Sprintf("%d from %s", from[name], name))
	}
	return strings.Join(parts, ", ")
}

// probed is a channel that can look whether its provider takes messages from us,
// without sending one.
type probed interface {
	Probe(ctx context.Context) (r channels.Result, words string)
}

// providers looks whether those who carry messages would.
func (e *examination) providers(ctx context.Context) {
	registered := register(io.Discard, e.settings)
	for _, r := range registered {
		channel, can := r.Channel.(probed)
		switch {
		case r.Provider == "console" && r.Name == "email":
			e.add("provider", warning, carrier(r)+": mails are printed and reach nobody", "name a mail server with --smtp, if they are meant to")
		case !can:
			e.add("provider", good, carrier(r)+", which can't be tried without sending", "")
		default:
			e.probe(ctx, r, channel)
		}
	}
}

func (e *examination) probe(ctx context.Context, r channels.Registration, channel probed) {
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	result, words := channel.Probe(ctx)
	switch result.Outcome {
	case channels.Accepted:
		e.add("provider", good, carrier(r)+": it lets us in", "")
	case channels.Broken:
		e.add("provider", failing, fmt.Sprintf("%s: %s (%s)", carrier(r), result.Detail, words), "correct its address, encryption, user or password; 'belltower channel test' sends one message")
	default:
		e.add("provider", failing, fmt.Sprintf("%s: %s (%s)", carrier(r), result.Detail, words), "see that it runs and can be reached from here; messages wait until then, or expire")
	}
}
