package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/internal/client"
)

// body is a JSON object made of those flags that are given: what is missing or
// against a rule is for the service to say.
type body struct {
	fields []bodyField
	clear  []string
}

type bodyField struct {
	name string // in JSON
	flag string
	read func(readTime) (any, error)
}

// readTime understands a time as the command at hand does.
type readTime func(text string) (time.Time, error)

func (b *body) add(flag, name string, read func(readTime) (any, error)) {
	b.fields = append(b.fields, bodyField{name, flag, read})
}

func (b *body) text(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.String(flag, "", help)
	b.add(flag, name, func(readTime) (any, error) { return *v, nil })
}

func (b *body) texts(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.StringSlice(flag, nil, help+"; several with commas, or by giving the flag again")
	b.add(flag, name, func(readTime) (any, error) {
		return slices.DeleteFunc(slices.Clone(*v), func(s string) bool { return s == "" }), nil
	})
}

func (b *body) number(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.Int(flag, 0, help)
	b.add(flag, name, func(readTime) (any, error) { return *v, nil })
}

func (b *body) time(flags *pflag.FlagSet, flag, name, help string) {
	v := flags.String(flag, "", help)
	b.add(flag, name, func(read readTime) (any, error) {
		t, err := read(*v)
		if err != nil {
			return nil, err
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	})
}

// clearable adds the flag that empties fields, by the names of their flags.
func (b *body) clearable(flags *pflag.FlagSet, names ...string) {
	flags.StringSliceVar(&b.clear, "clear", nil, "leave empty: "+strings.Join(names, ", "))
	b.add("clear", "", func(readTime) (any, error) {
		for _, name := range b.clear {
			if !slices.Contains(names, name) {
				return nil, fmt.Errorf("%q can't be emptied; what can is %s", name, strings.Join(names, ", "))
			}
		}
		return nil, nil
	})
}

// json gives the object. Its faults are told all at once.
func (b *body) json(flags *pflag.FlagSet, read readTime) (map[string]any, error) {
	object, faults := map[string]any{}, []string{}
	for _, f := range b.fields {
		if !flags.Changed(f.flag) {
			continue
		}
		v, err := f.read(read)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("--%s: %v", f.flag, err))
		case f.name != "":
			object[f.name] = v
		}
	}
	for _, flag := range b.clear {
		for _, f := range b.fields {
			if f.flag != flag {
				continue
			}
			if _, given := object[f.name]; given {
				faults = append(faults, fmt.Sprintf("--clear: --%s sets the same field", flag))
			}
			object[f.name] = nil
		}
	}
	if len(faults) > 0 {
		return nil, usage("%s", strings.Join(faults, "\n  "))
	}
	return object, nil
}

// annotate keeps beside a command which flag each field comes from, so that a
// refusal names that; parent is the field that the object stands in.
func (b *body) annotate(cmd *cobra.Command, parent ...string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	for _, f := range b.fields {
		if f.name != "" {
			cmd.Annotations["field:"+strings.Join(append(parent, f.name), ".")] = f.flag
		}
	}
}

// told says a problem as people read it: every fault on a line, by the flag that
// it came from.
func told(cmd *cobra.Command, p *client.Problem) error {
	text := strings.Replace(p.Error(), "; see errors", "", 1) // they follow
	for _, f := range p.Errors {
		name := f.Field
		if flag, ok := cmd.Annotations["field:"+f.Field]; ok {
			name = "--" + flag
		} else if flag := cmd.Flags().Lookup(strings.ReplaceAll(f.Field, "_", "-")); flag != nil {
			name = "--" + flag.Name
		}
		text += fmt.Sprintf("\n  %s: %s (%s)", name, f.Message, f.Code)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		text += fmt.Sprintf("\n  Give the token in %s, or its file with --token-file", tokenVariable)
	case http.StatusPreconditionFailed:
		text += "\n  It has been changed since that revision: look at it again"
	}
	return &plain{text, p}
}

// plain is an error with its text made for people.
type plain struct {
	text string
	err  error
}

func (p *plain) Error() string { return p.text }

func (p *plain) Unwrap() error { return p.err }
