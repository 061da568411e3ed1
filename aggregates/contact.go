package aggregates

import (
	"net/mail"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of RFC 5321, in octets.
const (
	maxEmail     = 254
	maxEmailUser = 64
)

// domains is IDNA 2008 as for looking a domain up, with the lengths of the DNS.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true),
	idna.CheckHyphens(true), idna.CheckJoiners(true), idna.VerifyDNSLength(true), idna.Transitional(false))

// CanonicalEmail gives the form in which equal addresses are equal: the local
// part case-folded, the domain in lower-case A-labels. It is not an address to
// send to. Refused is all but one bare address: display names, comments,
// control characters, line breaks and IP literals.
func CanonicalEmail(addr string) (canonical string, ok bool) {
	if len(addr) > maxEmail || !utf8.ValidString(addr) {
		return "", false
	}
	at := strings.LastIndexByte(addr, '@')
	if at < 1 || at > maxEmailUser {
		return "", false
	}
	user, ok := localPart(addr[:at])
	if !ok {
		return "", false
	}
	domain, ok := emailDomain(addr[at+1:])
	if !ok {
		return "", false
	}
	if parsed, err := mail.ParseAddress(addr); err != nil || parsed.Name != "" {
		return "", false
	}
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(user))) + "@" + domain, true
}

// localPart is what s says without the quotes that it doesn't need.
func localPart(s string) (string, bool) {
	if s[0] != '"' {
		return s, dotAtom(s)
	}
	if len(s) < 3 || s[len(s)-1] != '"' {
		return "", false
	}
	var said strings.Builder
	escaped := false
	for _, r := range s[1 : len(s)-1] {
		switch {
		case !printable(r) && r != ' ':
			return "", false
		case escaped:
			escaped = false
			said.WriteRune(r)
		case r == '\\':
			escaped = true
		case r == '"':
			return "", false
		default:
			said.WriteRune(r)
		}
	}
	if escaped {
		return "", false
	}
	if dotAtom(said.String()) {
		return said.String(), true
	}
	return `"` + said.String() + `"`, true
}

func dotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.IndexFunc(atom, func(r rune) bool { return !atext(r) }) >= 0 {
			return false
		}
	}
	return true
}

// atext is what RFC 5322 and RFC 6531 allow without quotes.
func atext(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
	return printable(r)
}

// printable leaves out what can't be seen, or turns the direction of a line round.
func printable(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

func emailDomain(s string) (string, bool) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !printable(r) }) {
		return "", false
	}
	domain, err := domains.ToASCII(s)
	if err != nil {
		return "", false
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", false
	}
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		return "", false // no top-level domain is a number
	}
	return strings.ToLower(domain), true
}

// CanonicalPhone gives number in the form of E.164. Without + it is read as one
// dials it in region; without region it is refused. A number that the
// numbering plan doesn't know is taken as long as it is written with +: plans change.
func CanonicalPhone(number, region string) (e164 string, ok bool) {
	bare := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) && r != '\n' && r != '\r' || strings.ContainsRune(".-()\u2010\u2011", r) {
			return -1
		}
		return r
	}, number)
	if isE164(bare) {
		return bare, true
	}
	if region == "" || !digits(bare) {
		return "", false
	}
	parsed, err := phonenumbers.Parse(bare, region)
	if err != nil || !phonenumbers.IsPossibleNumber(parsed) {
		return "", false
	}
	e164 = phonenumbers.Format(parsed, phonenumbers.E164)
	return e164, isE164(e164)
}

func isE164(s string) bool {
	return len(s) >= 8 && len(s) <= 16 && s[0] == '+' && s[1] != '0' && digits(s[1:])
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
