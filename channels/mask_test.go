package channels_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels"
)

func TestMask(t *testing.T) {
	for _, tt := range []struct {
		kind     channels.Kind
		to, want string
	}{
		{channels.Email, "ann@example.org", "a***@example.org"},
		{channels.Email, "zoë@example.org", "z***@example.org"},
		{channels.Email, "ëva@例え.jp", "ë***@例え.jp"},
		{channels.Email, "ab@example.org", "a***@example.org"},
		{channels.Email, "a@example.org", "***@example.org"},
		{channels.Email, "@example.org", "***"},
		{channels.Email, "*@example.org", "***"},
		{channels.Email, "a***@example.org", "***"},
		{channels.Email, `"a@b"@example.org`, `"***@example.org`},
		{channels.Email, "ann@", "***"},
		{channels.Email, "ann", "***"},
		{channels.Email, "ann@x.org\r\nBcc: bob@x.org", "***"},
		{channels.Email, "ann@" + strings.Repeat("x", 251), "***"},
		{channels.Email, "ann@\xff", "***"},
		{channels.Phone, "+1234567890", "+12*****90"},
		{channels.Phone, "+1234567", "+12*****67"},
		{channels.Phone, "+123456", "***"},
		{channels.Phone, "01234567890", "***"},
		{channels.Phone, "+12 345 678 90", "***"},
		{channels.Push, "dGhpcyBpcyBhIHRva2Vu", "dGhp…"},
		{channels.Push, "dGhpcyBpcyBhIH", "***"},
		{channels.Push, "\x1b[2Jabcdefghijklmnop", "***"},
		{channels.Push, `{"endpoint":"https://web.push.apple.com/s3cr3t","keys":{}}`, "web.push.apple.com/***"},
		{channels.Push, `{"endpoint":"https://s3cr3t@web.push.apple.com:444/s3cr3t"}`, "web.push.apple.com/***"},
		{channels.Push, `{"endpoint":"https://\u202epush/s3cr3t"}`, "***"},
		{channels.Push, `{"endpoint":"dGhpcyBpcyBhIHRva2Vu"}`, "***"},
		{channels.Push, `{"endpoint":7}`, "***"},
		{channels.Push, `{"dGhpcyBpcyBhIHRva2Vu`, "***"},
		{"fax", "+1234567890", "***"},
		{channels.Email, "", "***"},
		{channels.Phone, "", "***"},
		{channels.Push, "", "***"},
	} {
		require.Equal(t, tt.want, channels.Mask(tt.kind, tt.to), "%s %q", tt.kind, tt.to)
	}
}

func TestMaskNeverShowsAWholeAddress(t *testing.T) {
	kinds := []channels.Kind{channels.Email, channels.Phone, channels.Push, ""}
	rapid.Check(t, func(t *rapid.T) {
		to := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[^@]{0,9}@[^@]{0,9}`),
			rapid.StringMatching(`[a*]{0,5}@[a*]{0,5}`),
			rapid.StringMatching(`\+[0-9]{1,16}`),
			rapid.StringMatching(`[A-Za-z0-9_:-]{10,40}`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		).Draw(t, "to")
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		masked := channels.Mask(kind, to)

		if to != "" && strings.Contains(masked, to) && !strings.Contains("***", to) {
			t.Fatalf("%q shows all of %q", masked, to)
		}
		if !utf8.ValidString(masked) || strings.ContainsFunc(masked, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q can't be printed safely", masked)
		}
		domain := ""
		if kind == channels.Email {
			domain = to[strings.LastIndexByte(to, '@')+1:]
		}
		if shown := len([]rune(strings.TrimSuffix(masked, domain))); shown > len("+12*****90") {
			t.Fatalf("%q shows %d characters of %q beside its domain", masked, shown, to)
		}
	})
}
