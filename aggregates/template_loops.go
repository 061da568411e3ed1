package aggregates

import (
	"errors"
	"io"
	"slices"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/values"
)

func (t *template) forTag(node render.BlockNode) (renderer, error) {
	stmt, err := expressions.ParseStatement(expressions.LoopStatementSelector, node.Args)
	if err != nil {
		return nil, err
	}
	if len(node.Clauses) > 1 {
		return nil, errors.New("a for loop has one else clause at most")
	}
	turn := size(node.Body)
	return func(w io.Writer, ctx render.Context) error {
		items, err := loopItems(stmt.Loop, ctx)
		if err != nil {
			return err
		}
		if len(items) == 0 && len(node.Clauses) == 1 {
			return ctx.RenderBlock(w, node.Clauses[0])
		}
		defer func(item, loop any) {
			ctx.Set(stmt.Loop.Variable, item)
			ctx.Set("forloop", loop)
		}(ctx.Get(stmt.Loop.Variable), ctx.Get("forloop"))
		for i, item := range items {
			if err := t.step(turn); err != nil {
				return err
			}
			ctx.Set(stmt.Loop.Variable, item)
			ctx.Set("forloop", map[string]any{
				"first": i == 0, "last": i == len(items)-1, "length": len(items),
				"index": i + 1, "index0": i, "rindex": len(items) - i, "rindex0": len(items) - i - 1,
			})
			err := ctx.RenderChildren(w)
			if err != nil && errors.Is(err.Cause(), errBreak) {
				break
			} else if err != nil && !errors.Is(err.Cause(), errSkip) {
				return err
			}
		}
		return nil
	}, nil
}

// size is how much source there is in nodes, which is what going through them is counted as.
func size(nodes []render.Node) (n int) {
	for _, node := range nodes {
		switch node := node.(type) {
		case *render.TextNode:
			n += len(node.Source)
		case *render.ObjectNode:
			n += len(node.Source)
		case *render.TagNode:
			n += len(node.Source)
		case *render.BlockNode:
			n += len(node.Source) + size(node.Body)
			for _, clause := range node.Clauses {
				n += len(clause.Source) + size(clause.Body)
			}
		}
	}
	return n
}

// loopItems are what a loop goes over: offset, then limit, then reversed, as in Liquid.
func loopItems(loop expressions.Loop, ctx render.Context) ([]any, error) {
	value, err := ctx.Evaluate(loop.Expr)
	if err != nil {
		return nil, err
	}
	items, err := elements(value)
	if err != nil {
		return nil, err
	}
	offset, err := modifier(loop.Offset, 0, ctx)
	if err != nil {
		return nil, err
	}
	items = items[min(offset, len(items)):]
	limit, err := modifier(loop.Limit, len(items), ctx)
	if err != nil {
		return nil, err
	}
	items = slices.Clone(items[:min(limit, len(items))])
	if loop.Reversed {
		slices.Reverse(items)
	}
	return items, nil
}

func modifier(e expressions.Expression, otherwise int, ctx render.Context) (int, error) {
	if e == nil {
		return otherwise, nil
	}
	value, err := ctx.Evaluate(e)
	if err != nil {
		return 0, err
	}
	n, ok := value.(int)
	if !ok || n < 0 {
		return 0, errors.New("limit and offset of a loop must be whole numbers from 0")
	}
	return n, nil
}

// elements are those of a list; what is not a list has none.
func elements(value any) ([]any, error) {
	switch v := value.(type) {
	case []any:
		return v, enough(len(v))
	case []string:
		items := make([]any, len(v))
		for i, s := range v {
			items[i] = s
		}
		return items, enough(len(v))
	case values.Range:
		if err := enough(v.Len()); err != nil {
			return nil, err
		}
		return v.AsArray(), nil
	}
	return nil, nil
}

func enough(n int) error {
	if n < 0 || n > maxElements {
		return errTooMuch
	}
	return nil
}
