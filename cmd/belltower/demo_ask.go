package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"charm.land/huh/v2"
	"github.com/charmbracelet/x/term"

	"github.com/belltower/belltower/internal/terminal"
)

// What ends a question other than an answer.
var (
	errBack  = errors.New("back") // Esc: to where one came from
	errEnded = errors.New("the input has ended")
)

// asker asks people: with forms on a terminal, and line by line anywhere else.
type asker struct {
	ctx   context.Context
	out   *terminal.Lines
	typed *typed // line by line; nil: with forms

	terminal struct {
		in, out *os.File
		env     []string
	}
}

// newAsker takes forms where in and out are a terminal that can show them.
func newAsker(ctx context.Context, in io.Reader, out io.Writer, stdout *terminal.Lines, env map[string]string, plain bool) *asker {
	a := &asker{ctx: ctx, out: stdout}
	from, typing := terminalFile(in)
	to, showing := terminalFile(out)
	if plain || !typing || !showing || env["TERM"] == "" || env["TERM"] == "dumb" {
		var echo io.Writer
		if !typing {
			echo = stdout
		}
		a.typed = readTyped(ctx, in, echo)
		return a
	}
	a.terminal.in, a.terminal.out = from, to
	for name, value := range env {
		a.terminal.env = append(a.terminal.env, name+"="+value)
	}
	return a
}

func terminalFile(f any) (*os.File, bool) {
	file, ok := f.(*os.File)
	return file, ok && term.IsTerminal(file.Fd())
}

// close lets go of the input.
func (a *asker) close() {
	if a.typed != nil {
		a.typed.close()
	}
}

// formField is a line of a form.
type formField struct {
	name    string // in the API's body
	title   string
	hint    string
	text    string   // what stands there, and then what was answered
	options []string // the only answers, if there are any
	read    func(text string) (any, error)
}

// check refuses what can't be put into a request; all else is the service's to judge.
func (f *formField) check(text string) error {
	if strings.TrimSpace(text) == "" || f.read == nil {
		return nil
	}
	_, err := f.read(text)
	return err
}

// choose has one of the options chosen, and gives its index.
func (a *asker) choose(title string, options []string) (int, error) {
	chosen := 0
	choices := make([]huh.Option[int], len(options))
	for i, o := range options {
		choices[i] = huh.NewOption(o, i)
	}
	ask := func() huh.Field { return huh.NewSelect[int]().Title(title).Options(choices...).Value(&chosen) }
	if a.typed == nil {
		return chosen, a.form(ask())
	}
	for {
		if err := a.line(ask()); err != nil {
			return 0, err
		}
		if a.typed.last != "" {
			return chosen, nil
		}
		a.out.Say("A number is needed.\n") // huh would take the first
	}
}

// confirm asks a question that is answered by yes or no.
func (a *asker) confirm(title string, initial bool) (bool, error) {
	answer := initial
	ask := huh.NewConfirm().Title(title).Value(&answer)
	if a.typed == nil {
		return answer, a.form(ask)
	}
	err := a.line(ask)
	return answer, err
}

// none is how an answer is taken back line by line, where an empty one keeps it.
const none = "-"

// fill has all fields filled in.
func (a *asker) fill(title string, fields []*formField) error {
	if a.typed == nil {
		asked := []huh.Field{huh.NewNote().Title(title)}
		for _, f := range fields {
			asked = append(asked, f.form(f.title, f.hint, f.check))
		}
		return a.form(asked...)
	}
	a.out.Say("\n%s (Enter keeps what stands in brackets, %s leaves it empty)\n", title, none)
	for _, f := range fields {
		label := f.title
		if f.hint != "" {
			label += " – " + f.hint
		}
		if f.text != "" && len(f.options) == 0 {
			label += " [" + f.text + "]"
		}
		check := func(text string) error {
			if strings.TrimSpace(text) == none {
				return nil
			}
			return f.check(text)
		}
		if err := a.line(f.form(label+":", "", check)); err != nil {
			return err
		}
		if strings.TrimSpace(f.text) == none {
			f.text = ""
		}
	}
	return nil
}

func (f *formField) form(title, hint string, check func(string) error) huh.Field {
	if len(f.options) > 0 {
		return huh.NewSelect[string]().Title(title).Description(hint).Options(huh.NewOptions(f.options...)...).Value(&f.text)
	}
	return huh.NewInput().Title(title).Description(hint).Value(&f.text).Validate(check)
}

// line asks one field in huh's accessible mode.
func (a *asker) line(f huh.Field) error {
	f.WithTheme(unstyled)
	err := f.RunAccessible(a.out, a.typed)
	switch {
	case a.ctx.Err() != nil:
		return errInterrupted
	case a.typed.ended:
		return errEnded
	}
	return err
}

// unstyled is for where no control sequences may be.
var unstyled = huh.ThemeFunc(func(bool) *huh.Styles { return &huh.Styles{} })

// form shows fields on the terminal, which is as before when it returns.
func (a *asker) form(fields ...huh.Field) error {
	keys := huh.NewDefaultKeyMap()
	keys.Quit = key.NewBinding(key.WithKeys("ctrl+c", "esc"))
	keys.Select.Filter.SetEnabled(false) // lists are short, and Esc leaves a form
	var last string
	var program *tea.Program
	running := make(chan struct{}) // closed with the first message
	begun := sync.OnceFunc(func() { close(running) })
	form := huh.NewForm(huh.NewGroup(fields...)).WithKeyMap(keys).WithTheme(huh.ThemeFunc(huh.ThemeBase16)).
		WithProgramOptions(
			tea.WithInput(a.terminal.in), tea.WithOutput(a.terminal.out), tea.WithEnvironment(a.terminal.env),
			func(p *tea.Program) { program = p },
			tea.WithoutSignalHandler(), // signals end ctx
			tea.WithFilter(func(_ tea.Model, m tea.Msg) tea.Msg {
				begun()
				switch m := m.(type) {
				case tea.KeyPressMsg:
					last = m.String()
				case tea.InterruptMsg:
					return tea.QuitMsg{} // which wipes the form
				}
				return m
			}))
	// The form is told to quit rather than handed a context that ends: with that it
	// would return before its reader has let go of the terminal.
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-a.ctx.Done():
			select {
			case <-running:
				program.Quit()
			case <-ended:
			}
		case <-ended:
		}
	})
	err := form.RunWithContext(context.WithoutCancel(a.ctx))
	close(ended)
	watch.Wait()
	switch {
	case a.ctx.Err() != nil:
		return errInterrupted
	case errors.Is(err, huh.ErrUserAborted) && last == "esc":
		return errBack
	case errors.Is(err, huh.ErrUserAborted):
		return errInterrupted
	}
	return err
}
