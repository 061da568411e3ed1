package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
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

func (t *table) print(to io.Writer, on screen) error {
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
		text := displaywidth.TruncateString(cell, widths[i], "…")
		out.WriteString(strings.Repeat(" ", pad) + paint(i, text))
		pad = widths[i] - displaywidth.String(text) + len(gap)
	}
	out.WriteString("\n")
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = displaywidth.String(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], displaywidth.String(row[i]))
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
func (t *table) blocks(to io.Writer, on screen, fits int) error {
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
func (d details) print(to io.Writer, on screen, fits int) error {
	longest := 0
	for _, one := range d {
		longest = max(longest, displaywidth.String(one.name))
	}
	var out strings.Builder
	for _, one := range d {
		value, name := clean(one.value), on.paint(bold, one.name)
		width, room := displaywidth.String(value), fits-longest-len(gap)
		switch {
		case fits == 0, width <= room:
			out.WriteString(name + strings.Repeat(" ", longest-displaywidth.String(one.name)+len(gap)) + on.paint(colours[value], value) + "\n")
		case room >= narrowest && strings.Contains(value, " "):
			margin := strings.Repeat(" ", longest+len(gap))
			out.WriteString(name + margin[displaywidth.String(one.name):] + strings.Join(wrap(value, room), "\n"+margin) + "\n")
		default:
			out.WriteString(name + "\n" + strings.Join(wrap(value, fits), "\n") + "\n")
		}
	}
	_, err := io.WriteString(to, out.String())
	return err
}

// wrap breaks text between words into lines that fit; a word that doesn't has
// lines of its own.
func wrap(text string, fits int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case displaywidth.String(line+" "+word) <= fits:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
		for displaywidth.String(line) > fits {
			start := displaywidth.TruncateString(line, fits, "")
			if start == "" { // one character is wider than all there is
				break
			}
			lines = append(lines, start)
			line = line[len(start):]
		}
	}
	return append(lines, line)
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
