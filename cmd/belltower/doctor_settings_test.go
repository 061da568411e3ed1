package main

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// What is wrong in the file is found, with what to do, and the rest is looked at all the same.
func TestDoctorOfTheConfiguration(t *testing.T) {
	folder, _ := used(t)
	file := written(t, "belltower.yaml", "data: "+folder+"\nsmtp-tls: none\n")
	one(t, examined(t, exitOK, "--config", file), "configuration", good, "2 from "+file)
	wrong := written(t, "belltower.yaml", "listen: nowhere\n")
	all := examined(t, exitFound, "--config", wrong, "--data", folder)
	one(t, all, "configuration", failing, wrong+`:1: --listen (BELLTOWER_LISTEN): "nowhere" is not HOST:PORT`)
	one(t, all, "keys", good, "they open the log")
	require.Empty(t, all["provider"], "what is set can't be relied on")

	code, out, said := once(t, []string{"BELLTOWER_LITSEN=:80"}, "doctor", "--data", folder)
	require.Equal(t, exitOK, code, said)
	require.Contains(t, out, "BELLTOWER_LITSEN looks like a setting and is none")
	code, out, said = once(t, nil, "doctor", "--data", folder, "--listen", "nowhere")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, said, "--listen")
}

// taker is a mail server that takes everything.
type taker struct{ mails int }

func (k *taker) NewSession(*smtp.Conn) (smtp.Session, error) { return k, nil }
func (k *taker) Reset()                                      {}
func (k *taker) Logout() error                               { return nil }
func (k *taker) Mail(string, *smtp.MailOptions) error        { k.mails++; return nil }
func (k *taker) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (k *taker) Data(io.Reader) error                        { return nil }

func TestDoctorOfProviders(t *testing.T) {
	folder, _ := used(t)
	one := func(all map[string][]finding, state verdict, says string) {
		t.Helper()
		require.Len(t, all["provider"], 3)
		require.Equal(t, state, all["provider"][0].State, all["provider"][0].Found)
		require.Contains(t, all["provider"][0].Found, says)
	}
	one(examined(t, exitOK, "--data", folder), warning, "email, by console: mails are printed and reach nobody")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	there := &taker{}
	server := smtp.NewServer(there)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	mail := []string{"--data", folder, "--smtp", "smtp://" + listener.Addr().String(), "--smtp-from", "choir@example.org"}
	one(examined(t, exitOK, append(mail, "--smtp-tls", "none")...), good, "it lets us in")
	require.Zero(t, there.mails, "nothing was sent")
	one(examined(t, exitFound, mail...), failing, "the server doesn't offer what is set")
	require.NoError(t, server.Close())
	<-ended
	one(examined(t, exitFound, mail...), failing, "the server can't be reached")
}

// A service on another machine is looked at without a folder.
func TestDoctorOfAServiceElsewhere(t *testing.T) {
	p := serving(t, filepath.Join(t.TempDir(), "data"))
	all := examined(t, exitOK, "--url", p.url)
	one(t, all, "service", good, "ready")
	one(t, all, "clocks", good, "agree")
	require.Empty(t, all["folder"])
	code, _, said := once(t, nil, "doctor", "--url", "nowhere")
	require.Equal(t, exitUsage, code)
	require.Contains(t, said, "--url")
}

func TestDoctorComparesClocks(t *testing.T) {
	asked := time.Date(2031, 4, 1, 9, 0, 0, 0, time.UTC)
	heard := asked.Add(2 * time.Second)
	for offset, want := range map[time.Duration]string{
		0: "agree", -4 * time.Second: "agree", 6 * time.Second: "agree", 8 * time.Second: "6s ahead", -7 * time.Second: "6s behind", 24 * time.Hour: "23h59m58s ahead",
	} {
		e := &examination{}
		e.clocks(asked.Add(offset).Format(http.TimeFormat), asked, heard)
		require.Len(t, e.findings, 1)
		require.Contains(t, e.findings[0].Found, want, offset)
		require.Equal(t, want == "agree", e.findings[0].State == good)
	}
	e := &examination{}
	e.clocks("", asked, heard)
	require.Empty(t, e.findings)
}
