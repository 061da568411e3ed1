//go:build unix

package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// docs/proxy.md, with a real nginx. It listens on a socket that curl is told of,
// so that the page's addresses stand as they are.
func TestProxyPage(t *testing.T) {
	needed(t, "bash", "curl", "nginx", "go")
	page := blocks(t, "docs/proxy.md")
	p := place{folder: shortFolder(t)}
	binary := filepath.Join(p.folder, "belltower")
	built(t, binary)

	port := freePort(t)
	settings := of(page, "yaml")
	require.Len(t, settings, 1)
	require.NoError(t, os.WriteFile(filepath.Join(p.folder, "belltower.yaml"), []byte("listen: 127.0.0.1:"+port+"\n"+settings[0]), 0o600))
	starts(t, p.folder, []string{"BELLTOWER_ADMIN_TOKEN=secret"}, binary, "serve")

	site := of(page, "nginx")
	require.Len(t, site, 1)
	certificate(t, p.folder)
	require.Contains(t, site[0], "listen 443 ssl;")
	require.Contains(t, site[0], "http://127.0.0.1:8080")
	config := "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n" +
		"client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n" +
		strings.NewReplacer("listen 443 ssl;", "listen unix:"+p.folder+"/nginx.sock ssl;", "/etc/ssl/", p.folder+"/", "127.0.0.1:8080", "127.0.0.1:"+port).Replace(site[0]) + "}\n"
	require.NoError(t, os.WriteFile(filepath.Join(p.folder, "nginx.conf"), []byte(config), 0o600))
	starts(t, p.folder, nil, "nginx", "-p", p.folder+"/", "-c", "nginx.conf", "-e", "stderr")
	curlrc := "unix-socket = \"" + p.folder + "/nginx.sock\"\ncacert = \"" + p.folder + "/bells.example.org.pem\"\nmax-time = 240\n"
	require.NoError(t, os.WriteFile(filepath.Join(p.folder, ".curlrc"), []byte(curlrc), 0o600))

	p.env = []string{"TOKEN=secret"}
	commands := of(page, "sh")
	require.Len(t, commands, 2)
	p.run(t, "until curl -fsS https://bells.example.org/readyz; do sleep 0.2; done")
	said := p.run(t, commands[0])
	require.True(t, strings.HasSuffix(said, "404\n"), said)
	said = p.run(t, "TOKEN=secret", commands[1])
	require.Contains(t, said, "HTTP/1.1 201")
	require.Regexp(t, `(?m)^Location: /v1/events/[0-9a-f-]{36}\r$`, said, "as the client may follow it")

	// What is said about headers, sizes and who may be reached.
	said = p.run(t, `curl -fsS -i -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "X-Forwarded-Host: evil.example" -H "X-Forwarded-Proto: ftp" \
		-H "X-Request-Id: of-the-proxy" https://bells.example.org/v1/events -d '{"title": "A", "description": "B", "start_time": "2099-06-01T18:00:00Z", "end_time": "2099-06-01T20:00:00Z"}'`)
	require.NotContains(t, said, "evil")
	require.Contains(t, said, "X-Request-Id: of-the-proxy")
	said = p.run(t, `head -c 1100000 /dev/zero | curl -sS -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" https://bells.example.org/v1/events --data-binary @-`)
	require.Equal(t, "413\n", said)
	said = p.run(t, `curl -sS -w '%{http_code}\n' -o /dev/null https://bells.example.org/v1/events -o /dev/null https://bells.example.org/docs`)
	require.Equal(t, "401\n200\n", said)
}

// shortFolder is one whose path leaves room for the name of a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "bt") //nolint:usetesting // its path would be too long
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

// starts runs a program until the test ends.
func starts(t *testing.T, folder string, env []string, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(folder, filepath.Base(program)+".log"))
	require.NoError(t, err)
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, log, log
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s said:\n%s", program, said)
		}
		_ = log.Close()
	})
}

// certificate writes one that vouches for itself.
func certificate(t *testing.T, folder string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	made := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bells.example.org"}, DNSNames: []string{"bells.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, made, made, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, b := range map[string]*pem.Block{"pem": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "bells.example.org."+name), pem.EncodeToMemory(b), 0o600))
	}
}
