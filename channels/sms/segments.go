package sms

import (
	"strings"
	"unicode/utf16"
)

// Encoding is how a text message is written (3GPP TS 23.038).
type Encoding string

// The encodings: GSM7 has the characters of most Western languages; one other
// character makes the whole message UCS2, which has room for fewer.
const (
	GSM7 Encoding = "GSM-7"
	UCS2 Encoding = "UCS-2"
)

const (
	basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	// extension are written as an escape and another character.
	extension = "\f^{}\\[~]|€"
)

// Segments tells how a text would be sent: in how many parts, each of which is
// paid for. What takes two units is never split over two parts.
func Segments(text string) (Encoding, int) {
	encoding, single, part := GSM7, 160, 153
	var widths []int // in units
	for _, r := range text {
		switch {
		case strings.ContainsRune(basic, r):
			widths = append(widths, 1)
		case strings.ContainsRune(extension, r):
			widths = append(widths, 2)
		default:
			encoding = UCS2
		}
	}
	if encoding == UCS2 {
		single, part, widths = 70, 67, nil
		for _, r := range text {
			widths = append(widths, utf16.RuneLen(r))
		}
	}
	total := 0
	for _, w := range widths {
		total += w
	}
	if total <= single {
		return encoding, 1
	}
	parts, used := 1, 0
	for _, w := range widths {
		if used+w > part {
			parts, used = parts+1, 0
		}
		used += w
	}
	return encoding, parts
}
