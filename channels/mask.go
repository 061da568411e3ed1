package channels

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const hidden = "***"

// Mask shows as much of an address as its owner needs to recognise it, for logs,
// results and the facts that say where a message went: a***@example.org,
// +12*****90, the first four characters of a push token, the push service of a
// browser's subscription. What is shown is
// printable, whatever the address holds; of what doesn't look like an address of
// its kind, nothing is shown. Masking neither shows a whole address nor how long
// it is.
func Mask(kind Kind, to string) string {
	if !utf8.ValidString(to) || strings.ContainsFunc(to, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return hidden
	}
	masked := hidden
	switch kind {
	case Email:
		masked = maskEmail(to)
	case Phone:
		masked = maskPhone(to)
	case Push:
		masked = maskToken(to)
	case Endpoint:
		masked = maskURL(to)
	}
	if strings.Contains(masked, to) { // a***@example.org is an address too
		return hidden
	}
	return masked
}

func maskEmail(to string) string {
	const longest = 254 // octets of an address in SMTP
	at := strings.LastIndexByte(to, '@')
	if at <= 0 || at == len(to)-1 || len(to) > longest {
		return hidden
	}
	local, domain := to[:at], to[at:]
	first, size := utf8.DecodeRuneInString(local)
	if len(local) == size {
		return hidden + domain // one character would be all of it
	}
	return string(first) + hidden + domain
}

func maskPhone(to string) string {
	digits, international := strings.CutPrefix(to, "+")
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	if !international || len(digits) < 7 || strings.ContainsFunc(digits, notDigit) {
		return hidden
	}
	return "+" + digits[:2] + "*****" + digits[len(digits)-2:]
}

func maskToken(to string) string {
	if strings.HasPrefix(to, "{") {
		return maskSubscription(to)
	}
	const shown, shortest = 4, 16
	runes := []rune(to)
	if len(runes) < shortest {
		return hidden
	}
	return string(runes[:shown]) + "…"
}

var host = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)

// maskSubscription shows a PushSubscription's push service: its endpoint is a
// secret, its other parts say nothing.
func maskSubscription(to string) string {
	var s struct {
		Endpoint string `json:"endpoint"`
	}
	if err := json.Unmarshal([]byte(to), &s); err != nil {
		return hidden
	}
	return maskURL(s.Endpoint)
}

// maskURL shows a URL's host.
func maskURL(to string) string {
	u, err := url.Parse(to)
	if err != nil || !host.MatchString(u.Hostname()) {
		return hidden
	}
	return u.Hostname() + "/" + hidden
}
