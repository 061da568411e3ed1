package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/belltower/belltower/channels"
)

// enhanced is a status code of RFC 3463 at the beginning of an answer. Not all
// servers that give one announce it.
var enhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

// hasAnswer tells whether the server said what failed, or we did before it was asked.
func hasAnswer(err error) bool {
	var answer *textproto.Error
	return errors.As(err, &answer) || errors.Is(err, errNoUTF8) || errors.Is(err, errTooLarge)
}

// classify says what an error means that came up at a stage.
func classify(at stage, err error) channels.Result {
	var answer *textproto.Error
	switch {
	case errors.As(err, &answer):
		status := enhanced.FindString(answer.Msg)
		result := channels.Result{Outcome: answered(at, answer.Code, status), Code: fmt.Sprint(answer.Code)}
		if status != "" {
			result.Code += " " + status
		}
		result.Detail = fmt.Sprintf("email: the server answered %s to %s", result.Code, at)
		if at == connecting {
			result.Detail = fmt.Sprintf("email: the server answered %s before it took anything", result.Code)
		}
		return result
	case errors.Is(err, errNoUTF8), errors.Is(err, errTooLarge):
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: "email: " + err.Error()}
	case at == ending:
		return channels.Result{Outcome: channels.Unknown, Code: "no_answer", Detail: "email: the server didn't say whether it took the mail"}
	case at == connecting:
		return unconnected(err)
	}
	return channels.Result{Outcome: channels.Later, Code: "connection_lost", Detail: fmt.Sprintf("email: the connection was lost before the end of the mail, at %s", at)}
}

// Codes of RFC 5321 and RFC 4954.
const (
	mustAuthenticate = 530
	weakMechanism    = 534
	badCredentials   = 535
	mustEncrypt      = 538
	badMailbox       = 553
	overSize         = 552
)

// answered says what an answer means that a command got at a stage.
func answered(at stage, code int, status string) channels.Outcome {
	temporary, permanent := code >= 400 && code < 500, code >= 500 && code < 600
	tooLarge := code == overSize || status == "5.3.4"
	switch {
	case temporary:
		return channels.Later
	case !permanent: // makes no sense
		if at == ending {
			return channels.Unknown
		}
		return channels.Later
	case code == mustAuthenticate, code == weakMechanism, code == badCredentials, code == mustEncrypt:
		return channels.Broken
	case at == connecting, at == sender && !tooLarge:
		return channels.Broken // no recipient was named yet: it is about us
	case deadAddress(code, status):
		return channels.Gone
	case status == "5.2.2": // the mailbox is full, which RFC 3463, section 3.3, calls transient
		return channels.Later
	}
	return channels.Rejected
}

// deadAddress tells whether an answer says that there is no such address, now or
// ever. status may be empty.
func deadAddress(code int, status string) bool {
	return slices.Contains([]string{"5.1.1", "5.1.2", "5.1.6", "5.1.10"}, status) ||
		code == badMailbox && (status == "" || strings.HasPrefix(status, "5.1."))
}

// unconnected says what it means that no session came about. Nothing can have
// been taken. What the network did will pass; all else is a wrong setting.
func unconnected(err error) channels.Result {
	var (
		certificate *tls.CertificateVerificationError
		noTLS       tls.RecordHeaderError
		network     net.Error
		operation   *net.OpError
	)
	broken := func(code, detail string) channels.Result {
		return channels.Result{Outcome: channels.Broken, Code: code, Detail: "email: " + detail}
	}
	switch {
	case errors.As(err, &certificate):
		return broken("certificate", "the server's certificate can't be verified")
	case errors.As(err, &noTLS):
		return broken("tls", "the server doesn't speak TLS here")
	case errors.As(err, &operation) && (operation.Op == "remote error" || operation.Op == "local error"):
		return broken("tls", "the server and we found no way to encrypt")
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return channels.Result{Outcome: channels.Later, Code: "no_connection", Detail: "email: the server can't be reached"}
	}
	return broken("setup", "the server doesn't offer what is set: encryption, or a way to authenticate")
}

// lastWords is what an error says, the server's own words where there are any.
func lastWords(err error) string {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return fmt.Sprintf("%d %s", answer.Code, answer.Msg)
	}
	return err.Error()
}
