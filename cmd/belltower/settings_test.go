package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every flag has its variable, and the flag wins; a wrong value is refused by
// name before anything is made.
func TestSettings(t *testing.T) {
	for _, s := range []struct{ flag, variable, right, wrong string }{
		{"listen", "BELLTOWER_LISTEN", "127.0.0.1:0", "localhost"},
		{"data", "BELLTOWER_DATA", "fine", " "},
		{"store", "BELLTOWER_STORE", "embedded", "floppy"},
		{"read-models", "BELLTOWER_READ_MODELS", "sqlite", "abacus"},
		{"phone-region", "BELLTOWER_PHONE_REGION", "AT", "Austria"},
		{"public-url", "BELLTOWER_PUBLIC_URL", "https://bells.example.org", "bells.example.org"},
	} {
		t.Run(s.flag, func(t *testing.T) {
			serve := func(t *testing.T, args, env []string) *process {
				p := launch(t, launchOptions{args: append([]string{"serve"}, args...), env: append([]string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, env...)})
				t.Cleanup(func() { _ = p.cmd.Process.Kill() })
				return p
			}
			base := map[string]string{"listen": "127.0.0.1:0", "data": "data"}
			delete(base, s.flag)
			var rest []string
			for flag, value := range base {
				rest = append(rest, "--"+flag, value)
			}
			refused := func(args, env []string) {
				p := serve(t, args, env)
				require.Equal(t, exitUsage, p.exit(t), "stderr:\n%s", &p.err)
				require.Contains(t, p.err.String(), "--"+s.flag)
				require.Contains(t, p.err.String(), s.variable)
				require.Empty(t, p.out.String())
				made, err := os.ReadDir(p.cmd.Dir)
				require.NoError(t, err)
				require.Empty(t, made, "nothing is made")
			}
			runs := func(args, env []string) {
				p := serve(t, args, env)
				p.await(t)
				if s.flag == "data" {
					require.FileExists(t, filepath.Join(p.cmd.Dir, s.right, "events.db"))
				}
				p.finish(t, syscall.SIGTERM)
				require.NotContains(t, p.err.String(), "level=WARN")
			}
			refused(append(rest, "--"+s.flag, s.wrong), nil)
			refused(rest, []string{s.variable + "=" + s.wrong})
			refused(append(rest, "--"+s.flag, s.wrong), []string{s.variable + "=" + s.right})
			runs(append(rest, "--"+s.flag, s.right), []string{s.variable + "=" + s.wrong})
			runs(rest, []string{s.variable + "=" + s.right})
		})
	}
}

func TestListenRefusals(t *testing.T) {
	for _, wrong := range []string{"", "8080", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:nowhere", "::1:80"} {
		s := settings{listen: wrong, data: "data", store: "embedded", readModels: "sqlite"}
		require.ErrorContains(t, s.check(nil), "--listen (BELLTOWER_LISTEN)", wrong)
	}
	for _, right := range []string{":8080", "127.0.0.1:0", "[::1]:80", "localhost:http"} {
		s := settings{listen: right, data: "data", store: "embedded", readModels: "sqlite"}
		require.NoError(t, s.check(nil), right)
	}
}

// A mistake in tokens is told without a token.
func TestTokenRefusals(t *testing.T) {
	const secret = "Tr0ub4dor"
	for _, row := range []struct{ name, admin, tokens, says string }{
		{"empty admin token", "=", "", "BELLTOWER_ADMIN_TOKEN: the token is empty"},
		{"blank in it", "=" + secret + " x", "", "BELLTOWER_ADMIN_TOKEN: the token has blanks"},
		{"no name", "", secret, "entry 1 is not name:token"},
		{"second without a name", "", "ann:" + secret + ",:" + secret + "2", "entry 2 has no name"},
		{"empty token", "", "ann:", `the token of "ann" is empty`},
		{"line break", "", "ann:" + secret + "\n" + secret, `the token of "ann" has blanks`},
		{"outside ASCII", "", "ann:" + secret + "é", `the token of "ann" has blanks, control characters or characters outside ASCII`},
		{"name twice", "", "ann:" + secret + "1,ann:" + secret + "2", `the name "ann" comes twice`},
		{"token twice", "", "ann:" + secret + ",bob:" + secret, `the token of "bob" comes twice`},
		{"the administrator's name", "", "admin:" + secret, `the name "admin" is Belltower's own`},
		{"our own name", "", "belltower:" + secret, `the name "belltower" is Belltower's own`},
		{"the administrator's token", "=" + secret, "ann:" + secret, `the token of "ann" is the one of BELLTOWER_ADMIN_TOKEN`},
		{"a comma in a token", "", "ann:" + secret + "," + secret, "entry 2 is not name:token"},
		{"a comma at the end", "", "ann:" + secret + ",", "entry 2 is not name:token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			env := []string{"BELLTOWER_TOKENS=" + row.tokens}
			if row.admin != "" {
				env = append(env, "BELLTOWER_ADMIN_TOKEN"+row.admin)
			}
			code, out, err := once(t, env, "serve", "--listen", "127.0.0.1:0")
			require.Equal(t, exitUsage, code, err)
			require.Contains(t, err, row.says)
			require.NotContains(t, out+err, secret)
		})
	}
}

