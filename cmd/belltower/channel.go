package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/internal/terminal"
)

func channelCommand(env []string, o output) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channel",
		Short: "Try a channel",
		Args:  noArguments("channel"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(channelTestCommand(env, o))
	return cmd
}

func channelTestCommand(env []string, o output) *cobra.Command {
	values := environment(env)
	var s settings
	cmd := &cobra.Command{
		Use:   "test CHANNEL ADDRESS",
		Short: "Send one message, and say exactly what the provider answered",
		Long: "Sends one message over a channel, as serve would with the same settings, and says\n" +
			"exactly what the provider answered. No data folder is needed, but for the key of web\n" +
			"push, and nothing is kept. Where several carry a channel it is the first; CHANNEL/PROVIDER\n" +
			"names another, such as email/smtp.\n\n" +
			"  belltower channel test email someone@example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(errors.New("channel test takes a channel and an address, such as: email someone@example.org"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.resolve(cmd.Flags(), values); err != nil {
				return err
			}
			return testChannel(cmd.Context(), s, args[0], args[1], &terminal.Lines{Out: o.out})
		},
	}
	s.register(cmd.Flags())
	return cmd
}

// talkative is a channel that can tell what its provider said.
type talkative interface {
	Try(ctx context.Context, m channels.Message) (r channels.Result, words string)
}

// outcomeWords are what an outcome means to who tests a channel.
var outcomeWords = map[channels.Outcome]string{
	channels.Accepted: "accepted",
	channels.Later:    "not taken now; it would be tried again",
	channels.Unknown:  "unknown: it may have been taken",
	channels.Rejected: "refused",
	channels.Gone:     "refused: there is no such address",
	channels.OptedOut: "refused: the recipient wants no messages",
	channels.Broken:   "our settings or credentials are wrong",
}

func testChannel(ctx context.Context, s settings, name, to string, out *terminal.Lines) error {
	registered := register(out, s)
	var channel *channels.Registration
	for i, r := range registered { // the first one where several carry it and none is named
		if channel == nil && (r.Name == name || r.Name+"/"+r.Provider == name) {
			channel = &registered[i]
		}
	}
	if channel == nil {
		return usage(fmt.Errorf("there is no channel %q; there are: %s", name, strings.Join(names(registered), ", ")))
	}
	now := time.Now()
	m := channels.Message{
		ID: uuid.NewString(), Channel: channel.Name, Attempt: 1, To: to, Subject: "Test message from Belltower",
		Text: "This is a test. Belltower can send you messages.", Due: now, Expires: now.Add(time.Hour),
	}
	if err := channel.Channel.Check(m); err != nil {
		return usage(err)
	}
	if channel.Timeout == 0 {
		channel.Timeout = smtpTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, channel.Timeout)
	defer cancel()
	began := time.Now()
	var (
		result channels.Result
		words  string
	)
	if t, ok := channel.Channel.(talkative); ok {
		result, words = t.Try(ctx, m)
	} else {
		result = channel.Channel.Send(ctx, m)
	}
	out.Say("channel   %s\n", carrier(*channel))
	out.Say("outcome   %s (after %v)\n", outcomeWords[result.Outcome], time.Since(began).Round(time.Millisecond))
	if words != "" {
		out.Say("answer    %s\n", strings.ReplaceAll(words, "\n", "\n          "))
	}
	if result.Ref != "" {
		out.Say("id        %s\n", result.Ref)
	}
	if result.Outcome == channels.Accepted && result.Detail != "" {
		out.Say("detail    %s\n", result.Detail)
	}
	if channel.Provider == "console" {
		out.Say("The console channel delivers to nobody.\n")
	}
	if result.Outcome != channels.Accepted {
		return errors.New(result.Detail)
	}
	return nil
}
