package cli

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"
)

func linesOf(t *testing.T, text string, ignore ...string) (all []csvLine) {
	t.Helper()
	file, err := openCSV([]byte(text), ignore)
	require.NoError(t, err)
	for {
		line, err := file.next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, line)
	}
}

// However a spreadsheet writes it, it is the same.
func TestCSVOfAllKinds(t *testing.T) {
	utf16 := func(text string) string {
		encoded, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
		require.NoError(t, err)
		return encoded
	}
	for name, text := range map[string]string{
		"plain":      "name,email,phone\nAnn,ann@example.org,+43 1\nJörg,jörg@example.org,\n",
		"CRLF, BOM":  "\ufeffName,E-Mail,Phone\r\nAnn,ann@example.org,+43 1\r\nJörg,jörg@example.org,\r\n",
		"semicolons": "phone;name;email\n+43 1;Ann;ann@example.org\n;Jörg;jörg@example.org\n",
		"quoted":     "\"name\",\"e_mail\",\"phone\"\n\"Ann\",\"ann@example.org\",\"+43 1\"\n\n  Jörg ,\"jörg@example.org\", \n",
		"UTF-16":     utf16("name\temail\tphone\r\nAnn\tann@example.org\t+43 1\r\nJörg\tjörg@example.org\t\r\n"),
		"no end":     "name,email,phone\nAnn,ann@example.org,+43 1\n,,\nJörg,jörg@example.org,",
	} {
		t.Run(name, func(t *testing.T) {
			lines := linesOf(t, text)
			require.Len(t, lines, 2)
			require.Equal(t, map[string]string{"name": "Ann", "email": "ann@example.org", "phone": "+43 1"}, lines[0].fields)
			require.Equal(t, map[string]string{"name": "Jörg", "email": "jörg@example.org"}, lines[1].fields)
			require.Equal(t, 2, lines[0].number)
		})
	}
}

func TestCSVHeaders(t *testing.T) {
	for text, says := range map[string]string{
		"":                             "it is empty",
		"Ann,ann@example.org\n":        `line 1: there is no column "Ann", "ann@example.org"; there are: name, email, phone`,
		"name,phone\n":                 "line 1: the header needs the columns name and email",
		"name,email,E-Mail\n":          "line 1: the column email comes twice",
		"name;email;Notes;Shoe size\n": `line 1: there is no column "Notes", "Shoe size"; there are`,
		"name,\"email\n":               "line 1: ",
	} {
		_, err := openCSV([]byte(text), nil)
		require.ErrorContains(t, err, says, "%q", text)
	}
	lines := linesOf(t, "name;email;Notes\nAnn;ann@example.org;tall\n", "notes")
	require.Equal(t, map[string]string{"name": "Ann", "email": "ann@example.org"}, lines[0].fields)
}

// A line that can't be read is named, and those behind it are read.
func TestCSVFaults(t *testing.T) {
	lines := linesOf(t, "name,email\nAnn,ann@example.org\nBob\n\"two\nlines\",x@example.org\nC\"em,cem@example.org\n\xffric,eric@example.org\nEve,eve@example.org,+1\n\nFay,fay@example.org\n")
	var said []string
	for _, l := range lines {
		if l.err != nil {
			said = append(said, l.err.Error())
		} else {
			said = append(said, l.fields["name"])
		}
	}
	require.Equal(t, []string{
		"Ann", "it has 1 fields, and the header 2", "two\nlines", "a quotation mark is where none can be, or is missing (at line 6, column 2)",
		"it is not in UTF-8: save the file as that", "it has 3 fields, and the header 2", "Fay",
	}, said)
	require.Equal(t, []int{2, 3, 4, 6, 7, 8, 10}, []int{
		lines[0].number, lines[1].number, lines[2].number, lines[3].number, lines[4].number, lines[5].number, lines[6].number,
	})
}

func TestLinesAsParticipants(t *testing.T) {
	l := csvLine{fields: map[string]string{"name": "Ann", "email": "Ann@Example.org", "channels": "email; sms"}}
	require.Equal(t, map[string]any{"name": "Ann", "email": "Ann@Example.org", "user_id": "ann@example.org", "channels": []string{"email", "sms"}}, l.body())
	phone, zone := "+4312345678", "Europe/Vienna"
	p := &participant{Name: "Ann", Email: "ann@example.org", Phone: &phone, Channels: []string{"sms", "email"}, TimeZone: &zone}
	require.Empty(t, differences(l, p))
	l.fields["phone"] = "+43 (1) 234-56.78"
	require.Empty(t, differences(l, p))
	l.fields["phone"], l.fields["locale"], l.fields["name"] = "+43 1", "de", "Anna"
	require.Equal(t, []string{"name", "phone", "locale"}, differences(l, p))
}

func TestRoster(t *testing.T) {
	r := roster{map[string]*participant{}, map[string]*participant{}}
	r.add(participant{ID: "1", UserID: "ann", Email: "ann@example.org"})
	r.add(participant{ID: "2", UserID: "bob", Email: "bob@example.org"})
	match := func(user, email string) (string, error) {
		l := csvLine{fields: map[string]string{"email": email}}
		if user != "" {
			l.fields["user_id"] = user
		}
		p, err := r.match(l)
		if p == nil {
			return "", err
		}
		return p.ID, err
	}
	for _, row := range [][3]string{{"", "ANN@example.org", "1"}, {"ann", "ann@example.org", "1"}, {"ann", "new@example.org", "1"}, {"", "cem@example.org", ""}, {"cem", "cem@example.org", ""}} {
		id, err := match(row[0], row[1])
		require.NoError(t, err)
		require.Equal(t, row[2], id, row)
	}
	_, err := match("cem", "ann@example.org")
	require.ErrorContains(t, err, `is registered as the user "ann", not "cem"`)
	_, err = match("ann", "bob@example.org")
	require.ErrorContains(t, err, "two participants")
}
