package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/terminal"
)

func versionCommand(o output) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  noArguments("version"),
		RunE: func(*cobra.Command, []string) error {
			out := &terminal.Lines{Out: o.out}
			out.Say("Belltower %s\n", version())
			out.Say("  built with  %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			out.Say("  time zones  %s, linked in\n", linkedZonesVersion())
			return nil
		},
	}
}
