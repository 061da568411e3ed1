package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func demoCommand(o output) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole service at work, by itself, in a temporary folder",
		Long: "Starts the service on a free port with a temporary folder, goes through events,\n" +
			"participants, reminders, announcements and the processor over HTTP, checks every\n" +
			"answer, and removes the folder. It takes some seconds and delivers to nobody.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("demo takes no arguments, and was given %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), o) },
	}
}

// demo runs the show and leaves nothing behind.
func demo(ctx context.Context, o output) (err error) {
	folder, err := os.MkdirTemp("", "belltower-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	stdout := &lines{out: o.out}
	// Warnings and errors are part of what there is to see; the rest is not.
	logger := slog.New(slog.NewTextHandler(o.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := settings{listen: "127.0.0.1:0", data: folder, store: "embedded", readModels: "sqlite"}
	service, err := start(ctx, s, stdout, logger)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := service.stop(); stopErr != nil {
			err = errors.Join(err, stopErr)
		} else if err == nil {
			stdout.say("\nStopped cleanly; the temporary folder is removed.\n")
		}
	}()
	stdout.say("Belltower %s shows itself on %s, in a temporary folder.\n", version(), service.url)
	stdout.say("Lines of JSON are messages, as the console channel carries them.\n")
	show := &show{ctx: ctx, client: demoClient{url: service.url, token: service.token}, out: stdout, began: time.Now()}
	if err := show.run(); ctx.Err() == nil {
		return err
	}
	return errors.New("interrupted; the temporary folder is removed")
}