func TestUsage(t *testing.T) {
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"sevre"}, `unknown command "sevre"`},
		{[]string{"serve", "now"}, `serve takes no arguments, and was given "now"`},
		{[]string{"config", "all"}, `config takes no arguments, and was given "all"`},
		{[]string{"channel", "email"}, `channel takes no arguments, and was given "email"`},
		{[]string{"channel", "test", "email"}, "channel test takes a channel and an address"},
		{[]string{"channel", "test", "fax", "x"}, `there is no channel "fax"; there are: email, sms, push`},
		{[]string{"demo", "fast"}, `demo takes no arguments, and was given "fast"`},
		{[]string{"serve", "--port", "80"}, "unknown flag: --port"},
		{[]string{"--port", "80"}, "unknown flag: --port"},
		{[]string{"serve", "--listen"}, "flag needs an argument: --listen"},
	} {
		code, out, err := once(t, nil, row.args...)
		require.Equal(t, exitUsage, code, row.args)
		require.Contains(t, err, row.says)
		require.Contains(t, err, "--help")
		require.Empty(t, out)
	}
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"demo", "--help"}, {"config", "--help"}, {"channel"}, {"channel", "test", "--help"}, {"version"}, {"--version"}} {
		code, out, err := once(t, nil, args...)
		require.Equal(t, exitOK, code, args)
		require.Contains(t, strings.ToLower(out), "belltower")
		require.Empty(t, err)
	}
	_, out, _ := once(t, nil, "serve", "--help")
	for _, f := range new(settings).flags() {
		require.Contains(t, out, "--"+f.flag)
		require.Contains(t, out, f.variable)
	}
	for _, name := range secretVariables {
		require.Contains(t, out, name)
	}
}

func TestUnknownVariableIsWarnedOf(t *testing.T) {
	p := serving(t, filepath.Join(t.TempDir(), "data"), "BELLTOWER_LITSEN=:80", "BELLTOWER_TEST_X=1", "OTHER=1")
	p.finish(t, syscall.SIGTERM)
	require.Contains(t, p.err.String(), "level=WARN")
	require.Contains(t, p.err.String(), "name=BELLTOWER_LITSEN")
	require.Equal(t, 1, strings.Count(p.err.String(), "level=WARN"), &p.err)
}

// The admin token is made and shown once, and kept where its owner alone can read it.
func TestAdminToken(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	start := func() (p *process, said string) {
		p = launch(t, launchOptions{args: []string{"serve", "--listen", "127.0.0.1:0", "--data", folder}})
		p.await(t)
		return p, field(p.out.String(), "admin token")
	}
	p, said := start()
	token, rest, _ := strings.Cut(said, " ")
	file := filepath.Join(folder, adminTokenFile)
	require.Contains(t, rest, "shown this once; kept in "+file)
	require.GreaterOrEqual(t, len(token), 26)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, token, strings.TrimSpace(string(kept)))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, "-rw-------", info.Mode().String())
	info, err = os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, "drwx------", info.Mode().String())
	admits := func(status int, p *process, token string) {
		got, err := demoClient{url: p.url, token: token}.ask(t.Context(), "GET", "/v1/events", "", nil)
		require.NoError(t, err)
		require.Equal(t, status, got.status)
	}
	admits(200, p, token)
	admits(401, p, token+"x")
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.err.String(), token)

	p, said = start()
	require.Equal(t, "kept in "+file, said)
	require.NotContains(t, p.out.String()+p.err.String(), token)
	admits(200, p, token)
	p.finish(t, syscall.SIGTERM)

	// Another in the environment is used in its place, and not kept.
	p = serving(t, folder, "BELLTOWER_TOKENS=zora:zoras-token")
	require.Equal(t, "from BELLTOWER_ADMIN_TOKEN", field(p.out.String(), "admin token"))
	admits(200, p, testAdmin)
	admits(200, p, "zoras-token")
	admits(401, p, token)
	made, err := demoClient{url: p.url, token: "zoras-token"}.ask(t.Context(), "POST", "/v1/events", "", anEvent(far, nil))
	require.NoError(t, err)
	require.Equal(t, "zora", made.body.text("creator_id"))
	p.finish(t, syscall.SIGTERM)

	require.NoError(t, os.WriteFile(file, []byte("no token\n"), 0o600))
	code, out, said := once(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", folder)
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, file)
	require.NotContains(t, out+said, "no token")
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	code, out, said := once(t, nil, "serve", "--listen", taken.Addr().String())
	require.Equal(t, exitFailure, code, said)
	require.Contains(t, said, "--listen")
	require.Contains(t, said, taken.Addr().String())
	require.Contains(t, said, "in use")
	require.Equal(t, 1, strings.Count(said, "\n"), said)
	require.NotContains(t, out, "admin token", "the token is kept for when it starts")
}
