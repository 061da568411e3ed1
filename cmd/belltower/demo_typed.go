package main

import (
	"bufio"
	"context"
	"io"
	"strings"
)

// typed hands on an input line by line: huh reads ahead for each question, and
// what it has read ahead is lost to the next. A read ends with ctx, too.
type typed struct {
	ctx   context.Context
	echo  io.Writer     // shows what a terminal would have shown; nil: one does
	lines chan string   // closed at the end of the input
	done  chan struct{} // nobody wants more

	rest  string // of the line that is being read
	last  string // the line that was read last, without blanks around it
	ended bool
}

// readTyped begins to read in. A goroutine that waits for a terminal can't be
// called back: it ends with the process.
func readTyped(ctx context.Context, in io.Reader, echo io.Writer) *typed {
	t := &typed{ctx: ctx, echo: echo, lines: make(chan string), done: make(chan struct{})}
	go func() {
		defer close(t.lines)
		from := bufio.NewReader(in)
		for {
			line, err := from.ReadString('\n')
			if err != nil && line == "" {
				return // an input that can't be read has ended, too
			}
			line = strings.TrimRight(line, "\r\n")
			// huh gives up on a longer line; the service says of one that is cut that it is too long.
			line = line[:min(len(line), 60<<10)]
			select {
			case t.lines <- line + "\n":
			case <-t.done:
				return
			}
		}
	}()
	return t
}

func (t *typed) close() { close(t.done) }

// Read gives no more than one line.
func (t *typed) Read(p []byte) (int, error) {
	if t.rest == "" {
		select {
		case line, ok := <-t.lines:
			if !ok {
				return t.end(p)
			}
			t.rest, t.last = line, strings.TrimSpace(line)
			if t.echo != nil {
				_, _ = io.WriteString(t.echo, line) // to people
			}
		case <-t.ctx.Done():
			return t.end(p)
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// end gives an empty line first, which answers any question: at the end of an
// input huh takes the answer before, be it wrong, and may fall over it.
func (t *typed) end(p []byte) (int, error) {
	if t.ended {
		return 0, io.EOF
	}
	t.ended = true
	return copy(p, "\n"), nil
}
