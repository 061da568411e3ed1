package aggregates

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// The kinds of token, in the order in which they are tried.
const (
	space = iota
	text
	number
	keyword // a name and a colon
	identifier
	property
	operator
	other
)

type token struct {
	kind int
	text string // of a property and a keyword: the name
}

var lexicon = regexp.MustCompile(`^(?:([ \t\n\v\f\r]+)|("[^"]*"|'[^']*')|(-?[0-9]+(?:\.[0-9]+)?)|([A-Za-z_][A-Za-z0-9_-]*\??):|` +
	`([A-Za-z_][A-Za-z0-9_-]*\??)|\.([A-Za-z_][A-Za-z0-9_-]*\??)|(==|!=|>=|<=|\.\.|[<>|()\[\],])|((?s:.)))`)

// tokens reads source as the template library does.
func tokens(source string) []token {
	var out []token
	for source != "" {
		m := lexicon.FindStringSubmatchIndex(source)
		for kind := range other + 1 {
			if at := 2 * (kind + 1); m[at] >= 0 && kind != space {
				out = append(out, token{kind, source[m[at]:m[at+1]]})
			}
		}
		source = source[m[1]:]
	}
	for i, t := range out {
		switch t.text {
		case "and", "or", "contains", "in":
			if t.kind == identifier {
				out[i].kind = operator
			}
		case "true", "false", "nil":
			if t.kind == identifier {
				out[i].kind = number
			}
		}
	}
	return out
}

// expression reads one by the library's grammar. Where the two should differ,
// this one is the stricter: what it doesn't know is refused.
type expression struct {
	*checker
	rest  []token
	depth int
}

var errExpression = errors.New("is not an expression")

// whole reads all of source by rule.
func (c *checker) whole(source string, rule func(*expression) error) error {
	e := &expression{checker: c, rest: tokens(source)}
	err := rule(e)
	if err == nil && len(e.rest) > 0 {
		err = errExpression
	}
	if errors.Is(err, errExpression) {
		return fmt.Errorf("%q %w", firstLine(source), err)
	}
	return err
}

// next takes the next token if it is of that kind and, unless there are none, one of these texts.
func (e *expression) next(kind int, texts ...string) (string, bool) {
	if len(e.rest) == 0 || e.rest[0].kind != kind || len(texts) > 0 && !slices.Contains(texts, e.rest[0].text) {
		return "", false
	}
	t := e.rest[0]
	e.rest = e.rest[1:]
	return t.text, true
}

// condition is one or more relations with and, or between them.
func (e *expression) condition() error {
	for {
		if err := e.relation(); err != nil {
			return err
		}
		if _, more := e.next(operator, "and", "or"); !more {
			return nil
		}
	}
}

func (e *expression) relation() error {
	if err := e.filtered(); err != nil {
		return err
	}
	if _, ok := e.next(operator, "==", "!=", ">", "<", ">=", "<=", "contains"); ok {
		return e.value()
	}
	return nil
}

// filtered is a value and the filters that it goes through.
func (e *expression) filtered() error {
	if err := e.value(); err != nil {
		return err
	}
	for {
		if _, more := e.next(operator, "|"); !more {
			return nil
		}
		name, bare := e.next(identifier)
		given := 0
		if !bare {
			var ok bool
			if name, ok = e.next(keyword); !ok {
				return errExpression
			}
			for {
				if err := e.value(); err != nil {
					return err
				}
				given++
				if _, more := e.next(operator, ","); !more {
					break
				}
			}
		}
		if takes, ok := arguments[name]; !ok {
			return fmt.Errorf("%s is not a known filter", name)
		} else if given > takes {
			return fmt.Errorf("the filter %s takes %d arguments at most", name, takes)
		}
	}
}

// value is a literal, a variable, or something in parentheses.
func (e *expression) value() error {
	if e.depth++; e.depth > maxDepth {
		return errors.New("is nested too deep")
	}
	defer func() { e.depth-- }()
	if name, ok := e.next(identifier); ok {
		covered, err := e.variable(name, e.properties())
		if err != nil {
			return err
		}
		e.rest = e.rest[covered:]
		return e.path()
	}
	if _, ok := e.next(operator, "("); ok {
		return e.inParentheses()
	}
	if _, ok := e.next(text); ok {
		return nil
	}
	if _, ok := e.next(number); ok {
		return nil
	}
	return errExpression
}

// properties are those that come next.
func (e *expression) properties() []string {
	var names []string
	for _, t := range e.rest {
		if t.kind != property {
			break
		}
		names = append(names, t.text)
	}
	return names
}

// path is what may follow a variable: parts of a list.
func (e *expression) path() error {
	for {
		if name, ok := e.next(property); ok {
			if name != "size" && name != "first" && name != "last" {
				return fmt.Errorf("%s is not a known property", name)
			}
			continue
		}
		if _, ok := e.next(operator, "["); !ok {
			return nil
		}
		if err := e.value(); err != nil {
			return err
		}
		if _, ok := e.next(operator, "]"); !ok {
			return errExpression
		}
	}
}

// inParentheses is a condition or a range. The ends of a range must be written
// out, so that how many numbers it has is known beforehand.
func (e *expression) inParentheses() error {
	if len(e.rest) > 2 && e.rest[1].text == ".." {
		from, err1 := strconv.Atoi(e.rest[0].text)
		to, err2 := strconv.Atoi(e.rest[2].text)
		if err1 != nil || err2 != nil {
			return errors.New("a range goes from one whole number to another")
		}
		if from < -maxElements || to > maxElements || to-from >= maxElements || from > maxElements || to < -maxElements {
			return fmt.Errorf("a range has %d numbers at most, between -%[1]d and %[1]d", maxElements)
		}
		e.rest = e.rest[3:]
	} else if err := e.condition(); err != nil {
		return err
	}
	if _, ok := e.next(operator, ")"); !ok {
		return errExpression
	}
	return nil
}

// list is values with commas between them.
func (e *expression) list() error {
	for {
		if err := e.value(); err != nil {
			return err
		}
		if _, more := e.next(operator, ","); !more {
			return nil
		}
	}
}

// looped is the name that a loop gives to each of what it goes over.
func (e *expression) looped() (name string, err error) {
	name, named := e.next(identifier)
	if _, in := e.next(operator, "in"); !named || !in {
		return "", errors.New("a loop is {% for name in list %}")
	}
	if err := e.filtered(); err != nil {
		return "", err
	}
	for len(e.rest) > 0 {
		if _, ok := e.next(identifier, "reversed"); ok {
			continue
		}
		if _, ok := e.next(keyword, "limit", "offset"); !ok {
			return "", errExpression
		}
		if err := e.value(); err != nil {
			return "", err
		}
	}
	return name, nil
}
