package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fixed is a terminal of that width.
func fixed(width int) screen { return screen{columns: width} }

func printed(t require.TestingT, table *table, on screen) string {
	var out strings.Builder
	require.NoError(t, table.print(&out, on))
	return out.String()
}

func bells() *table {
	table := columns("[ID]", "TITLE", "PLACE?", "SEATS?")
	table.row("23dda44e", "Bell-ringing course for beginners", "鐘樓 the tower", "12")
	table.row("45b4e0a2", "Évensong 👩‍👩‍👧", "", "7")
	return table
}

func TestTables(t *testing.T) {
	require.Equal(t, `ID        TITLE                              PLACE           SEATS
23dda44e  Bell-ringing course for beginners  鐘樓 the tower  12
45b4e0a2  Évensong 👩‍👩‍👧                        –               7
`, printed(t, bells(), screen{}), "in a pipe")
	require.Equal(t, `ID        TITLE           PLACE           SEATS
23dda44e  Bell-ringing …  鐘樓 the tower  12
45b4e0a2  Évensong 👩‍👩‍👧     –               7
`, printed(t, bells(), fixed(47)))
	require.Equal(t, `ID        TITLE     PLACE
23dda44e  Bell-ri…  鐘樓 th…
45b4e0a2  Évenson…  –
`, printed(t, bells(), fixed(28)), "what is extra goes first")
	require.Equal(t, `ID        TITLE
23dda44e  Bell-ri…
45b4e0a2  Évenson…
`, printed(t, bells(), fixed(18)))
	require.Equal(t, `id     23dda44e
title  Bell-ringi
       ng course
       for
       beginners
place  鐘樓 the
       tower
seats  12

id     45b4e0a2
title  Évensong
       👩‍👩‍👧
place  –
seats  7
`, printed(t, bells(), fixed(17)))
}

// Whatever is in it, no line of a table is wider than the terminal, and ids are whole.
func TestTablesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := columns("[ID]", "TITLE", "PLACE?", "STATUS")
		for range rapid.IntRange(0, 5).Draw(t, "rows") {
			table.row("23dda44e-4448-5a12-84d4-c2a8292da79c", rapid.String().Draw(t, "title"), rapid.StringMatching(`[ a鐘é👩]{0,30}`).Draw(t, "place"), "scheduled")
		}
		width := rapid.IntRange(36, 200).Draw(t, "width")
		out := printed(t, table, fixed(width))
		for line := range strings.Lines(out) {
			require.LessOrEqual(t, displaywidth.String(strings.TrimSuffix(line, "\n")), width, "%q", out)
		}
		require.Equal(t, len(table.rows), strings.Count(out, "23dda44e-4448-5a12-84d4-c2a8292da79c"), "%q", out)
	})
}

func TestColour(t *testing.T) {
	on := fixed(80)
	on.colour = true
	table := columns("ID", "STATUS")
	table.row("1", "FAILED")
	require.Equal(t, "\x1b[1mID\x1b[0m  \x1b[1mSTATUS\x1b[0m\n1   \x1b[31mFAILED\x1b[0m\n", printed(t, table, on))
	require.NotContains(t, printed(t, table, fixed(80)), "\x1b")
}

// What others have written is shown, and not obeyed.
func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"two\nlines\there":          "two lines here",
		"\x1b[31mred\x1b]0;title\a": "[31mred]0;title",
		"a\u202Eb\u2066c":           "abc",
		"bad \xff":                  "bad \uFFFD",
		"👩‍👩‍👧 é":                   "👩‍👩‍👧 é",
		"\u0085\u009b31m":           "31m",
	} {
		require.Equal(t, want, clean(text), fmt.Sprintf("%q", text))
	}
}
