package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Work that ends before then is not worth a word.
const progressAfter = time.Second

// onTerminal is how often progress is told where one line is written over.
const onTerminal = 200 * time.Millisecond

// Progress tells on out that something goes on, once it has taken a second, until
// stop is called. On a terminal of so many columns one line is written over, and
// wiped at the end; elsewhere, with 0 columns, each is a new one, as often as
// elsewhere says. line says how far the work is.
func Progress(out io.Writer, columns int, elsewhere time.Duration, line func() string) (stop func()) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		pause := time.NewTimer(progressAfter)
		defer pause.Stop()
		for told := false; ; told = true {
			select {
			case <-pause.C:
			case <-done:
				if told && columns > 0 {
					say("\r\x1b[K")
				}
				return
			}
			if columns > 0 {
				say("\r\x1b[K%s", line())
				pause.Reset(onTerminal)
			} else {
				say("%s\n", line())
				pause.Reset(elsewhere)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		telling.Wait()
	})
}
