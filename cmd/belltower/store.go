package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/durable"
	"github.com/belltower/belltower/internal/terminal"
)

// storeCommand is what is done with a log alone.
func storeCommand(env []string, o output) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Work with a log alone",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("store has no command %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(storeServeCommand(env, o))
	return cmd
}

func storeServeCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var data string
	var s esdbSettings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a log to EventStoreDB's clients until SIGTERM or an interrupt",
		Long: "Serves the log of a data folder by EventStoreDB's gRPC protocol, for reading and\n" +
			"writing, until SIGTERM or an interrupt. Several 'belltower serve --store esdb://…'\n" +
			"can share it.\n\n" +
			"  BELLTOWER_ESDB_USERS  who may use it, as login:password,login:password; default:\n" +
			"                        everybody who reaches the address, which must be this machine's",
		Args: noArguments("store serve"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check("--listen (BELLTOWER_ESDB_LISTEN)", "--tls-cert (BELLTOWER_ESDB_TLS_CERT)", values); err != nil {
				return err
			}
			if s.listen == "" {
				return usage(errors.New("--listen (BELLTOWER_ESDB_LISTEN): no address is named"))
			}
			return storeServe(cmd.Context(), data, s, o)
		},
	}
	for _, f := range []setting{
		{"listen", "BELLTOWER_ESDB_LISTEN", "127.0.0.1:2113", "address to listen on, HOST:PORT", &s.listen},
		{"data", "BELLTOWER_DATA", "./data", "folder of the log", &data},
		{"tls-cert", "BELLTOWER_ESDB_TLS_CERT", "", "file of the certificate to serve TLS with (default: none)", &s.cert},
		{"tls-key", "BELLTOWER_ESDB_TLS_KEY", "", "file of the certificate's key", &s.key},
	} {
		f.register(cmd.Flags(), values)
	}
	return cmd
}

// storeServe serves the log in a folder until ctx ends.
func storeServe(ctx context.Context, data string, s esdbSettings, o output) (err error) {
	logger := slog.New(slog.NewTextHandler(o.err, nil))
	if err := durable.MkdirAll(data); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	log, err := embedded.Open(ctx, data, embedded.Options{Now: time.Now, Logger: logger})
	if errors.Is(err, eventstore.ErrLocked) {
		return fmt.Errorf("the data folder %s is in use by another belltower: %w", data, err)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	served, err := serveESDB(s, log, false)
	if err != nil {
		return err
	}
	stdout := &terminal.Lines{Out: o.out}
	stdout.Say("Belltower %s serves a log to EventStoreDB's clients\n", version())
	stdout.Say("  address        %s\n", served.connectionString(s))
	stdout.Say("  data           %s\n", data)
	return served.waitFor(ctx)
}
