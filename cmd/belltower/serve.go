package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/terminal"
)

// drainTime bounds how long requests and sends in flight may take to end.
const drainTime = 25 * time.Second

func serveCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service until SIGTERM or an interrupt",
		Long: "Runs the service until SIGTERM or an interrupt, then finishes requests and sends in\n" +
			"flight. A second signal ends it at once.\n\n" +
			"Each flag can be given by the variable in parentheses or by a line in the file\n" +
			configFile + "; a flag wins over its variable, which wins over the file. Secrets are\n" +
			"given by variables alone, so that no list of processes shows them:\n\n" +
			"  BELLTOWER_ADMIN_TOKEN    the administrator's; default: one is made, shown once and\n" +
			"                           kept in the data folder\n" +
			"  BELLTOWER_TOKENS         further ones, as name:token,name:token\n" +
			"  BELLTOWER_SMTP_PASSWORD  the password for the server that carries e-mail\n" +
			"  BELLTOWER_ESDB_USERS     who may use --esdb-listen, as login:password,login:password",
		Args: noArguments("serve"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(o.err, nil))
			for _, name := range unknownVariables(values) {
				logger.Warn("an environment variable looks like a setting and is none", "name", name)
			}
			return serve(cmd.Context(), s, o, logger)
		},
	}
	s.register(cmd.Flags())
	return cmd
}

// serve runs the service until ctx ends, then drains it.
func serve(ctx context.Context, s settings, o output, logger *slog.Logger) error {
	stdout := &terminal.Lines{Out: o.out}
	service, err := start(ctx, s, stdout, logger)
	if err != nil {
		return err
	}
	stdout.Say("Belltower %s\n", version())
	stdout.Say("  address        %s\n", service.url)
	stdout.Say("  API reference  %s/docs\n", service.url)
	stdout.Say("  data           %s\n", s.data)
	if service.esdb != nil {
		stdout.Say("  EventStoreDB   %s (to read)\n", service.esdb.connectionString(s.esdb))
	}
	if service.profiles != nil {
		stdout.Say("  profiles       http://%s/debug/pprof/\n", service.profiles.address)
	}
	switch {
	case s.adminToken != "":
		stdout.Say("  admin token    from %s\n", adminTokenVariable)
	case service.madeToken != "":
		stdout.Say("  admin token    %s   (shown this once; kept in %s)\n", service.madeToken, service.tokenFile)
	default:
		stdout.Say("  admin token    kept in %s\n", service.tokenFile)
	}
	stdout.Say("  time zones     %s, %s\n", service.zones.Version, service.zones.Source)
	printed := false
	for _, c := range service.channels {
		stdout.Say("  channel        %s\n", carrier(c))
		printed = printed || c.Provider == "console"
	}
	if s.publicURL == "" && len(s.providers.registered) > 0 {
		stdout.Say("  public URL     none: messages have no link to end them; see --public-url\n")
	}
	if printed {
		stdout.Say("The console channel delivers to nobody: each message is a line of JSON here.\n")
	}

	var failed error
	select {
	case <-ctx.Done():
		logger.Info("stopping: requests and sends in flight are finished first")
	case failed = <-service.failed:
	}
	if err := service.stop(); failed == nil {
		failed = err
	}
	return failed
}
