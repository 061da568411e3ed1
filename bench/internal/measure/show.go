package measure

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Here describes this machine.
func Here() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Processors: runtime.NumCPU(), Go: runtime.Version(), Load: -1}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if first, _, ok := strings.Cut(string(text), " "); ok {
			if load, err := strconv.ParseFloat(first, 64); err == nil {
				m.Load = load
			}
		}
	}
	return m
}

// Table writes r for people.
func (r Result) Table(to io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s: %s, %d processors, load %.2f before\n\n", r.Suite, r.Machine.Go, r.Machine.Processors, r.Machine.Load)
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tfigure\twho\tmin\tmedian\tmax\tours ÷ it\t")
	last := Row{}
	for _, row := range r.Rows {
		kase, figure := row.Case, row.Figure
		if row.Case == last.Case && row.Figure == last.Figure {
			kase, figure = "", ""
		} else if row.Unit != "" {
			figure += ", " + row.Unit
		}
		last = row
		ratio := ""
		if row.Ratio != nil {
			ratio = number(*row.Ratio)
		}
		cells := []string{kase, figure, row.Contender, number(row.Min), number(row.Median), number(row.Max), ratio, ""}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, g := range r.Goals {
		fmt.Fprintln(&text, g)
	}
	for _, l := range r.LeftOut {
		fmt.Fprintln(&text, "left out:", l)
	}
	_, err := io.WriteString(to, text.String())
	return err
}

// String says what was to be reached and what was.
func (g Reached) String() string {
	sign, what := "≥", g.Figure
	if g.AtMost {
		sign = "≤"
	}
	if g.Case != "" {
		what = g.Case + ": " + what
	}
	if g.Beside != "" {
		what += " ÷ " + g.Beside
	}
	came := "not measured"
	if g.Got != nil {
		came = number(*g.Got) + ", short of it"
		if g.Met {
			came = number(*g.Got) + ", reached"
		}
	}
	return fmt.Sprintf("must be %s %s (aim %s): %s: %s", sign, number(g.Must), number(g.Aim), what, came)
}

// number writes three significant digits, and all digits before the point.
func number(v float64) string {
	digits := 2
	switch size := math.Abs(v); {
	case size >= 100 || v == 0:
		digits = 0
	case size >= 10:
		digits = 1
	case size < 0.1:
		digits = 4
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return sign + whole
}
