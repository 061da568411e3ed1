package projections

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// vocabulary has words of several languages and what they are in plain letters:
// the model of the property below folds nothing itself.
var vocabulary = map[string]string{
	"Fête": "fete", "d'été": "d ete", "Łódź": "lodz", "Straße": "strasse", "ÅNGSTRÖM": "angstrom", "Søren": "soren", "mañana": "manana",
	"a": "a", "I": "i", "go": "go", "Gopher": "gopher", "2031": "2031", "Q3": "q3", "Ёлка": "елка", "ВСТРЕЧА": "встреча", "Αθήνα": "αθηνα",
	"Zürich": "zurich", "ﬁnal": "final", "東京": "東 京", "会議": "会 議", "O'Neil": "o neil", "çay": "cay", "Đà": "da", "naïve": "naive",
	"Işık": "isik", "İzmir": "izmir", "cafe\u0301": "cafe", "שָׁלוֹם": "שלום", "مُحَمَّد": "محمد", "ทีม": "ท ม", "O’Brien": "o brien",
}

// plainly are the words of texts that were made from the vocabulary.
func plainly(texts []string) (words []string) {
	for _, text := range texts {
		words = append(words, strings.Fields(vocabulary[text])...)
	}
	return words
}

// Whatever stands in titles, the same is found on every database: the events of
// which, for each word of the query, some word begins with it.
func TestSearchIsTheSameEverywhere(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		all := make([]string, 0, len(vocabulary))
		for word := range vocabulary {
			all = append(all, word)
		}
		slices.Sort(all)
		fewer(t, target)
		rapid.Check(t, func(r *rapid.T) {
			w := newWorld(r)
			w.target = target
			m := w.open("")
			m.empty(r)
			texts := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(all), 1, 5), 1, 8).Draw(r, "titles")
			for i, words := range texts {
				f := meeting(fmt.Sprint(i))
				f.Title, f.Description, f.Location = strings.Join(words, " "), "", ""
				w.event(f.EventID, f)
			}
			require.NoError(r, m.foldBatch(w.facts()))
			for n := range 8 {
				var query, terms []string
				among := all
				if n == 0 {
					among = texts[0] // one that is certain to find something
				}
				for _, word := range rapid.SliceOfN(rapid.SampledFrom(among), 1, 2).Draw(r, "words") {
					// A part of a word in some other spelling of the same letters.
					runes := []rune(strings.Fields(vocabulary[word])[0])
					term := string(runes[:rapid.IntRange(1, len(runes)).Draw(r, "length")])
					terms = append(terms, term)
					switch rapid.IntRange(0, 2).Draw(r, "spelling") {
					case 0:
						term = strings.Map(unicode.ToUpper, term)
					case 1:
						term = norm.NFD.String(term)
					}
					query = append(query, term)
				}
				want := []string{}
				for i, words := range texts {
					if every(terms, plainly(words)) {
						want = append(want, fmt.Sprint(i))
					}
				}
				l, err := m.Events(bg, EventFilter{Query: strings.Join(query, " ")}, Page{Limit: 50})
				require.NoError(r, err)
				got := []string{}
				for _, e := range l.Items {
					got = append(got, e.ID)
				}
				require.Equal(r, want, got, "%q in %q", query, texts)
				if n == 0 {
					require.NotEmpty(r, want)
				}
			}
			m.empty(r)
			require.NoError(r, m.Close())
		})
	})
}

func every(terms, words []string) bool {
	for _, term := range terms {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, term) }) {
			return false
		}
	}
	return true
}
