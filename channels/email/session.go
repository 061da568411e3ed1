package email

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// stage is how far a transaction has come.
type stage uint8

const (
	connecting stage = iota // the connection, EHLO, STARTTLS and AUTH
	sender                  // MAIL
	recipient               // RCPT
	opening                 // DATA
	writing                 // the mail, but for its end
	ending                  // the dot that ends the mail, and the answer to it
)

func (s stage) String() string {
	return [...]string{"connecting", "MAIL", "RCPT", "DATA", "the mail", "the end of the mail"}[s]
}

var (
	errNoUTF8   = errors.New("the server takes no addresses outside ASCII (SMTPUTF8)")
	errTooLarge = errors.New("the mail is larger than the server takes")
)

// partingTime bounds the goodbye after a transaction.
const partingTime = 2 * time.Second

// transact hands over one mail. at is where an error came up. go-mail's own Send
// is not used, as it doesn't tell whether the end of the mail was sent, and ends
// a mail that was cut short, as if it were whole, when it says goodbye.
func (c *Channel) transact(ctx context.Context, e envelope, body []byte) (words string, at stage, err error) {
	err = c.session(ctx, e.needsUTF8(), func(client *smtp.Client) error {
		words, at, err = hand(client, e, body)
		return err
	})
	return words, at, err
}

// session connects and authenticates, and has something done on the connection.
func (c *Channel) session(ctx context.Context, utf8 bool, do func(*smtp.Client) error) error {
	var connection net.Conn
	unhook := func() bool { return true }
	client, err := c.dial(ctx, utf8, func(conn net.Conn) {
		connection = conn
		// Nothing else reaches into reads and writes when ctx ends.
		unhook = context.AfterFunc(ctx, func() { _ = conn.Close() })
	})
	defer func() {
		if unhook(); connection != nil {
			_ = connection.Close()
		}
	}()
	if err != nil {
		return err
	}
	err = do(client)
	if err == nil || hasAnswer(err) {
		// What was begun has been answered, so the goodbye ends no mail.
		_ = connection.SetDeadline(time.Now().Add(partingTime))
		_ = client.Quit()
	}
	return err
}

// dial connects and authenticates. It tells of the connection as soon as there is one.
func (c *Channel) dial(ctx context.Context, utf8 bool, connected func(net.Conn)) (*smtp.Client, error) {
	const never = 24 * time.Hour // ctx decides
	options := []gomail.Option{
		gomail.WithPort(c.o.Port), gomail.WithTimeout(never), gomail.WithTLSConfig(c.tls.Clone()),
		gomail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(dialing, network, address)
			if err != nil {
				return nil, err
			}
			connected(conn)
			if c.o.Security != ImplicitTLS {
				return conn, nil
			}
			secured := tls.Client(conn, c.tls)
			return secured, secured.HandshakeContext(dialing)
		}),
	}
	switch c.o.Security {
	case STARTTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case Opportunity:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case ImplicitTLS:
		options = append(options, gomail.WithSSL())
	case Plaintext:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if !utf8 {
		options = append(options, gomail.WithoutSMTPUTF8())
	}
	if c.o.Username != "" {
		options = append(options, gomail.WithUsername(c.o.Username), gomail.WithPassword(c.o.Password),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5))
	}
	client, err := gomail.NewClient(c.o.Host, options...)
	if err != nil {
		return nil, err
	}
	return client.DialToSMTPClientWithContext(ctx)
}

// hand makes the transaction on a connection that is ready.
func hand(client *smtp.Client, e envelope, body []byte) (words string, at stage, err error) {
	if supported, _ := client.Extension("SMTPUTF8"); e.needsUTF8() && !supported {
		return "", recipient, errNoUTF8
	}
	if _, most := client.Extension("SIZE"); most != "" { // RFC 1870; 0 is no limit
		if n, err := strconv.ParseUint(most, 10, 63); err == nil && n > 0 && uint64(len(body)) > n {
			return "", sender, errTooLarge
		}
	}
	dsn, _ := client.Extension("DSN")
	if e.id != "" {
		client.SetDSNMailReturnOption("HDRS")
		client.SetDSNRcptNotifyOption("FAILURE,DELAY")
	}
	if err := client.Mail(e.mail(dsn)); err != nil {
		return "", sender, err
	}
	if err := client.Rcpt(e.rcpt(dsn)); err != nil {
		return "", recipient, err
	}
	mail, err := client.Data()
	if err != nil {
		return "", opening, err
	}
	if _, err := mail.Write(body); err != nil {
		return "", writing, err
	}
	if err := mail.Close(); err != nil {
		return "", ending, err
	}
	if closer, ok := mail.(*smtp.DataCloser); ok {
		words = closer.ServerResponse()
	}
	return words, ending, nil
}
