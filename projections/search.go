package projections

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// eventScope is the scope of the words that find events.
const eventScope = "event"

const (
	// maxWords bounds the distinct words that find one thing: the rest of a
	// longer text finds nothing.
	maxWords = 2000
	// maxRunes is where a word is cut, in texts and queries alike.
	maxRunes = 64
	// MaxTerms is how many distinct words a query may have; see Searchable.
	MaxTerms = 32
	// lastRune is behind every rune of a word.
	lastRune = "\U0010FFFF"
)

// eventWords are the words that find an event; the title's come first, as a
// very long description may be cut.
func eventWords(title, location, description string) []string {
	return wordsOf(title, location, description)
}

// participantWords are the words that find a participant.
func participantWords(name, email string) []string { return wordsOf(name, email) }

// wordsOf returns the distinct words of texts: folded runs of letters and
// digits, and addresses as a whole.
func wordsOf(texts ...string) []string {
	var out []string
	seen := map[string]bool{}
	for _, text := range texts {
		for field := range strings.FieldsSeq(fold(text)) {
			add := func(word string) bool {
				if word = cut(word); word != "" && !seen[word] {
					seen[word] = true
					out = append(out, word)
				}
				return len(out) < maxWords
			}
			if address, ok := addressOf(field); ok && !add(address) {
				return out
			}
			for _, word := range split(field) {
				if !add(word) {
					return out
				}
			}
		}
	}
	return out
}

// termsOf returns the words that query asks for, without those that another begins with.
func termsOf(query string) []string {
	var out []string
	for field := range strings.FieldsSeq(fold(query)) {
		if address, ok := addressOf(field); ok {
			out = append(out, cut(address))
			continue
		}
		for _, word := range split(field) {
			out = append(out, cut(word))
		}
	}
	slices.Sort(out)
	terms := out[:0]
	for i, term := range out {
		if i+1 < len(out) && strings.HasPrefix(out[i+1], term) {
			continue
		}
		terms = append(terms, term)
	}
	return terms
}

// Searchable tells whether query has no more words than may be looked for.
func Searchable(query string) bool { return len(termsOf(query)) <= MaxTerms }

// words narrows to numbers that have a word for each of the query's terms.
func (w *where) words(column, scope, query string) {
	for _, term := range termsOf(query) {
		w.and(column+" IN (SELECT number FROM {words} WHERE scope = ? AND folded >= ? AND folded < ?)", scope, term, term+lastRune)
	}
}

// changeWords makes the words that find a number now what old were.
func (w *writer) changeWords(scope string, number int64, old, now []string) {
	if len(old) == 0 {
		for _, word := range now {
			w.words.insert(scope, word, number)
		}
		return
	}
	was := make(map[string]bool, len(old))
	for _, word := range old {
		was[word] = true
	}
	for _, word := range now {
		if was[word] {
			delete(was, word)
			continue
		}
		w.words.insert(scope, word, number)
	}
	for _, word := range old {
		if was[word] {
			w.words.delete(scope, word, number)
		}
	}
}

// addressOf gives field as an address, without what is around it.
func addressOf(field string) (address string, ok bool) {
	if !strings.Contains(field, "@") {
		return "", false
	}
	address = strings.TrimFunc(field, func(r rune) bool { return !inWord(r) })
	return address, strings.Contains(address, "@")
}

// split cuts folded text into words. Scripts that don't part words by spaces
// have each character as a word, so that what stands within a run is found.
func split(field string) []string {
	var out []string
	start := -1
	for i, r := range field {
		switch {
		case unicode.In(r, unspaced...):
			if start >= 0 {
				out = append(out, field[start:i])
				start = -1
			}
			out = append(out, string(r))
		case inWord(r):
			if start < 0 {
				start = i
			}
		case start >= 0:
			out = append(out, field[start:i])
			start = -1
		}
	}
	if start >= 0 {
		out = append(out, field[start:])
	}
	return out
}

var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// fold takes case, accents and the forms of letters away.
func fold(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	s = norm.NFKD.String(cases.Fold().String(norm.NFKD.String(s)))
	return strings.Map(func(r rune) rune {
		if unicode.IsMark(r) {
			return -1
		}
		if plain, ok := plainOf[r]; ok {
			return plain
		}
		return r
	}, s)
}

// plainOf has the letters whose stroke isn't a mark of its own.
var plainOf = map[rune]rune{'ł': 'l', 'ø': 'o', 'đ': 'd', 'ħ': 'h', 'ŧ': 't', 'ı': 'i'}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func cut(word string) string {
	if len(word) <= maxRunes {
		return word
	}
	n := 0
	for i := range word {
		if n == maxRunes {
			return word[:i]
		}
		n++
	}
	return word
}
