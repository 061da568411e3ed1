package reminders

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
)

func TestAProvidersWordsAreKeptPlain(t *testing.T) {
	m := rendered{Message: channels.Message{To: "ann@example.org", Name: "Ann Bell", Text: "Hello Ann Bell", OptOut: "https://x.org/signed"}}
	for given, kept := range map[string]string{
		"mailbox full":                               "mailbox full",
		"spam: https://x.org/signed is a link":       "spam: … is a link",
		"no such user <ann@example.org>\r\nX-Bad: 1": "no such user <…>  X-Bad: 1",
		"refused \"Hello Ann Bell\" to Ann Bell":     "refused \"…\" to …",
		"broken \xff text\u2028and more\x1b[31m":     "broken \uFFFD text and more [31m",
	} {
		require.Equal(t, kept, said(channels.Result{Detail: given}, m))
		require.Equal(t, "550: "+kept, said(channels.Result{Code: "550", Detail: given}, m))
	}
	long := said(channels.Result{Detail: strings.Repeat("é", 2<<20)}, m)
	require.Equal(t, maxSaid, utf8.RuneCountInString(long))
}
