package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/cli"
)

// bounceKey is what the marks in bounce addresses are made with: a key that the
// log's instances share, once it is open. Until then, as for 'channel test', it is
// one that nobody has, and what bounces is no news. Its methods may be called
// concurrently.
type bounceKey struct{ digest atomic.Pointer[digest] }

type digest = func(data []byte) []byte

const bouncePurpose = "bounce address"

func newBounceKey() *bounceKey {
	nobodys := []byte(rand.Text())
	k := &bounceKey{}
	k.use(func(data []byte) []byte {
		mac := hmac.New(sha256.New, nobodys)
		mac.Write(data)
		return mac.Sum(nil)
	})
	return k
}

func (k *bounceKey) use(d digest) { k.digest.Store(&d) }

func (k *bounceKey) of(data []byte) []byte { return (*k.digest.Load())(data) }

// Exit codes that mail servers know (sysexits.h).
const (
	exitNoBounce = 65 // EX_DATAERR: it never will be taken
	exitTryAgain = 75 // EX_TEMPFAIL: try again later
)

// maxBounce is how much of a mail is handed on. The report stands at its beginning;
// what follows is the mail that we sent.
const maxBounce = 256 << 10

const (
	bouncePath = "/v1/receipts/smtp"
	bounceTime = time.Minute
)

func bounceCommand(env []string, in io.Reader) *cobra.Command {
	values := environment(env)
	var to cli.Connection
	cmd := &cobra.Command{
		Use:     "bounce",
		GroupID: cli.GroupID,
		Short:   "Hand a mail that came to the bounce address to the service, for a mail server's pipe",
		Long: "Reads a mail from its input and hands it to the service, which believes it by the mark\n" +
			"in the address that it came to; no token is needed. For mail servers that pass the mails\n" +
			"to --smtp-bounce-address to a command; docs/channels.md has lines for Postfix and Exim.\n\n" +
			"Exit codes are those of sysexits.h. 0: it was taken, or is nothing that matters, such as\n" +
			"an out-of-office note. 65: it is no bounce of ours. 75: anything else, such as a service\n" +
			"that can't be reached or a wrong flag; try again later.",
		Args: func(cmd *cobra.Command, args []string) error { return tryAgain(noArguments("bounce")(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return handBounce(cmd.Context(), in, func() (string, error) {
				return to.Address(values, func() (cli.Local, error) { return localService(values) })
			})
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return tryAgain(err) })
	cmd.Flags().StringVar(&to.URL, "url", "", "address of the service (BELLTOWER_URL; default: where 'belltower serve' listens with the settings of this folder)")
	return cmd
}

// tryAgain lets a mail server keep what could not be handed over.
func tryAgain(err error) error {
	if err == nil {
		return nil
	}
	return &cli.Error{Code: exitTryAgain, Err: err}
}

func handBounce(ctx context.Context, in io.Reader, address func() (string, error)) error {
	mail, err := io.ReadAll(io.LimitReader(in, maxBounce))
	if err == nil {
		_, err = io.Copy(io.Discard, in) // who writes shall not see a broken pipe
	}
	if err != nil {
		return tryAgain(fmt.Errorf("read the mail: %w", err))
	}
	base, err := address()
	if err != nil {
		return tryAgain(err)
	}
	ctx, cancel := context.WithTimeout(ctx, bounceTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+bouncePath, bytes.NewReader(mail))
	if err != nil {
		return tryAgain(err)
	}
	req.Header.Set("Content-Type", "message/rfc822")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return tryAgain(fmt.Errorf("hand over the mail: %w", err))
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return &cli.Error{Code: exitNoBounce, Err: fmt.Errorf("it is no bounce of ours: the service answered %s: %s", resp.Status, strings.TrimSpace(string(said)))}
	}
	return tryAgain(errors.New("the service answered " + resp.Status))
}
