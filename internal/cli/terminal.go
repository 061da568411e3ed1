package cli

import (
	"os"

	"golang.org/x/term"
)

// terminal is what is known of where something is read from or written to.
type terminal struct {
	file    *os.File // nil: no terminal
	columns int      // as they were when it was looked at; 0: no terminal, so that nothing has to fit
	colour  bool
}

func terminalOf(stream any) terminal {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			width = 80
		}
		return terminal{file: f, columns: width}
	}
	return terminal{}
}

// coloured allows colour where there is a terminal that has it, and nobody has
// asked for none (https://no-color.org).
func (t terminal) coloured(env map[string]string) terminal {
	t.colour = t.there() && env["NO_COLOR"] == "" && env["TERM"] != "dumb" && env["TERM"] != ""
	return t
}

func (t terminal) there() bool { return t.file != nil }

// Codes of ECMA-48 for what stands out.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (t terminal) paint(code, text string) string {
	if !t.colour || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// colours say at a glance what a state means; what is on its way has none.
var colours = map[string]string{
	"SENT": green, "DELIVERED": green, "confirmed": green, "accepted": green, "running": green, "scheduled": green,
	"READY": yellow, "SENDING": yellow, "waitlisted": yellow, "tentative": yellow,
	"FAILED": red, "stopped": red, "declined": red,
	"CANCELLED": faint, "cancelled": faint, "released": faint,
}
