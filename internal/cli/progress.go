package cli

import (
	"fmt"
	"time"

	"github.com/belltower/belltower/internal/terminal"
)

// progressElsewhere is how often progress is told where there is no terminal.
const progressElsewhere = 10 * time.Second

// progress tells on standard error that something goes on, once it has taken a
// second, until stop is called. state says how far it is; nil: nobody knows.
func (a *app) progress(what string, state func() string) (stop func()) {
	began := time.Now()
	return terminal.Progress(a.Err, a.err.columns, progressElsewhere, func() string {
		far := fmt.Sprintf("%.0f s", time.Since(began).Seconds())
		if state != nil {
			far = state() + ", " + far
		}
		return what + ": " + far
	})
}
