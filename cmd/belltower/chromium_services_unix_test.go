//go:build unix

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	varint "encoding/binary"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// browserServices stand for what Chromium's maker runs behind PushManager: where a
// browser checks in and registers, the connection that it is told of pushes by
// (MCS), and the push service itself. Flags of Chromium name the first three. It
// has built the address of the fourth in, so tests put the host of this one there.
type browserServices struct {
	web     *httptest.Server
	mcs     net.Listener
	spki    string // digest of the key of mcs, by which Chromium trusts it
	serving sync.WaitGroup

	mu         sync.Mutex
	registered map[string]registration // by token
	connected  []net.Conn
	calls      []*http.Request // of the push service
	unseen     []byte          // the message that was pushed last
}

// registration is what a browser has registered a subscription as.
type registration struct{ app, subtype, sender string }

func serveBrowsers(t *testing.T) *browserServices {
	t.Helper()
	b := &browserServices{registered: map[string]registration{}}
	b.web = httptest.NewServer(b)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	digest := sha256.Sum256(public)
	b.spki = base64.StdEncoding.EncodeToString(digest[:])
	b.mcs, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}})
	require.NoError(t, err)
	b.serving.Go(func() {
		for {
			conn, err := b.mcs.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() { b.connect(conn) })
		}
	})
	t.Cleanup(func() {
		b.web.Close()
		_ = b.mcs.Close()
		b.mu.Lock()
		for _, conn := range b.connected {
			_ = conn.Close()
		}
		b.mu.Unlock()
		b.serving.Wait()
	})
	return b
}

// flags lead Chromium here.
func (b *browserServices) flags() []string {
	return []string{
		"--gcm-checkin-url=" + b.web.URL + "/checkin", "--gcm-registration-url=" + b.web.URL + "/register",
		"--gcm-mcs-endpoint=https://" + b.mcs.Addr().String(), "--ignore-certificate-errors-spki-list=" + b.spki,
	}
}

func (b *browserServices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/checkin":
		var answer []byte
		answer = protowire.AppendVarint(protowire.AppendTag(answer, 1, protowire.VarintType), 1) // stats_ok
		answer = protowire.AppendFixed64(protowire.AppendTag(answer, 7, protowire.Fixed64Type), 4711)
		answer = protowire.AppendFixed64(protowire.AppendTag(answer, 8, protowire.Fixed64Type), 815)
		_, _ = w.Write(answer)
	case r.URL.Path == "/register":
		token := rand.Text()
		if r.PostFormValue("delete") == "" {
			b.mu.Lock()
			b.registered[token] = registration{r.PostFormValue("app"), r.PostFormValue("X-subtype"), r.PostFormValue("sender")}
			b.mu.Unlock()
		}
		_, _ = io.WriteString(w, "token="+token)
	case strings.HasPrefix(r.URL.Path, "/fcm/send/"):
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(b.push(r, strings.TrimPrefix(r.URL.Path, "/fcm/send/"), body))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// push is the push service: it hands a message to the browser that is connected.
func (b *browserServices) push(r *http.Request, token string, body []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	to, ok := b.registered[token]
	if !ok {
		return http.StatusGone
	}
	b.calls = append(b.calls, r)
	var m []byte
	text := func(field protowire.Number, value string) {
		m = protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), value)
	}
	text(3, to.sender)
	text(5, to.app)
	for key, value := range map[string]string{"subtype": to.subtype, "content-encoding": r.Header.Get("Content-Encoding")} {
		var pair []byte
		pair = protowire.AppendString(protowire.AppendTag(pair, 1, protowire.BytesType), key)
		pair = protowire.AppendString(protowire.AppendTag(pair, 2, protowire.BytesType), value)
		m = protowire.AppendBytes(protowire.AppendTag(m, 7, protowire.BytesType), pair)
	}
	text(9, rand.Text())
	m = protowire.AppendBytes(protowire.AppendTag(m, 21, protowire.BytesType), body)
	b.unseen = m
	if !b.deliver() {
		return http.StatusServiceUnavailable
	}
	return http.StatusCreated
}

// again delivers the last message once more, as a push service does with what a
// browser hasn't confirmed: one that is just starting may drop it.
func (b *browserServices) again() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unseen != nil {
		b.deliver()
	}
}

// deliver hands the last message to the browser. b.mu is held.
func (b *browserServices) deliver() bool {
	return len(b.connected) > 0 && frame(b.connected[len(b.connected)-1], mcsData, b.unseen) == nil
}

// Tags of MCS's messages, and its version.
const (
	mcsPing, mcsPong, mcsLogin, mcsLoggedIn, mcsData = 0, 1, 2, 3, 8

	mcsVersion = 41
)

func frame(conn net.Conn, tag byte, message []byte) error {
	_, err := conn.Write(append(protowire.AppendVarint([]byte{tag}, uint64(len(message))), message...))
	return err
}

// connect serves a browser's connection until it ends.
func (b *browserServices) connect(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	if _, err := in.ReadByte(); err != nil { // its version
		return
	}
	for {
		tag, err := unframe(in)
		if err != nil {
			return
		}
		switch tag {
		case mcsPing:
			_ = frame(conn, mcsPong, nil)
		case mcsLogin:
			if _, err := conn.Write([]byte{mcsVersion}); err != nil {
				return
			}
			_ = frame(conn, mcsLoggedIn, protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "chrome-test"))
			b.mu.Lock()
			b.connected = append(b.connected, conn)
			b.mu.Unlock()
		}
	}
}

// unframe reads past a message, and tells its kind.
func unframe(in *bufio.Reader) (tag byte, err error) {
	if tag, err = in.ReadByte(); err != nil {
		return 0, err
	}
	size, err := varint.ReadUvarint(in)
	if err != nil {
		return 0, err
	}
	_, err = io.CopyN(io.Discard, in, int64(size))
	return tag, err
}
