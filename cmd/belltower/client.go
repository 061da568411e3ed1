package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/internal/cli"
)

// clientCommands adds the commands that ask a running service.
func clientCommands(root *cobra.Command, env []string, o output) {
	values := environment(env)
	root.AddGroup(&cobra.Group{ID: cli.GroupID, Title: "Asking a running service:"})
	root.AddCommand(cli.Commands(cli.Options{
		Env: values, In: os.Stdin, Out: o.out, Err: o.err,
		Local: func() (cli.Local, error) { return localService(values) },
	})...)
}

// localService says where a service with the settings of this place listens, and
// where it keeps its token. Its other settings don't matter, and aren't checked.
func localService(values map[string]string) (cli.Local, error) {
	file, err := readConfig(pflag.NewFlagSet("", pflag.ContinueOnError), values)
	if err != nil {
		return cli.Local{}, err
	}
	var s settings
	for _, f := range s.flags() {
		*f.value = f.initial
		if v, ok := values[f.variable]; ok {
			*f.value = v
		} else if line, ok := file.lines[f.flag]; ok {
			*f.value = line.value
		}
	}
	return cli.Local{URL: "http://" + reachable(s.listen), TokenFile: filepath.Join(s.data, adminTokenFile)}, nil
}
