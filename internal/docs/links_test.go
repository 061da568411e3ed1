package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are all that people read, by their path from the root.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range found {
			name, err := filepath.Rel(root, path)
			require.NoError(t, err)
			all = append(all, name)
		}
	}
	require.Greater(t, len(all), 10)
	return all
}

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
)

// A link leads to a file that is there, and to a heading in it.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			require.FileExists(t, filepath.Join(root, file), "%s has a link to %s", page, found[1])
			if anchor != "" {
				require.Contains(t, anchors(t, file), anchor, "%s has a link to %s", page, found[1])
			}
		}
	}
}

// Every page can be found from the README.
func TestPagesAreListed(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, page := range pages(t) {
		if page != "README.md" {
			require.Contains(t, string(readme), "("+page, "the README has no link to it")
		}
	}
}

// anchors gives the headings of a page as GitHub names them.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		var anchor strings.Builder
		for _, r := range strings.ToLower(h[1]) {
			switch {
			case r == ' ':
				anchor.WriteByte('-')
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
				anchor.WriteRune(r)
			}
		}
		all = append(all, anchor.String())
	}
	return all
}

var from = regexp.MustCompile("(?m)^<!-- from (\\S+): (.+) -->\n```[a-z]+\n((?s:.*?))^```$")

// Code on a page that names its source is what stands there, between the lines
// "docs: NAME" and "docs: end".
func TestCodeIsFromItsSource(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		for _, block := range from.FindAllStringSubmatch(string(text), -1) {
			found++
			source, err := os.ReadFile(filepath.Join(root, block[1]))
			require.NoError(t, err)
			_, part, ok := strings.Cut(string(source), "// docs: "+block[2]+"\n")
			require.True(t, ok, "%s has no part %q", block[1], block[2])
			part, _, ok = strings.Cut(part, "// docs: end\n")
			require.True(t, ok)
			require.Equal(t, dedented(part), block[3], "%s shows %q of %s", page, block[2], block[1])
		}
		require.Equal(t, strings.Count(string(text), "<!-- from "), len(from.FindAllString(string(text), -1)), page)
	}
	require.Greater(t, found, 5)
}

// dedented takes off what all lines begin with.
func dedented(text string) string {
	lines := strings.SplitAfter(text[:strings.LastIndex(text, "\n")+1], "\n")
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " \t"))]
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, indent)
	}
	return strings.Join(lines, "")
}
