package httpapi

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// parser reads JSON (RFC 8259) into what encoding/json reads it into with
// UseNumber: map[string]any, []any, string, json.Number, bool and nil. It is here
// because encoding/json keeps the last of two members of the same name, where
// another reader of the same bytes keeps the first; reading it by tokens, which
// tells them apart, takes five times as long.
type parser struct {
	data []byte // UTF-8
	at   int
}

var errNotJSON = badBody("the body is not JSON")

// parseJSON reads data, which is UTF-8, and all of it.
func parseJSON(data []byte) (any, error) {
	if !json.Valid(data) {
		return nil, errNotJSON
	}
	p := parser{data: data}
	value, err := p.value("", 0)
	if err != nil {
		return nil, err
	}
	return value, nil
}

// value reads the value that comes next, of data that is known to be valid. at
// names the field that it is in.
func (p *parser) value(at string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, badBody("the body is nested too deep")
	}
	switch c := p.next(); c {
	case '{':
		return p.object(at, depth)
	case '[':
		return p.list(at, depth)
	case '"':
		return p.text(), nil
	case 't':
		p.at += len("true")
		return true, nil
	case 'f':
		p.at += len("false")
		return false, nil
	case 'n':
		p.at += len("null")
		return nil, nil
	default:
		return p.number(), nil
	}
}

// next passes over blanks, and gives the byte that comes then without passing over it.
func (p *parser) next() byte {
	for {
		switch c := p.data[p.at]; c {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return c
		}
	}
}

func (p *parser) object(at string, depth int) (any, error) {
	object := map[string]any{}
	p.at++
	for p.next() != '}' {
		name := p.text()
		if _, twice := object[name]; twice {
			return nil, badFields(fault(shorten(at+name), "duplicate_field", "is there twice"))
		}
		p.next()
		p.at++ // the colon
		inner := at
		if c := p.next(); c == '{' || c == '[' {
			inner = at + name + "."
		}
		value, err := p.value(inner, depth+1)
		if err != nil {
			return nil, err
		}
		object[name] = value
		if p.next() == ',' {
			p.at++
		}
	}
	p.at++
	return object, nil
}

func (p *parser) list(at string, depth int) (any, error) {
	list := []any{}
	p.at++
	for p.next() != ']' {
		value, err := p.value(at, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
		if p.next() == ',' {
			p.at++
		}
	}
	p.at++
	return list, nil
}

func (p *parser) number() json.Number {
	begin := p.at
	for p.at < len(p.data) && strings.IndexByte("+-.0123456789Ee", p.data[p.at]) >= 0 {
		p.at++
	}
	return json.Number(p.data[begin:p.at])
}

func (p *parser) text() string {
	p.at++
	begin := p.at
	for ; p.data[p.at] != '"'; p.at++ {
		if p.data[p.at] == '\\' {
			return p.escaped(begin)
		}
	}
	p.at++
	return string(p.data[begin : p.at-1])
}

// escaped is text from the first backslash on.
func (p *parser) escaped(begin int) string {
	out := slices.Clone(p.data[begin:p.at])
	for {
		c := p.data[p.at]
		p.at++
		switch {
		case c == '"':
			return string(out)
		case c != '\\':
			out = append(out, c)
			continue
		}
		c = p.data[p.at]
		p.at++
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			out = utf8.AppendRune(out, p.rune())
		default: // a quote, a backslash or a slash
			out = append(out, c)
		}
	}
}

// rune reads four digits, and those of the other half of a surrogate pair; a half
// that is alone is U+FFFD.
func (p *parser) rune() rune {
	r := p.four(p.at)
	p.at += 4
	if !utf16.IsSurrogate(r) {
		return r
	}
	if p.data[p.at] == '\\' && p.data[p.at+1] == 'u' {
		if both := utf16.DecodeRune(r, p.four(p.at+2)); both != utf8.RuneError {
			p.at += 6
			return both
		}
	}
	return utf8.RuneError
}

func (p *parser) four(at int) (r rune) {
	for _, c := range p.data[at : at+4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendCanonical writes a value in a form in which equal values are equal: what
// json.Marshal writes, with numbers in one form. Digests of it are stored.
func appendCanonical(out []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		out = append(out, '{')
		for i, name := range names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, name), ':')
			out = appendCanonical(out, v[name])
		}
		return append(out, '}')
	case []any:
		out = append(out, '[')
		for i, item := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendCanonical(out, item)
		}
		return append(out, ']')
	case json.Number:
		return append(out, canonicalNumber(v)...)
	case string:
		return appendText(out, v)
	case bool:
		if v {
			return append(out, "true"...)
		}
		return append(out, "false"...)
	}
	return append(out, "null"...)
}

// appendText writes a string as json.Marshal does, which also escapes what HTML
// and JavaScript would take for something else.
func appendText(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(`"\<>&`, c) >= 0 {
			data, err := json.Marshal(s)
			if err != nil {
				panic(err) // text always encodes
			}
			return append(out, data...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}
