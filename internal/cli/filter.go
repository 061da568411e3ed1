package cli

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// filter is a query made of those flags that are given.
type filter struct {
	parameters []parameter
}

type parameter struct {
	flag, name string
	read       func(readTime) (string, error)
}

func (f *filter) add(flag, name string, read func(readTime) (string, error)) {
	f.parameters = append(f.parameters, parameter{flag, name, read})
}

func (f *filter) text(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.String(flag, "", "only those "+help)
	f.add(flag, name, func(readTime) (string, error) { return *v, nil })
}

func (f *filter) time(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.String(flag, "", "only those "+help+": "+timeHelp)
	f.add(flag, name, func(read readTime) (string, error) {
		t, err := read(*v)
		if err != nil {
			return "", err
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	})
}

// choice takes one of some words, in any case.
func (f *filter) choice(cmd *cobra.Command, flag, name, help string, words ...string) {
	v := cmd.Flags().String(flag, "", "only those "+help+": "+strings.Join(words, ", "))
	complete(cmd, flag, words...)
	f.add(flag, name, func(readTime) (string, error) {
		i := slices.IndexFunc(words, func(word string) bool { return strings.EqualFold(word, *v) })
		if i < 0 {
			return "", fmt.Errorf("%q is not one of %s", *v, strings.Join(words, ", "))
		}
		return words[i], nil
	})
}

// query gives the parameters. Its faults are told all at once.
func (f *filter) query(flags *pflag.FlagSet, read readTime) (url.Values, error) {
	query, faults := url.Values{}, []string{}
	for _, p := range f.parameters {
		if !flags.Changed(p.flag) {
			continue
		}
		v, err := p.read(read)
		if err != nil {
			faults = append(faults, fmt.Sprintf("--%s: %v", p.flag, err))
			continue
		}
		query.Set(p.name, v)
	}
	if len(faults) > 0 {
		return nil, usage("%s", strings.Join(faults, "\n  "))
	}
	return query, nil
}
