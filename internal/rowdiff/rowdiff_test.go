package rowdiff

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var people = Table{
	Name: "people", Columns: []string{"town", "number", "name", "seats"}, Keys: 2, Personal: []string{"name"},
}

// given are rows, and then an error where there is one.
func given(rows [][]any, err error) Rows {
	return func(yield func([]any, error) bool) {
		used := make([]any, 0, 4)
		for _, row := range rows {
			used = append(used[:0], row...) // as a driver does it: a row is good until the next
			if !yield(used, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func compared(t require.TestingT, want, got [][]any) (found []Difference) {
	_, err := Compare(people, given(want, nil), given(got, nil), func(d Difference) error {
		found = append(found, d)
		return nil
	})
	require.NoError(t, err)
	return found
}

func TestCompareNamesWhatDiffers(t *testing.T) {
	want := [][]any{
		{"Graz", int64(1), "Ann", int64(3)},
		{"Graz", int64(2), "Bob", nil},
		{"Wien", int64(1), "Cem", int64(1)},
		{"Wien", int64(10), "Dan", int64(1)},
	}
	got := [][]any{
		{"Graz", int64(1), "Anne", int64(4)},
		{"Linz", int64(1), "Eve", int64(1)},
		{[]byte("Wien"), int64(1), "Cem", 1.0},
		{"Wien", int64(10), "Dan", true},
		{"Wien", int64(11), "Fay", int64(1)},
	}
	var said []string
	for _, d := range compared(t, want, got) {
		said = append(said, d.String())
	}
	require.Equal(t, []string{
		`people "Graz", 1: name is (4 characters, hidden), and should be (3 characters, hidden)`,
		`people "Graz", 1: seats is 4, and should be 3`,
		`people "Graz", 2 is missing`,
		`people "Linz", 1 should not be there`,
		`people "Wien", 11 should not be there`,
	}, said)
}

func TestCompareShowsNothingPersonal(t *testing.T) {
	hidden := Table{Name: "words", Columns: []string{"word", "n"}, Keys: 1, Personal: []string{"word", "n"}}
	var found []Difference
	report := func(d Difference) error { found = append(found, d); return nil }
	_, err := Compare(hidden, given([][]any{{"ann", int64(731)}, {"zoe", nil}}, nil), given([][]any{{"ann", int64(732)}, {"bob", nil}}, nil), report)
	require.NoError(t, err)
	require.Len(t, found, 3)
	for _, d := range found {
		require.NotRegexp(t, "ann|bob|zoe|73", d.String())
	}
}

func TestCompareRefusesWhatItCantRelyOn(t *testing.T) {
	row := func(town string, number int64) []any { return []any{town, number, "", nil} }
	broken := errors.New("the connection is lost")
	good := given([][]any{row("a", 1)}, nil)
	for name, bad := range map[string]Rows{
		"out of order": given([][]any{row("b", 1), row("a", 1)}, nil),
		"twice":        given([][]any{row("a", 1), row("a", 1)}, nil),
		"too short":    given([][]any{{"a"}}, nil),
		"no value":     given([][]any{{"a", int64(1), "", struct{}{}}}, nil),
		"an error":     given([][]any{row("a", 1)}, broken),
	} {
		for side, err := range map[string]error{
			"want": second(Compare(people, bad, good, ignore)), "got": second(Compare(people, good, bad, ignore)),
		} {
			require.ErrorContains(t, err, "read people", "%s in %s", name, side)
		}
	}
	_, err := Compare(people, good, given(nil, broken), ignore)
	require.ErrorIs(t, err, broken)
	_, err = Compare(people, good, given(nil, nil), func(Difference) error { return broken })
	require.ErrorIs(t, err, broken, "report ends it")
}

func ignore(Difference) error { return nil }

func second[T any](_ T, err error) error { return err }

func TestLongValuesAreCut(t *testing.T) {
	long := make([]rune, 1000)
	for i := range long {
		long[i] = 'ö'
	}
	found := compared(t, [][]any{{"a", int64(1), "", string(long)}}, [][]any{{"a", int64(1), "", nil}})
	require.Len(t, found, 1)
	require.Less(t, len([]rune(found[0].Want)), 250)
}

// What is found is what two maps of the same rows say, whatever the rows.
func TestCompareProperty(t *testing.T) {
	type key struct {
		town   string
		number int64
	}
	type rest struct {
		name  string
		seats int64
	}
	draw := rapid.MapOf(
		rapid.Custom(func(t *rapid.T) key {
			return key{rapid.SampledFrom([]string{"", "a", "A", "ab", "b", "ä", "\U0010FFFF"}).Draw(t, "town"), rapid.Int64Range(-2, 11).Draw(t, "number")}
		}),
		rapid.Custom(func(t *rapid.T) rest {
			return rest{rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "name"), rapid.Int64Range(0, 2).Draw(t, "seats")}
		}),
	)
	order := func(a, b key) int {
		return cmp.Or(cmp.Compare(a.town, b.town), cmp.Compare(a.number, b.number))
	}
	rows := func(m map[key]rest) (out [][]any) {
		for _, k := range slices.SortedFunc(maps.Keys(m), order) {
			out = append(out, []any{k.town, k.number, m[k].name, m[k].seats})
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		want, got := draw.Draw(t, "want"), draw.Draw(t, "got")
		if rapid.Bool().Draw(t, "nearly the same") {
			got = maps.Clone(want)
			for k := range got {
				got[k] = rest{got[k].name, got[k].seats + 1}
				break
			}
		}
		expected := map[string]int{}
		union := map[key]bool{}
		for k, w := range want {
			union[k] = true
			g, ok := got[k]
			switch name := fmt.Sprintf("%q, %d", k.town, k.number); {
			case !ok:
				expected[name+" missing"]++
			default:
				if w.name != g.name {
					expected[name+" changed name"]++
				}
				if w.seats != g.seats {
					expected[name+" changed seats"]++
				}
			}
		}
		for k := range got {
			union[k] = true
			if _, ok := want[k]; !ok {
				expected[fmt.Sprintf("%q, %d surplus", k.town, k.number)]++
			}
		}
		found := map[string]int{}
		n, err := Compare(people, given(rows(want), nil), given(rows(got), nil), func(d Difference) error {
			what := d.Key + " " + string(d.Kind)
			if d.Kind == Changed {
				what += " " + d.Column
			}
			found[what]++
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, expected, found)
		require.EqualValues(t, len(union), n)
	})
}
