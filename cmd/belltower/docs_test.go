package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/cli-reference.md and docs/reference.md anew")

// Every block of sh in docs/cli.md does what it says, in order, in the folder of
// a service; and so do the README's lines.
func TestDocsOfTheCommandLine(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh to run the lines of docs/cli.md")
	}
	folder := t.TempDir()
	p := launch(t, launchOptions{args: []string{"serve", "--listen", "127.0.0.1:0"}, change: func(cmd *exec.Cmd) { cmd.Dir = folder }})
	p.await(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, configFile), []byte("listen: "+strings.TrimPrefix(p.url, "http://")+"\n"), 0o600))
	until(t, "it is ready", func() bool {
		got, err := demoClient{url: p.url}.ask(t.Context(), "GET", "/readyz", "", nil)
		return err == nil && got.status == 200
	})
	bin := t.TempDir()
	require.NoError(t, os.Symlink(built(t), filepath.Join(bin, "belltower")))

	doc, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	script, blocks := blocksOf(string(doc), "sh")
	require.GreaterOrEqual(t, blocks, 11)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, lines, found := strings.Cut(string(readme), "\n```sh\nEVENT=$(belltower")
	require.True(t, found)
	more, _ := blocksOf("```sh\nEVENT=$(belltower"+lines[:strings.Index(lines, "```\n")]+"```\n", "sh")
	script += more
	cmd := exec.CommandContext(t.Context(), shell, "-eu", "-c", script)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + folder}
	var said text
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, &said)
	for _, line := range []string{
		"added 2, updated 0, already there 1, failed 0\n", "added 0, updated 0, already there 3, failed 0\n", "recipients    3\n", "because of", "deleted\n", "read_models  built anew: ", "planner      verified: ", "ok       service",
	} {
		require.Contains(t, string(out), line, "stderr: %s", &said)
	}
	_, after, _ := strings.Cut(string(out), "deleted\n")
	made := strings.SplitN(after, "\n", 3)
	require.Len(t, made, 3)
	require.Equal(t, made[0], made[1], "the same key makes one event")
}

// watcher is a command that goes on until it is ended.
var watcher = regexp.MustCompile(`belltower watch| --watch\b`)

// blocksOf gives the lines of the blocks in a language, as one script. What goes
// on until it is interrupted is ended.
func blocksOf(doc, language string) (script string, blocks int) {
	var lines []string
	inside := false
	for line := range strings.Lines(doc) {
		switch {
		case !inside && line == "```"+language+"\n":
			inside = true
			blocks++
		case inside && line == "```\n":
			inside = false
		case inside && watcher.MatchString(line):
			command, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
			// It may be ended before it has begun, on a machine with much to do.
			lines = append(lines, command+" & W=$!; sleep 1; kill $W; wait $W || true\n")
		case inside:
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, ""), blocks
}

// docs/cli-reference.md is what the code says; go test ./cmd/belltower -run
// Reference -update writes it anew.
func TestDocsReference(t *testing.T) {
	const path = "../../docs/cli-reference.md"
	var out strings.Builder
	out.WriteString("# Commands and flags\n\nMade from the code by `go test ./cmd/belltower -run TestDocsReference -update`. [cli.md](cli.md) is for reading; " +
		"`--help` behind any command says the same.\n")
	root := rootCommand(nil, output{&out, &out})
	events, _, err := root.Find([]string{"events"})
	require.NoError(t, err)
	fmt.Fprintf(&out, "\n## Flags of all commands that ask a service\n\n```\n%s```\n", events.PersistentFlags().FlagUsages())
	serve, _, err := root.Find([]string{"serve"})
	require.NoError(t, err)
	reference(&out, root, events.PersistentFlags(), serve.LocalFlags())
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
	}
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(kept), out.String(), "it is stale: run go test ./cmd/belltower -run TestDocsReference -update")
}

// reference writes about a command and those below it, but for flags that are
// those of clients or of serve.
func reference(out *strings.Builder, cmd *cobra.Command, client, serve *pflag.FlagSet) {
	if !cmd.HasSubCommands() {
		about := cmd.Long
		if about == "" {
			about = cmd.Short + "."
		}
		fmt.Fprintf(out, "\n## %s\n\n```\n%s\n\n%s\n", cmd.CommandPath(), cmd.UseLine(), about)
		same := func(set *pflag.FlagSet, f *pflag.Flag) bool {
			other := set.Lookup(f.Name)
			return other != nil && other.Usage == f.Usage
		}
		own, asServe := pflag.NewFlagSet("", pflag.ContinueOnError), false
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Name == "help", same(client, f):
			case same(serve, f) && cmd.Name() != "serve":
				asServe = true
			default:
				own.AddFlag(f)
			}
		})
		if own.HasFlags() {
			fmt.Fprintf(out, "\n%s", own.FlagUsages())
		}
		if asServe {
			out.WriteString("\n      and the flags of serve\n")
		}
		out.WriteString("```\n")
	}
	for _, below := range cmd.Commands() {
		if below.Name() != "help" && below.Name() != "completion" {
			reference(out, below, client, serve)
		}
	}
}
