package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

func versionCommand(o output) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  noArguments("version"),
		RunE: func(*cobra.Command, []string) error {
			out := &lines{out: o.out}
			out.say("Belltower %s\n", version())
			out.say("  built with  %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			out.say("  time zones  %s, linked in\n", linkedZonesVersion())
			return nil
		},
	}
}
