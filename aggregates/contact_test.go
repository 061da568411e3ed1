package aggregates_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
)

func TestCanonicalEmail(t *testing.T) {
	label := strings.Repeat("b", 60)
	long := "a@" + label + "." + label + "." + label + "." + label + "." // 2 + 4×61
	for given, want := range map[string]string{
		"ann@x.org":                    "ann@x.org",
		"ANN@X.Org":                    "ann@x.org",
		"ann+tag@x.org":                "ann+tag@x.org",
		"a.b@localhost":                "a.b@localhost",
		`"ann"@x.org`:                  "ann@x.org",
		`"a\b"@x.org`:                  "ab@x.org",
		`"a b"@x.org`:                  `"a b"@x.org`,
		"Straße@x.org":                 "strasse@x.org",
		"JOSE\u0301@x.org":             "josé@x.org",
		"用户@例え.jp":                     "用户@xn--r8jz45g.jp",
		"ann@BÜCHER.example":           "ann@xn--bcher-kva.example",
		"ann@XN--BCHER-KVA.example":    "ann@xn--bcher-kva.example",
		strings.Repeat("a", 64) + "@x": strings.Repeat("a", 64) + "@x",
		long + strings.Repeat("c", 8):  long + strings.Repeat("c", 8), // 254
	} {
		got, ok := aggregates.CanonicalEmail(given)
		require.True(t, ok, given)
		require.Equal(t, want, got)
	}
	for name, given := range map[string]string{
		"nothing": "", "no at": "ann", "no local part": "@x.org", "no domain": "ann@", "a name": "Ann <ann@x.org>", "brackets": "<ann@x.org>",
		"a comment": "ann(x)@x.org", "two": "a@x.org, b@x.org", "two, bare": "a@x.org b@x.org", "two ats": "a@b@x.org",
		"a line": "ann@x.org\nBcc: x@y.z", "a line inside": "ann\r\n@x.org", "a NUL": "ann\x00@x.org", "not UTF-8": "\xff@x.org",
		"a line separator": "a\u2028b@x.org", "turned round": "a\u202eb@x.org", "nothing to see": "a\u200bb@x.org", "a hard space": "a\u00a0b@x.org",
		"a dot first": ".a@x.org", "a dot last": "a.@x.org", "two dots": "a..b@x.org", "a trailing dot": "ann@x.org.", "an ideographic one": "ann@x.org。",
		"an empty label": "ann@x..org", "an address": "ann@[127.0.0.1]", "an IPv6 address": "ann@[IPv6:::1]", "a bare address": "ann@127.0.0.1",
		"underscore": "ann@a_b.org", "a hyphen first": "ann@-x.org", "an open quote": `"ann@x.org`, "a quote inside": `"a"b"@x.org`, "a tab in quotes": "\"a\tb\"@x.org",
		"an empty quote": `""@x.org`, "a dangling backslash": `"a\"@x.org`, "a space first": " ann@x.org",
		"65 before the at": strings.Repeat("a", 65) + "@x", "255": long + strings.Repeat("c", 9), "a label of 64": "a@" + strings.Repeat("b", 64) + ".org",
		"an address with a group": "g: ann@x.org;", "encoded words": "=?utf-8?q?a?= <a@x.org>", "a bad label": "ann@xn--zz--.org",
	} {
		got, ok := aggregates.CanonicalEmail(given)
		require.False(t, ok, "%s: %q gives %q", name, given, got)
	}
}

func TestCanonicalPhone(t *testing.T) {
	for _, tt := range []struct{ given, region, want string }{
		{"+1234567", "", "+1234567"},
		{"+123456789012345", "", "+123456789012345"},
		{"+1234567890", "", "+1234567890"},
		{" +49 (0)30-123.456", "", "+49030123456"},
		{"+49\u00a030\u202f123456", "", "+4930123456"},
		{"030 123456", "DE", "+4930123456"},
		{"(212) 555-0123", "US", "+12125550123"},
		{"+123456", "", ""},
		{"+1234567890123456", "", ""},
		{"+0123456789", "", ""},
		{"030 123456", "", ""},
		{"030 123456", "XX", ""},
		{"1", "DE", ""},
		{"", "DE", ""},
		{"+", "DE", ""},
		{"++4930123456", "DE", ""},
		{"1-800-FLOWERS", "US", ""},
		{"+49 30 123456 ext. 7", "DE", ""},
		{"tel:+4930123456", "DE", ""},
		{"+49301234\n56", "DE", ""},
		{"+४९३०१२३४५६", "DE", ""},
	} {
		got, ok := aggregates.CanonicalPhone(tt.given, tt.region)
		require.Equal(t, tt.want != "", ok, "%q gives %q", tt.given, got)
		if ok {
			require.Equal(t, tt.want, got)
		}
	}
}

// What is taken is taken again in its canonical form, and can break no header.
func TestContactsAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9.+"\\ äß@-]{1,12}@[a-zA-Z0-9.ü-]{1,12}`), rapid.String()).Draw(t, "e-mail")
		if canonical, ok := aggregates.CanonicalEmail(given); ok {
			again, ok := aggregates.CanonicalEmail(canonical)
			if strings.Contains(canonical, `"`) {
				return // folded and unquoted text need not be an address
			}
			require.True(t, ok, canonical)
			require.Equal(t, canonical, again)
			require.NotContains(t, given, "\n")
		}
		number := rapid.OneOf(rapid.StringMatching(`\+?[0-9 ().-]{0,20}`), rapid.String()).Draw(t, "phone")
		if e164, ok := aggregates.CanonicalPhone(number, "DE"); ok {
			require.Regexp(t, `^\+[1-9][0-9]{6,14}$`, e164)
		}
	})
}
