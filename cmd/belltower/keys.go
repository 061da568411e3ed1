package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/terminal"
	"github.com/belltower/belltower/keys"
)

// keysCommand is what is done with keys alone.
func keysCommand(env []string, o output) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Work with the keys that personal data is sealed with",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("keys has no command %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keysMoveCommand(env, o))
	return cmd
}

func keysMoveCommand(env []string, o output) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "move",
		Short: "Move the keys of a folder into the database that instances share",
		Long: "Moves the keys of keys.db, in the data folder or the one that --keys names, into the\n" +
			"database of --read-models, for instances that share an EventStoreDB and a database.\n" +
			"It must have no keys yet, and no service may have the file open. All keys are copied in\n" +
			"one transaction and read back; then nothing is left of them in the file, which\n" +
			"only says where they are. Back it up before.\n\n" +
			"Interrupted or killed at any point, nothing is lost, and no key is ever used in two\n" +
			"places: run it again with the same database.",
		Args: noArguments("keys move"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), environment(env)); err != nil {
				return err
			}
			if !s.rows.Shared() {
				return s.refuse("read-models", "it names no database that instances could share: postgres://… or mysql://…")
			}
			return moveKeys(cmd.Context(), s, o)
		},
	}
	s.register(cmd.Flags())
	return cmd
}

func moveKeys(ctx context.Context, s settings, o output) error {
	path := filepath.Join(s.keyFolder(), keys.FileName)
	n, err := keys.Move(ctx, s.keyFolder(), s.rows)
	var mark *keys.MovedError
	switch {
	case errors.As(err, &mark):
		return explainMoved(path, mark)
	case errors.Is(err, keys.ErrInUse):
		return fmt.Errorf("%w: stop what runs on it first", err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted; nothing is lost, and the same command goes on: %w", err)
	case err != nil:
		return err
	}
	to := &terminal.Lines{Out: o.out}
	if n == 0 {
		to.Say("the keys of %s were moved to %s before: nothing is to be done\n", path, s.rows)
		return nil
	}
	to.Say("%d keys were moved from %s to %s\n", n, path, s.rows)
	return nil
}

// explainMoved says where the keys of a file are, and what to do.
func explainMoved(path string, mark *keys.MovedError) error {
	if !mark.Done {
		return fmt.Errorf("%s: %w, and that has not ended: run 'belltower keys move --read-models %s' again, with that database", path, mark, mark.To)
	}
	return fmt.Errorf("%s: %w: they are used with --read-models %s and --store esdb://…, and without --keys", path, mark, mark.To)
}
