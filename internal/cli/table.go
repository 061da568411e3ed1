package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// column is one of a table.
type column struct {
	title string
	whole bool // it is never cut, as an id: half of one is none
	extra bool // it is left out where there is no room
}

// table has its columns aligned. On a terminal it is made to fit: extra columns
// are left out, the last first, then the widest are cut; where not even that
// helps, each row is a block of lines.
type table struct {
	columns []column
	rows    [][]string
}

// columns makes a table. A title in brackets is of a column that is never cut;
// one that ends in ? is of one that may be left out.
func columns(titles ...string) *table {
	t := &table{}
	for _, title := range titles {
		title, extra := strings.CutSuffix(title, "?")
		title, whole := strings.CutPrefix(title, "[")
		t.columns = append(t.columns, column{strings.TrimSuffix(title, "]"), whole, extra})
	}
	return t
}

func (t *table) row(cells ...string) {
	for i := range cells {
		if cells[i] = clean(cells[i]); cells[i] == "" {
			cells[i] = "–"
		}
	}
	t.rows = append(t.rows, cells)
}

const (
	gap       = "  "
	narrowest = 8 // columns that a cut cell keeps
)

func (t *table) print(to io.Writer, on terminal) error {
	widths := t.widths()
	if fits := on.columns; fits > 0 && !t.fit(widths, fits) {
		return t.blocks(to, on, fits)
	}
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	var out strings.Builder
	line(&out, titles, widths, func(_ int, text string) string { return on.paint(bold, text) })
	for _, row := range t.rows {
		line(&out, row, widths, func(i int, text string) string { return on.paint(colours[row[i]], text) })
	}
	_, err := io.WriteString(to, out.String())
	return err
}

// leftOut is the width of a column that isn't shown.
const leftOut = -1

func line(out *strings.Builder, cells []string, widths []int, paint func(int, string) string) {
	pad := 0
	for i, cell := range cells {
		if widths[i] == leftOut {
			continue
		}
		text := ansi.Truncate(cell, widths[i], "…")
		out.WriteString(strings.Repeat(" ", pad) + paint(i, text))
		pad = widths[i] - ansi.StringWidth(text) + len(gap)
	}
	out.WriteString("\n")
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = ansi.StringWidth(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
	}
	return widths
}

// fit makes the table as narrow as that, and tells whether it could.
func (t *table) fit(widths []int, fits int) bool {
	for i := len(widths) - 1; i >= 0 && t.least(widths) > fits; i-- {
		if t.columns[i].extra {
			widths[i] = leftOut
		}
	}
	if t.least(widths) > fits {
		return false
	}
	for total(widths) > fits {
		widest := -1
		for i, w := range widths {
			if !t.columns[i].whole && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		widths[widest]--
	}
	return true
}

// least is how narrow it can be made without leaving out more.
func (t *table) least(widths []int) int {
	cut := slices.Clone(widths)
	for i, w := range cut {
		if !t.columns[i].whole {
			cut[i] = min(w, narrowest)
		}
	}
	return total(cut)
}

func total(widths []int) int {
	sum := -len(gap)
	for _, w := range widths {
		if w != leftOut {
			sum += w + len(gap)
		}
	}
	return sum
}

// blocks prints each row as lines of a title and a value.
func (t *table) blocks(to io.Writer, on terminal, fits int) error {
	for i, row := range t.rows {
		var pairs details
		for j, c := range t.columns {
			pairs.add(strings.ToLower(c.title), row[j])
		}
		if i > 0 {
			fmt.Fprintln(to)
		}
		if err := pairs.print(to, on, fits); err != nil {
			return err
		}
	}
	return nil
}

// details are what there is to say of one thing, by name.
type details []struct{ name, value string }

func (d *details) add(name, value string) {
	if value != "" {
		*d = append(*d, struct{ name, value string }{name, value})
	}
}

// print puts them below one another, with long values broken to what fits; 0: everything does.
func (d details) print(to io.Writer, on terminal, fits int) error {
	longest := 0
	for _, one := range d {
		longest = max(longest, ansi.StringWidth(one.name))
	}
	var out strings.Builder
	for _, one := range d {
		margin := strings.Repeat(" ", longest+len(gap))
		value := clean(one.value)
		if room := fits - longest - len(gap); fits > 0 && ansi.StringWidth(value) > room {
			if room < narrowest || !strings.Contains(value, " ") {
				margin, room = "", fits
				value = "\n" + value
			}
			value = strings.ReplaceAll(ansi.Wrap(value, max(room, 1), ""), "\n", "\n"+margin)
		}
		out.WriteString(on.paint(bold, one.name))
		if !strings.HasPrefix(value, "\n") {
			out.WriteString(strings.Repeat(" ", longest-ansi.StringWidth(one.name)+len(gap)))
		}
		out.WriteString(on.paint(colours[value], value) + "\n")
	}
	_, err := io.WriteString(to, out.String())
	return err
}

// clean makes one line of text that others have written, and leaves nothing in
// it that a terminal would obey: no control characters, and none that turn the
// direction of writing.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
