package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/terminal"
)

func demoCommand(env []string, o output) *cobra.Command {
	var interactive, plain bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole service at work, by itself or by hand, in a temporary folder",
		Long: "Starts the service on a free port with a temporary folder, goes through events,\n" +
			"participants, reminders, announcements and the processor over HTTP, checks every\n" +
			"answer, and removes the folder. It takes some seconds and delivers to nobody.\n\n" +
			"With --interactive you do it by hand, with menus and forms. Where there is no\n" +
			"terminal, or a dumb one, it asks line by line, so that answers can be piped in; it\n" +
			"ends with the input, with exit code 0, or with Ctrl-C, with exit code 1.",
		Args: noArguments("demo"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case interactive:
				return demoByHand(cmd.Context(), cmd.InOrStdin(), environment(env), plain, o)
			case plain:
				return usage(errors.New("--plain is for demo --interactive"))
			}
			return demo(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "do it by hand, with menus and forms")
	cmd.Flags().BoolVar(&plain, "plain", false, "with --interactive: ask line by line, as screen readers and pipes need it")
	return cmd
}

// errInterrupted ends a demo on a signal or Ctrl-C.
var errInterrupted = errors.New("interrupted; the temporary folder is removed")

// demo runs the show and leaves nothing behind.
func demo(ctx context.Context, o output) error {
	stdout := &terminal.Lines{Out: o.out}
	return inTemporaryFolder(ctx, stdout, o.err, stdout, func(s *service) error {
		stdout.Say("Belltower %s shows itself on %s, in a temporary folder.\n", version(), s.url)
		stdout.Say("Lines of JSON are messages, as the console channel carries them.\n")
		show := &show{ctx: ctx, client: demoClient{url: s.url, token: s.token}, out: stdout, began: time.Now()}
		return show.run()
	})
}

// inTemporaryFolder starts the service in one, and leaves nothing behind. What
// the console channel carries goes to sent, the service's warnings go to warned.
func inTemporaryFolder(ctx context.Context, sent, warned io.Writer, stdout *terminal.Lines, do func(*service) error) (err error) {
	folder, err := os.MkdirTemp("", "belltower-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	// Warnings and errors are part of what there is to see; the rest is not.
	logger := slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := settings{listen: "127.0.0.1:0", data: folder, store: "embedded", readModels: "sqlite"}
	service, err := start(ctx, s, sent, logger)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := service.stop(); stopErr != nil {
			err = errors.Join(err, stopErr)
		} else if err == nil {
			stdout.Say("\nStopped cleanly; the temporary folder is removed.\n")
		}
	}()
	if err := do(service); ctx.Err() == nil {
		return err
	}
	return errInterrupted
}
