package projections

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
)

func TestSearchEvents(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		for i, text := range [][3]string{
			{"Fête d'été", "Musique et danse", "Łódź"},
			{"GO meetup", "C and Go, 2 talks; write to host@example.org.", "Straße 9"},
			{"產品會議 第3季", "ミーティングの予定", "東京"},
			{"Встреча Ёлка", "подвести итоги", "Αθήνα"},
			{"बैठक हिन्दी", "ﬁnal ①", ""},
			{"Işık İstanbul'da, Iğdır", "פְּגִישָׁה ประชุมทีม cafe\u0301 O’Brien 24/7 ٣", "تُونِس مُحَمَّد"},
			{"x", strings.Repeat("long ", 10) + strings.Repeat("é", 100), ""},
		} {
			f := meeting(fmt.Sprint(i))
			f.Title, f.Description, f.Location = text[0], text[1], text[2]
			w.event(f.EventID, f)
		}
		m := w.shown(w.models(t))
		find := func(q string) []string {
			l, err := m.Events(bg, EventFilter{Query: q}, Page{Limit: 10})
			require.NoError(t, err)
			ids := []string{}
			for _, e := range l.Items {
				ids = append(ids, e.ID)
			}
			return ids
		}
		for q, want := range map[string][]string{
			"fete":                               {"0"},
			"FÊTE ete":                           {"0"},
			"été d":                              {"0"},
			"fe lod":                             {"0"},
			"Łodz":                               {"0"},
			"ete nothing":                        {},
			"te":                                 {}, // not the beginning of a word
			"g":                                  {"1"},
			"go 2":                               {"1"},
			"strasse":                            {"1"},
			"STRASS":                             {"1"},
			"host@example.org":                   {"1"},
			"host@ex":                            {"1"},
			"@example":                           {"1"},
			"example@host":                       {},
			"會議":                                 {"2"},
			"品":                                  {"2"},
			"東":                                  {"2"},
			"ミーティンク":                             {"2"},
			"елка":                               {"3"},
			"ВСТ итог":                           {"3"},
			"αθηνα":                              {"3"},
			"हिन":                                {"4"},
			"final 1":                            {"4"},
			"isik":                               {"5"},
			"IŞIK igdir":                         {"5"},
			"ıst":                                {"5"},
			"İSTANBUL'DA":                        {"5"},
			"פגי":                                {"5"},
			"פְּגִישָׁה":                         {"5"},
			"ทีม":                                {"5"},
			"caf\u00e9":                          {"5"},
			"o'b":                                {"5"},
			"24 7":                               {"5"},
			"٣":                                  {"5"},
			"محمد تون":                           {"5"},
			"مُحَمَّد":                           {"5"},
			strings.Repeat("e", 30):              {"6"},
			strings.Repeat("é", 90):              {"6"},
			"":                                   {"0", "1", "2", "3", "4", "5", "6"},
			" ,;! ":                              {"0", "1", "2", "3", "4", "5", "6"},
			strings.Repeat("go meet talks ", 99): {"1"},
			"%":                                  {"0", "1", "2", "3", "4", "5", "6"},
			"\xff\xfe go":                        {"1"},
		} {
			require.Equal(t, want, find(q), q)
		}

		w.event("1", events.EventDetailsChanged{EventID: "1", Title: ptr("Rust meetup")})
		w.shown(m)
		require.Equal(t, []string{"1"}, find("rust"))
		require.Equal(t, []string{"1"}, find("go"), "the description has it still")
		w.event("1", events.EventDetailsChanged{EventID: "1", Description: ptr("")})
		w.shown(m)
		require.Empty(t, find("go"))
		w.event("1", events.EventDeleted{EventID: "1"})
		w.shown(m)
		require.Empty(t, find("rust"))
	})
}

func TestSearchParticipants(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		w.event("b", meeting("b"))
		people := map[string][2]string{
			"1": {"José Ñandú", "jose.n@example.org"},
			"2": {"Li 李小龙", "Li@Bücher.example"},
			"3": {"Josefine O'Neil", "n.jose@example.org"},
		}
		for _, id := range []string{"1", "2", "3"} {
			g := guest("a", id)
			g.Personal.Name, g.Personal.Email = people[id][0], people[id][1]
			w.event("a", g)
			g.EventID, g.ParticipantID = "b", "other"+id
			w.event("b", g)
		}
		m := w.shown(w.models(t))
		find := func(q string) []string {
			l, err := m.Participants(bg, "a", ParticipantFilter{Query: q}, Page{Limit: 10})
			require.NoError(t, err)
			ids := []string{}
			for _, p := range l.Items {
				ids = append(ids, p.ID)
			}
			return ids
		}
		for q, want := range map[string][]string{
			"jose": {"1", "3"}, "jose nandu": {"1"}, "JOSE.N@EXAMPLE.ORG": {"1"}, "n.jose@": {"1", "3"}, "n.jose@e": {"3"},
			"l": {"2"}, "小": {"2"}, "bucher": {"2"}, "li@bu": {"2"}, "neil": {"3"}, "o'ne": {"3"}, "example": {"1", "2", "3"}, "zoe": {},
		} {
			require.Equal(t, want, find(q), q)
		}
	})
}

func TestSearchIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 5 * maxWords {
		fmt.Fprintf(&text, "w%d ", i)
	}
	words := eventWords("title", "place", text.String())
	require.Len(t, words, maxWords)
	require.Equal(t, []string{"title", "place"}, words[:2])
	require.False(t, Searchable(text.String()))
	alike := words[maxWords-MaxTerms-1:] // in length, so that none begins another
	require.False(t, Searchable(strings.Join(alike, " ")))
	require.True(t, Searchable(strings.Join(alike[1:], " ")))
	require.Equal(t, []string{"gopher"}, termsOf("go gopher g go"))
}
