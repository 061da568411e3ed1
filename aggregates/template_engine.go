package aggregates

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/parser"
	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/values"
)

// What rendering may cost. A template is somebody else's program.
const (
	maxOutput   = 100_000   // bytes of text
	maxValue    = 500_000   // bytes of a value that a filter makes
	maxElements = 1000      // of a list
	maxSteps    = 50_000    // bytes of loop bodies gone through
	maxWork     = 4_000_000 // bytes that filters, assign and capture read and make
)

var (
	errTooLong = errors.New("the text gets too long")
	errTooMuch = errors.New("the template takes too much work")
	errBreak   = errors.New("break outside a loop")
	errSkip    = errors.New("continue outside a loop")
)

// template is a compiled one. It renders once at a time, as it counts what that costs.
type template struct {
	source string
	root   render.Node
	config render.Config
	steps  int
	work   int
	zone   *time.Location
}

// parseTemplate compiles source with tags and filters of our own making or
// choice, and not those of the library, which read files and know no end.
func parseTemplate(source string) (t *template, err error) {
	defer recovered(&err)
	t = &template{source: source, zone: time.UTC}
	config := render.NewConfig()
	t.addTags(&config)
	t.addFilters(&config)
	root, wrong := config.Compile(source, parser.SourceLoc{LineNo: 1})
	if wrong != nil {
		return nil, wrong
	}
	t.root, t.config = root, config
	return t, nil
}

// recovered turns a panic of the template library into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("it fails: %v", firstLine(fmt.Sprint(r)))
	}
}

func (t *template) render(b Bindings) (text string, err error) {
	defer recovered(&err)
	t.steps, t.work, t.zone = 0, 0, time.UTC
	if b.zone != nil {
		t.zone = b.zone
	}
	out := limited{max: maxOutput}
	if wrong := render.Render(t.root, &out, b.values, t.config); wrong != nil {
		return "", wrong
	}
	return out.String(), nil
}

// step pays for one turn of a loop, spend for bytes that are made.
func (t *template) step(bytes int) error {
	if t.steps += bytes + 1; t.steps > maxSteps {
		return errTooMuch
	}
	return nil
}

func (t *template) spend(bytes int) error {
	if t.work += bytes + 1; t.work > maxWork {
		return errTooMuch
	}
	return nil
}

// limited is a buffer with an end.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.max {
		return 0, errTooLong
	}
	return l.Buffer.Write(p)
}

type renderer = func(io.Writer, render.Context) error

func (t *template) addTags(c *render.Config) {
	c.AddTag("assign", t.assignTag)
	c.AddTag("break", func(string) (renderer, error) {
		return func(_ io.Writer, ctx render.Context) error { return ctx.WrapError(errBreak) }, nil
	})
	c.AddTag("continue", func(string) (renderer, error) {
		return func(_ io.Writer, ctx render.Context) error { return ctx.WrapError(errSkip) }, nil
	})
	c.AddBlock("capture").Compiler(t.captureTag)
	c.AddBlock("case").Clause("when").Clause("else").Compiler(caseTag)
	c.AddBlock("comment")
	c.AddBlock("for").Clause("else").Compiler(t.forTag)
	c.AddBlock("if").Clause("else").Clause("elsif").Compiler(ifTag)
	c.AddBlock("raw")
	c.AddBlock("unless").Clause("else").Clause("elsif").Compiler(ifTag)
}

func (t *template) assignTag(args string) (renderer, error) {
	stmt, err := expressions.ParseStatement(expressions.AssignStatementSelector, args)
	if err != nil {
		return nil, err
	}
	return func(_ io.Writer, ctx render.Context) error {
		value, err := ctx.Evaluate(stmt.ValueFn)
		if err != nil {
			return err
		}
		ctx.Set(stmt.Assignment.Variable, value)
		return nil
	}, nil
}

func (t *template) captureTag(node render.BlockNode) (renderer, error) {
	return func(_ io.Writer, ctx render.Context) error {
		out := limited{max: maxOutput}
		if err := ctx.RenderChildren(&out); err != nil {
			return err
		}
		ctx.Set(node.Args, out.String())
		return t.spend(out.Len())
	}, nil
}

// branch is rendered when one of its tests holds; none is always.
type branch struct {
	tests []expressions.Expression
	body  *render.BlockNode
}

func ifTag(node render.BlockNode) (renderer, error) {
	test, err := expressions.Parse(node.Args)
	if err != nil {
		return nil, err
	}
	if node.Name == "unless" {
		test = expressions.Not(test)
	}
	branches := []branch{{[]expressions.Expression{test}, &node}}
	for _, clause := range node.Clauses {
		b := branch{body: clause}
		if clause.Name == "elsif" {
			test, err := expressions.Parse(clause.Args)
			if err != nil {
				return nil, err
			}
			b.tests = append(b.tests, test)
		}
		branches = append(branches, b)
	}
	return func(w io.Writer, ctx render.Context) error {
		return renderFirst(w, ctx, branches, func(v any) bool { return v != nil && v != false })
	}, nil
}

func caseTag(node render.BlockNode) (renderer, error) {
	subject, err := expressions.Parse(node.Args)
	if err != nil {
		return nil, err
	}
	var branches []branch
	for _, clause := range node.Clauses {
		b := branch{body: clause}
		if clause.Name == "when" {
			stmt, err := expressions.ParseStatement(expressions.WhenStatementSelector, clause.Args)
			if err != nil {
				return nil, err
			}
			b.tests = stmt.Exprs
		}
		branches = append(branches, b)
	}
	return func(w io.Writer, ctx render.Context) error {
		value, err := ctx.Evaluate(subject)
		if err != nil {
			return err
		}
		return renderFirst(w, ctx, branches, func(v any) bool { return values.Equal(value, v) })
	}, nil
}

func renderFirst(w io.Writer, ctx render.Context, branches []branch, holds func(any) bool) error {
	for _, b := range branches {
		if b.tests == nil {
			return ctx.RenderBlock(w, b.body)
		}
		for _, test := range b.tests {
			value, err := ctx.Evaluate(test)
			if err != nil {
				return err
			}
			if holds(value) {
				return ctx.RenderBlock(w, b.body)
			}
		}
	}
	return nil
}

// templates keeps compiled templates that are idle, by their source.
type templates struct {
	mu   sync.Mutex
	idle map[string][]*template
	n    int
}

const maxIdle = 256

var compiled templates

func (c *templates) take(source string) (*template, error) {
	c.mu.Lock()
	if free := c.idle[source]; len(free) > 0 {
		t := free[len(free)-1]
		if c.idle[source] = free[:len(free)-1]; len(free) == 1 {
			delete(c.idle, source)
		}
		c.n--
		c.mu.Unlock()
		return t, nil
	}
	c.mu.Unlock()
	t, err := parseTemplate(source)
	if err != nil {
		return nil, err
	}
	return t, t.check(names[ReminderTemplate], names[AnnouncementTemplate])
}

func (c *templates) giveBack(t *template) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil || c.n >= maxIdle {
		c.idle, c.n = map[string][]*template{}, 0
	}
	c.idle[t.source] = append(c.idle[t.source], t)
	c.n++
}
