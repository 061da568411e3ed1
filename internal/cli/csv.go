package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

// csvColumns are the columns of an import, by what they are in JSON.
var csvColumns = []string{"name", "email", "phone", "user_id", "channels", "time_zone", "locale", "push_token"}

// csvLine is a line of a file: a participant, or what is wrong with it.
type csvLine struct {
	number int // where it begins, from 1
	fields map[string]string
	err    error
}

// csvFile is a file with a header.
type csvFile struct {
	reader  *csv.Reader
	columns []string // by position; empty: passed over
}

// openCSV reads the header. Fields are separated by commas, semicolons or tabs,
// whichever gives columns that are known; those in ignore are passed over.
func openCSV(data []byte, ignore []string) (*csvFile, error) {
	data, err := decoded(data)
	if err != nil {
		return nil, err
	}
	var first error
	for _, separator := range []rune{',', ';', '\t'} {
		f := &csvFile{reader: csv.NewReader(bytes.NewReader(data))}
		f.reader.Comma = separator
		header, err := f.reader.Read()
		if err == nil {
			err = f.header(header, ignore)
		}
		if err == nil {
			return f, nil
		}
		if first == nil || len(header) > 1 {
			first = err
		}
	}
	if errors.Is(first, io.EOF) {
		return nil, errors.New("it is empty")
	}
	return nil, fmt.Errorf("line 1: %w", first)
}

// decoded takes the mark from the beginning of a file, and makes UTF-8 of UTF-16,
// as spreadsheets write it.
func decoded(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:], nil
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return unicode.UTF16(unicode.BigEndian, unicode.ExpectBOM).NewDecoder().Bytes(data)
	}
	return data, nil
}

// header finds out what each column is. Case, blanks, hyphens and underscores
// don't matter: "E-Mail" is email.
func (f *csvFile) header(titles, ignore []string) error {
	plain := func(title string) string {
		return strings.NewReplacer(" ", "", "-", "", "_", "").Replace(strings.ToLower(strings.TrimSpace(title)))
	}
	var unknown []string
	for _, title := range titles {
		same := func(name string) bool { return plain(name) == plain(title) }
		i := slices.IndexFunc(csvColumns, same)
		switch {
		case slices.ContainsFunc(ignore, same), plain(title) == "":
			f.columns = append(f.columns, "")
		case i < 0:
			unknown = append(unknown, fmt.Sprintf("%q", title))
		case slices.Contains(f.columns, csvColumns[i]):
			return fmt.Errorf("the column %s comes twice", csvColumns[i])
		default:
			f.columns = append(f.columns, csvColumns[i])
		}
	}
	switch known := strings.Join(csvColumns, ", "); {
	case len(unknown) > 0:
		return fmt.Errorf("there is no column %s; there are: %s. Pass over others with --ignore", strings.Join(unknown, ", "), known)
	case !slices.Contains(f.columns, "name"), !slices.Contains(f.columns, "email"):
		return fmt.Errorf("the header needs the columns name and email, and may have more of: %s", known)
	}
	return nil
}

// next gives the next line that isn't blank; io.EOF behind the last.
func (f *csvFile) next() (csvLine, error) {
	for {
		record, err := f.reader.Read()
		var wrong *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return csvLine{}, io.EOF
		case errors.Is(err, csv.ErrFieldCount):
			number, _ := f.reader.FieldPos(0)
			return csvLine{number: number, err: fmt.Errorf("it has %d fields, and the header %d", len(record), len(f.columns))}, nil
		case errors.As(err, &wrong):
			return csvLine{number: wrong.StartLine, err: fmt.Errorf("a quotation mark is where none can be, or is missing (at line %d, column %d)", wrong.Line, wrong.Column)}, nil
		case err != nil:
			return csvLine{}, err
		}
		line := csvLine{fields: map[string]string{}}
		line.number, _ = f.reader.FieldPos(0)
		for i, text := range record {
			if !utf8.ValidString(text) {
				line.err = errors.New("it is not in UTF-8: save the file as that")
			}
			if text = strings.TrimSpace(text); text != "" && f.columns[i] != "" {
				line.fields[f.columns[i]] = text
			}
		}
		if line.err != nil || len(line.fields) > 0 {
			return line, nil //nolint:nilerr // the error is the line's, and the file goes on
		}
	}
}

// body is the participant in a line, as the service takes it. Who has no user id
// is known by the e-mail address.
func (l csvLine) body() map[string]any {
	object := map[string]any{}
	for name, text := range l.fields {
		object[name] = text
	}
	if text, given := l.fields["channels"]; given {
		object["channels"] = strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",;| ", r) })
	}
	if email := l.fields["email"]; l.fields["user_id"] == "" && email != "" {
		object["user_id"] = strings.ToLower(email)
	}
	return object
}
