// Command gotest runs go test with the arguments it is given and shows what go
// test shows, and with -show as the first of them also what passing tests say.
// It also fails when no test ran, and when a test was skipped that
// is not in the file skips beside it: a skipped test looks like a passed one.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// event is a line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// skip is a line of the file skips: a package, a pattern of tests, and the reason.
type skip struct {
	pkg    string
	test   *regexp.Regexp
	reason string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("gotest:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	show := len(args) > 0 && args[0] == "-show"
	if show {
		args = args[1:]
	}
	allowed, err := readSkips(".ci/skips")
	if err != nil {
		return err
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stdout
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := report{allowed: allowed, show: show, output: map[string][]string{}, failing: map[string]bool{}}
	if err := r.read(out); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	ended := cmd.Wait()
	for _, line := range r.skipped {
		fmt.Println("skipped:", line)
	}
	for _, line := range r.forbidden {
		fmt.Println("skipped, and meant to run:", line)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped)+len(r.forbidden))
	switch {
	case ended != nil:
		return fmt.Errorf("go test: %w", ended)
	case len(r.forbidden) > 0:
		return errors.New("tests were skipped that are meant to run; a reason to skip one is put into .ci/skips")
	case r.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}

func readSkips(path string) ([]skip, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var skips []skip
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		what, reason, ok := strings.Cut(line, "#")
		fields := strings.Fields(what)
		if !ok || len(fields) != 2 || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: not of the form: package pattern # reason", path, n)
		}
		pattern, err := regexp.Compile("^(" + fields[1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		skips = append(skips, skip{fields[0], pattern, strings.TrimSpace(reason)})
	}
	return skips, lines.Err()
}

// report shows of a package that passed its closing line, and of one that
// failed all that its failing tests said.
type report struct {
	show               bool // what passing tests say
	allowed            []skip
	output             map[string][]string // by package and test
	failing            map[string]bool
	passed, failed     int
	skipped, forbidden []string
}

func (r *report) read(in io.Reader) error {
	for decoder := json.NewDecoder(in); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what go test says: %w", err)
		}
		r.take(e)
	}
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Test == "" && (closing(e.Output) || e.Action == "build-output") {
			fmt.Print(e.Output)
			return
		}
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		r.conclude(e, key)
	}
}

func (r *report) conclude(e event, key string) {
	if e.Action == "fail" || (r.show && e.Action == "pass" && e.Test != "") {
		for _, line := range r.output[key] {
			fmt.Print(line)
		}
	}
	why := r.output[key]
	delete(r.output, key)
	if e.Test == "" {
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
	case "skip":
		line := fmt.Sprintf("%s %s: %s", e.Package, e.Test, said(why))
		for _, s := range r.allowed {
			if strings.HasSuffix(e.Package, "/"+s.pkg) && s.test.MatchString(e.Test) {
				r.skipped = append(r.skipped, line+" (allowed: "+s.reason+")")
				return
			}
		}
		r.forbidden = append(r.forbidden, line)
	}
}

// closing tells whether go test says with line how a package ended.
func closing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "panic: ")
}

// said gives what a test wrote before it was skipped.
func said(output []string) string {
	var lines []string
	for _, line := range output {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
