package reminders

import (
	"strings"
	"unicode"

	"github.com/belltower/belltower/channels"
)

// maxSaid bounds, in characters, what is kept of a provider's words.
const maxSaid = 300

// said is what a provider answered, as it may stand in the log for ever.
func said(r channels.Result, m rendered) string {
	if r.Code == "" {
		return plain(r.Detail, m)
	}
	return plain(r.Code+": "+r.Detail, m)
}

// plain makes a provider's words short and harmless: on one line, and without
// the person's address, name, text and link, which providers like to quote.
func plain(words string, m rendered) string {
	words = strings.ToValidUTF8(words, "\uFFFD")
	for _, personal := range []string{m.Text, m.To, m.Name, m.OptOut} {
		if len(personal) > 1 {
			words = strings.ReplaceAll(words, personal, "…")
		}
	}
	words = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, words)
	if runes := []rune(words); len(runes) > maxSaid {
		words = string(runes[:maxSaid-1]) + "…"
	}
	return words
}
