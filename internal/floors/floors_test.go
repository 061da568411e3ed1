// Package floors holds the one rule about folders that the compiler doesn't:
// imports point down only. docs/architecture.md has the same table for people.
package floors

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/belltower/belltower"

// folder is one line of the table: where a package stands, and what of ours it
// may import. Everything it may import stands lower.
type folder struct {
	floor   int
	imports []string
	all     bool // may import everything below but test helpers
	helper  bool // for tests alone: no package but another helper imports it
}

// table has the packages by their path in the module. A path that ends in /...
// stands for the packages below it that have no line of their own.
var table = map[string]folder{
	"events":     {floor: 0},
	"calendar":   {floor: 0},
	"eventstore": {floor: 0},
	"channels":   {floor: 0},

	"eventstore/storetest":  {floor: 1, imports: []string{"eventstore"}, helper: true},
	"channels/channeltest":  {floor: 2, imports: []string{"channels", "channels/outgoing"}, helper: true},
	"aggregates":            {floor: 1, imports: []string{"events", "calendar"}},
	"eventstore/embedded":   {floor: 1, imports: []string{"eventstore", "internal/durable", "internal/sqlitetx", "internal/writeback"}},
	"eventstore/esdb":       {floor: 1, imports: []string{"eventstore"}},
	"eventstore/esdbserver": {floor: 1, imports: []string{"eventstore"}},
	"channels/outgoing":     {floor: 1, imports: []string{"channels"}},
	"channels/...":          {floor: 2, imports: []string{"channels", "channels/outgoing"}},
	"keys":                  {floor: 1, imports: []string{"internal/durable", "internal/sqldb", "internal/sqlitetx", "internal/writeback"}},
	"lease":                 {floor: 1, imports: []string{"eventstore"}},
	"commands":              {floor: 2, imports: []string{"aggregates", "events", "eventstore", "keys"}},
	"projections":           {floor: 2, imports: []string{"events", "eventstore", "calendar", "keys", "internal/rowdiff", "internal/seal", "internal/sqldb", "internal/writeback"}},
	"reminders":             {floor: 3, imports: []string{"commands", "projections", "aggregates", "events", "eventstore", "channels", "calendar", "keys", "internal/rowdiff", "internal/seal", "internal/sqldb", "internal/sqlitetx", "internal/writeback"}},
	"snapshots":             {floor: 3, imports: []string{"commands", "aggregates", "internal/sqldb", "internal/writeback"}},
	"httpapi":               {floor: 3, imports: []string{"commands", "projections", "aggregates", "events", "eventstore", "channels", "calendar", "internal/rowdiff"}},
	"internal/client":       {floor: 0},
	"internal/durable":      {floor: 0},
	"internal/seal":         {floor: 0},
	"internal/rowdiff":      {floor: 0},
	"internal/sqldb":        {floor: 0},
	"internal/sqlitetx":     {floor: 0},
	"internal/terminal":     {floor: 0},
	"internal/writeback":    {floor: 0},
	"internal/cli":          {floor: 1, imports: []string{"internal/client", "internal/terminal"}},
	"cmd/...":               {floor: 4, all: true},
	"internal/...":          {floor: 5, all: true, helper: true},
}

// worldly is what gives the time, chance or the world, and so has no place
// where history must fold to the same for ever. An empty list is the whole package.
var worldly = map[string][]string{
	"context": nil, "os": nil, "os/exec": nil, "os/signal": nil, "net": nil, "net/http": nil, "database/sql": nil, "syscall": nil,
	"math/rand": nil, "math/rand/v2": nil, "crypto/rand": nil,
	"time":                   {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"},
	"github.com/google/uuid": {"New", "NewString", "NewRandom", "NewRandomFromReader", "NewUUID", "NewV6", "NewV7"},
}

// pure are the packages that take none of it.
var pure = []string{"events", "aggregates", "calendar"}

// lineOf finds the line of a package, by its path in the module.
func lineOf(name string) (folder, bool) {
	if f, ok := table[name]; ok {
		return f, true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if f, ok := table[dir+"/..."]; ok {
			return f, true
		}
	}
	return folder{}, false
}

// source is a package as go list gives it.
type source struct {
	ImportPath, Dir                   string
	GoFiles, CgoFiles, IgnoredGoFiles []string
}

func (s source) name() string { return strings.TrimPrefix(s.ImportPath, module+"/") }

// packages lists the module's packages.
func packages(t *testing.T) []source {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", module+"/...")
	out, err := list.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		t.Fatalf("go list: %v\n%s", err, failed.Stderr)
	} else if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []source
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var s source
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read what go list says: %v", err)
		}
		if s.ImportPath != module+"/internal/deps" { // it only pins modules
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		t.Fatal("go list knows no package of the module")
	}
	return all
}

