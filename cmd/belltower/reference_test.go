package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/reference.md is made from the code: go test ./cmd/belltower -run TestReference -update
func TestReference(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Reference\n\n" +
		"Settings, facts and metrics, made from the code by `go test ./cmd/belltower -run TestReference -update`; a test fails where\n" +
		"this page is stale. Commands and flags are in [cli-reference.md](cli-reference.md). The HTTP API is at `/docs` of a running service, and in [openapi.json](../httpapi/openapi.json).\n")
	referSettings(&page)
	referFacts(t, &page)
	referMetrics(t, &page)
	path := filepath.Join("..", "..", "docs", "reference.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(page.String()), 0o600))
		return
	}
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	if string(written) != page.String() {
		require.Equal(t, page.String(), string(written), "docs/reference.md is stale: go test ./cmd/belltower -run TestReference -update")
	}
}

func referSettings(page *strings.Builder) {
	page.WriteString("\n## Settings\n\nEach is a flag of `serve`, an environment variable, and a line in `belltower.yaml`, in this order of precedence.\n")
	var rows [][]string
	for _, f := range new(settings).flags() {
		initial := ""
		if f.initial != "" {
			initial = "`" + f.initial + "`"
		}
		rows = append(rows, []string{"`" + f.flag + "`", "`" + f.variable + "`", initial, f.help})
	}
	table(page, []string{"setting", "variable", "default", "meaning"}, rows)
	page.WriteString("\nBy variables alone, as they are secrets: ")
	for i, name := range secretVariables {
		if i > 0 {
			page.WriteString(", ")
		}
		page.WriteString("`" + name + "`")
	}
	page.WriteString(". `" + configVariable + "` names the file.\n")
}

// referFacts reads the facts where they are declared.
func referFacts(t *testing.T, page *strings.Builder) {
	page.WriteString("\n## Facts\n\nWhat is stored, by its name, with the fields of its `data`. Times are RFC 3339 in UTC, `local_` times civil. *personal* holds names, addresses and\n" +
		"texts, and is sealed with a key of the participant's.\n")
	set := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join("..", "..", "events", "*.go"))
	require.NoError(t, err)
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	declared, err := doc.NewFromFiles(set, files, "events")
	require.NoError(t, err)
	structs := map[string]*ast.StructType{}
	stored := map[string]bool{} // those with a Name
	for _, d := range declared.Types {
		if s, ok := d.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType); ok {
			structs[d.Name] = s
		}
		for _, m := range d.Methods {
			if m.Name == "Name" {
				stored[d.Name] = true
			}
		}
	}
	found := 0
	for _, d := range declared.Types {
		if !stored[d.Name] {
			continue
		}
		found++
		fmt.Fprintf(page, "\n### `%s`\n\n%s\n", d.Name, oneLine(d.Doc))
		table(page, []string{"field", "present", "meaning"}, fieldsOf(structs, structs[d.Name]))
	}
	require.Greater(t, found, 25)
}

// fieldsOf lists the fields of a struct as JSON has them, those of embedded ones too.
func fieldsOf(structs map[string]*ast.StructType, s *ast.StructType) (rows [][]string) {
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			if name, ok := f.Type.(*ast.Ident); ok && structs[name.Name] != nil && f.Tag == nil {
				rows = append(rows, fieldsOf(structs, structs[name.Name])...)
				continue
			}
		}
		if f.Tag == nil {
			continue
		}
		name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name == "-" {
			continue
		}
		required := "always"
		if strings.Contains(options, "omit") {
			required = "where there is one"
		}
		rows = append(rows, []string{"`" + name + "`", required, oneLine(f.Comment.Text())})
	}
	return rows
}

// referMetrics reads what a service that was asked something shows.
func referMetrics(t *testing.T, page *strings.Builder) {
	t.Helper()
	page.WriteString("\n## Metrics\n\n`GET /metrics`, with a token, for Prometheus. Beside these there are those of Go (`go_*`) and of the process (`process_*`).\n")
	v, err := start(t.Context(), settings{listen: "127.0.0.1:0", data: t.TempDir(), store: "embedded", readModels: "sqlite"}, io.Discard, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, v.stop()) }()
	client := demoClient{url: v.url, token: v.token}
	_, err = client.ask(t.Context(), http.MethodGet, "/v1/stats", "", nil)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.url+"/metrics", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+v.token)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	help, kind, labels := map[string]string{}, map[string]string{}, map[string]string{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	for all := bufio.NewScanner(answer.Body); all.Scan(); {
		line := all.Text()
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP belltower_"):
			help[words[2]] = words[3]
		case strings.HasPrefix(line, "# TYPE belltower_"):
			kind[words[2]] = words[3]
		case strings.HasPrefix(line, "belltower_"):
			name, rest, _ := strings.Cut(line, "{")
			name = strings.TrimSuffix(name, "_bucket")
			if _, known := labels[name]; known || rest == "" {
				continue
			}
			var names []string
			for _, m := range label.FindAllStringSubmatch(rest, -1) {
				if m[1] != "le" {
					names = append(names, "`"+m[1]+"`")
				}
			}
			labels[name] = strings.Join(names, ", ")
		}
	}
	for name, m := range described(t, v.registry) {
		if help[name] == "" { // it has counted nothing yet
			require.True(t, strings.HasSuffix(name, "_total"), name)
			help[name], kind[name], labels[name] = m.help, "counter", "`"+strings.Join(m.labels, "`, `")+"`"
		}
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(help)) {
		rows = append(rows, []string{"`" + name + "`", kind[name], labels[name], help[name]})
	}
	require.Greater(t, len(rows), 10)
	table(page, []string{"metric", "type", "labels", "meaning"}, rows)
}

func table(page *strings.Builder, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	page.WriteString("\n")
	for _, row := range append([][]string{head, slices.Repeat([]string{"---"}, len(head))}, rows...) {
		for _, cell := range row {
			page.WriteString("| " + strings.ReplaceAll(cell, "|", "\\|") + " ")
		}
		page.WriteString("|\n")
	}
}
