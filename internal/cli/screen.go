package cli

import "github.com/belltower/belltower/internal/terminal"

// screen is what is known of where something is read from or written to.
type screen struct {
	columns int // as they were when it was looked at; 0: no terminal, so that nothing has to fit
	colour  bool
}

func screenOf(stream any) screen { return screen{columns: terminal.Columns(stream)} }

// coloured allows colour where there is a terminal that has it, and nobody has
// asked for none (https://no-color.org).
func (s screen) coloured(env map[string]string) screen {
	s.colour = s.there() && env["NO_COLOR"] == "" && env["TERM"] != "dumb" && env["TERM"] != ""
	return s
}

// there tells whether it is a terminal.
func (s screen) there() bool { return s.columns > 0 }

// Codes of ECMA-48 for what stands out.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (s screen) paint(code, text string) string {
	if !s.colour || code == "" || text == "" {
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