// files parses what is no test, for whatever platform it is.
func (s source) files(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, name := range slices.Concat(s.GoFiles, s.CgoFiles, s.IgnoredGoFiles) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(s.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Join(s.name(), name)] = file
	}
	return files
}

func imported(t *testing.T, spec *ast.ImportSpec) string {
	t.Helper()
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range packages(t) {
		line, ok := lineOf(s.name())
		if !ok {
			t.Errorf("%s is not in the table of floors: add it here and in docs/architecture.md", s.name())
			continue
		}
		for name, file := range s.files(t) {
			for _, spec := range file.Imports {
				to, ours := strings.CutPrefix(imported(t, spec), module+"/")
				if !ours {
					continue
				}
				if fault := line.refuses(to); fault != "" {
					t.Errorf("%s imports %s: %s", name, to, fault)
				}
			}
		}
	}
}

// refuses tells what is wrong with importing a package, if anything.
func (f folder) refuses(to string) string {
	target, known := lineOf(to)
	switch {
	case !known:
		return "it is not in the table of floors"
	case target.helper && !f.helper:
		return "it is for tests alone"
	case f.helper && f.all:
		return ""
	case target.floor >= f.floor:
		return fmt.Sprintf("it stands on floor %d, and imports of floor %d point down only", target.floor, f.floor)
	case !f.all && !slices.Contains(f.imports, to):
		return fmt.Sprintf("of ours it may import only %s", strings.Join(f.imports, ", "))
	}
	return ""
}

// A table that allows what the floors forbid would be worth nothing.
func TestTheTableItselfPointsDown(t *testing.T) {
	for name, f := range table {
		for _, to := range f.imports {
			if fault := f.refuses(to); fault != "" {
				t.Errorf("%s may import %s, and yet: %s", name, to, fault)
			}
		}
	}
}

// The rule has to bite.
func TestRefuses(t *testing.T) {
	for _, forbidden := range [][2]string{
		{"events", "eventstore"}, {"aggregates", "commands"}, {"commands", "projections"}, {"projections", "aggregates"},
		{"reminders", "httpapi"}, {"httpapi", "reminders"}, {"httpapi", "keys"}, {"channels/console", "events"},
		{"cmd/belltower", "internal/memstore"}, {"reminders", "channels/console"}, {"commands", "eventstore/storetest"}, {"commands", "elsewhere"},
	} {
		line, ok := lineOf(forbidden[0])
		if !ok || line.refuses(forbidden[1]) == "" {
			t.Errorf("%s may import %s", forbidden[0], forbidden[1])
		}
	}
}

func TestFoldsTakeNothingFromTheWorld(t *testing.T) {
	for _, s := range packages(t) {
		if !slices.Contains(pure, s.name()) {
			continue
		}
		for name, file := range s.files(t) {
			for _, spec := range file.Imports {
				from := imported(t, spec)
				names, watched := worldly[from]
				if !watched {
					continue
				}
				if names == nil {
					t.Errorf("%s imports %s", name, from)
					continue
				}
				for _, used := range usedOf(file, localName(spec, from)) {
					if slices.Contains(names, used) {
						t.Errorf("%s uses %s.%s: what it needs of the world is handed to it", name, from, used)
					}
				}
			}
		}
	}
}

// localName is what a file calls an import.
func localName(spec *ast.ImportSpec, from string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path.Base(from)
}

// usedOf gives what file takes from the package that it calls name.
func usedOf(file *ast.File, name string) (used []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if from, ok := selector.X.(*ast.Ident); ok && from.Name == name {
				used = append(used, selector.Sel.Name)
			}
		}
		return true
	})
	return used
}
