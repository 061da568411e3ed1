package aggregates

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/osteele/liquid/parser"
	"github.com/osteele/liquid/render"
)

// checker walks a template as it was parsed, branches that are not taken too,
// and finds every name in it. Parsing alone finds little: an unclosed {{ is
// text, and a name that doesn't exist is nothing until it is rendered.
type checker struct {
	known  map[string]bool // variables by path
	locals map[string]bool // made by assign, capture and for
	loops  int
	depth  int
}

const maxDepth = 50

// check accepts the names of any of known.
func (t *template) check(known ...map[string]bool) (err error) {
	defer recovered(&err)
	if err := closed(t.source); err != nil {
		return err
	}
	c := checker{known: map[string]bool{}, locals: map[string]bool{}}
	for _, names := range known {
		maps.Copy(c.known, names)
	}
	return c.node(t.root)
}

// closed looks for a comment or raw without an end, which the parser takes for the rest of the text.
func closed(source string) error {
	open := ""
	for _, token := range parser.Scan(source, parser.SourceLoc{}, nil) {
		switch {
		case token.Type != parser.TagTokenType:
		case open == "" && (token.Name == "comment" || token.Name == "raw"):
			open = token.Name
		case token.Name == "end"+open:
			open = ""
		}
	}
	if open != "" {
		return fmt.Errorf("{%% %s %%} has no end", open)
	}
	return nil
}

func (c *checker) node(n render.Node) error {
	switch n := n.(type) {
	case *render.SeqNode:
		return c.nodes(n.Children)
	case *render.TextNode:
		if strings.Contains(n.Source, "{{") || strings.Contains(n.Source, "{%") {
			return fmt.Errorf("%q is not closed", firstLine(n.Source[strings.Index(n.Source, "{"):]))
		}
		return nil
	case *render.ObjectNode:
		return c.whole(n.Args, (*expression).condition)
	case *render.TagNode:
		return c.tag(n)
	case *render.BlockNode:
		return c.block(n)
	case *render.RawNode, *render.TrimNode:
		return nil
	}
	return fmt.Errorf("%T is not known", n)
}

func (c *checker) nodes(nodes []render.Node) error {
	for _, n := range nodes {
		if err := c.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) tag(n *render.TagNode) error {
	switch n.Name {
	case "assign":
		name, value, _ := strings.Cut(n.Args, "=")
		if err := c.whole(value, (*expression).condition); err != nil {
			return err
		}
		return c.local(strings.TrimSpace(name))
	case "break", "continue":
		if c.loops == 0 || n.Args != "" {
			return fmt.Errorf("{%% %s %%} stands alone and in a loop", n.Name)
		}
		return nil
	}
	return fmt.Errorf("{%% %s %%} is not allowed", n.Name)
}

func (c *checker) block(n *render.BlockNode) error {
	if c.depth++; c.depth > maxDepth {
		return errors.New("it is nested too deep")
	}
	defer func() { c.depth-- }()
	switch n.Name {
	case "if", "unless", "case":
		if err := c.whole(n.Args, (*expression).condition); err != nil {
			return err
		}
		if err := c.nodes(n.Body); err != nil {
			return err
		}
		return c.clauses(n)
	case "capture":
		if err := c.nodes(n.Body); err != nil {
			return err
		}
		return c.local(n.Args)
	case "for":
		return c.loop(n)
	}
	return fmt.Errorf("{%% %s %%} is not allowed", n.Name)
}

func (c *checker) clauses(n *render.BlockNode) error {
	ended := false
	for _, clause := range n.Clauses {
		var err error
		switch {
		case ended:
			err = errors.New("nothing may follow {% else %}")
		case clause.Name == "else" && clause.Args != "":
			err = errors.New("{% else %} stands alone")
		case clause.Name == "elsif":
			err = c.whole(clause.Args, (*expression).condition)
		case clause.Name == "when":
			err = c.whole(clause.Args, (*expression).list)
		}
		if err != nil {
			return err
		}
		ended = clause.Name == "else"
		if err := c.nodes(clause.Body); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) loop(n *render.BlockNode) error {
	var name string
	err := c.whole(n.Args, func(e *expression) (err error) {
		name, err = e.looped()
		return err
	})
	if err != nil {
		return err
	}
	if err := c.clauses(n); err != nil {
		return err
	}
	before := maps.Clone(c.locals)
	if err := c.local(name); err != nil {
		return err
	}
	c.loops++
	if err := c.nodes(n.Body); err != nil {
		return err
	}
	c.loops--
	if !before[name] {
		delete(c.locals, name)
	}
	return nil
}

// local takes name into the names that may be used from here on.
func (c *checker) local(name string) error {
	if t := tokens(name); len(t) != 1 || t[0].kind != identifier {
		return fmt.Errorf("%q is not a name", firstLine(name))
	}
	switch name {
	case "event", "participant", "reminder", "announcement", "now", "forloop":
		return fmt.Errorf("%s can't be given another value", name)
	}
	c.locals[name] = true
	return nil
}

// variable checks a name and the properties after it, and says how many of these it covers.
func (c *checker) variable(name string, properties []string) (covered int, err error) {
	switch {
	case c.locals[name], c.known[name]:
		return 0, nil
	case name == "forloop" && c.loops > 0 && len(properties) > 0 && loopFields[properties[0]]:
		return 1, nil
	case len(properties) > 0 && c.known[name+"."+properties[0]]:
		return 1, nil
	}
	return 0, fmt.Errorf("%s is not a known variable", strings.Join(append([]string{name}, properties...), "."))
}

var loopFields = map[string]bool{
	"first": true, "last": true, "length": true, "index": true, "index0": true, "rindex": true, "rindex0": true,
}

// firstLine is enough of what somebody wrote to find it again.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return s
}
