package projections

import (
	"slices"
	"strings"
)

// Matches tells whether every word of query begins a word of texts: what a
// search for query finds.
func Matches(query string, texts ...string) bool {
	terms := termsOf(query)
	if len(terms) == 0 {
		return true
	}
	words := wordsOf(texts...)
	for _, term := range terms {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, term) }) {
			return false
		}
	}
	return true
}
