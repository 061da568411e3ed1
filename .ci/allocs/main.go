// Command allocs runs the benchmarks of the hot paths that the file counts beside
// it names, and says which of them allocates over a tenth more than it did, in
// number or in bytes. With -update it writes what it measured into the file. Unlike
// times, these hardly depend on the machine.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

const file = ".ci/allocs/counts"

// count is a line of the file: a benchmark, how often it is done, and what
// doing it once allocates.
type count struct {
	pkg, benchmark string
	times          int
	allocs, bytes  int
}

func main() {
	update := flag.Bool("update", false, "write what is measured into "+file)
	flag.Parse()
	if err := run(*update); err != nil {
		fmt.Println("allocs:", err)
		os.Exit(1)
	}
}

func run(update bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	worse := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		was, err := parse(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		is, err := measure(was)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", was.benchmark, was.pkg, err)
		}
		lines[i] = is.String()
		mark := ""
		if more(was.allocs, is.allocs) || more(was.bytes, is.bytes) {
			worse++
			mark = "  WORSE"
		}
		fmt.Printf("%-22s %-28s allocations %7d, were %7d   bytes %9d, were %9d%s\n",
			is.pkg, is.benchmark, is.allocs, was.allocs, is.bytes, was.bytes, mark)
	}
	if update {
		return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	}
	if worse > 0 {
		fmt.Printf("%d of the hot paths got worse by more than a tenth; where that is meant: go run ./.ci/allocs -update\n", worse)
	}
	return nil
}

// more tells whether is is more than a tenth above was.
func more(was, is int) bool { return float64(is) > 1.1*float64(was) }

func (c count) String() string {
	return fmt.Sprintf("%s %s %d %d %d", c.pkg, c.benchmark, c.times, c.allocs, c.bytes)
}

func parse(line string) (c count, err error) {
	if n, err := fmt.Sscanf(line, "%s %s %d %d %d", &c.pkg, &c.benchmark, &c.times, &c.allocs, &c.bytes); err != nil || n != 5 || c.times < 1 {
		return c, errors.New("not of the form: package benchmark times allocations bytes")
	}
	return c, nil
}

var measured = regexp.MustCompile(`(?m)^Benchmark\S+\s.*?(\d+) B/op\s+(\d+) allocs/op`)

// measure runs the benchmark of c, which must be one, and gives what it allocates.
func measure(c count) (count, error) {
	var pattern []string
	for part := range strings.SplitSeq(c.benchmark, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", strings.Join(pattern, "/"), //nolint:gosec,noctx // the file is part of the project, and go test has a time-out
		"-benchmem", "-benchtime", strconv.Itoa(c.times)+"x", "-timeout", "20m", "./"+c.pkg)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return c, fmt.Errorf("go test: %w\n%s", err, out)
	}
	found := measured.FindAllSubmatch(out, -1)
	if len(found) != 1 {
		return c, fmt.Errorf("%d benchmarks have that name:\n%s", len(found), out)
	}
	c.bytes, err = strconv.Atoi(string(found[0][1]))
	if err == nil {
		c.allocs, err = strconv.Atoi(string(found[0][2]))
	}
	return c, err
}
