package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Work that ends before then is not worth a word.
const progressAfter = time.Second

// How often progress is told: on a terminal one line is written over, elsewhere
// each is a new one.
const (
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 10 * time.Second
)

// progress tells on standard error that something goes on, once it has taken a
// second, until stop is called. state says how far it is; nil: nobody knows.
func (a *app) progress(what string, state func() string) (stop func()) {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		began := time.Now()
		pause := time.NewTimer(progressAfter)
		defer pause.Stop()
		for told := false; ; told = true {
			select {
			case <-pause.C:
			case <-done:
				if told && a.err.there() {
					a.note("\r\x1b[K")
				}
				return
			}
			far := fmt.Sprintf("%.0f s", time.Since(began).Seconds())
			if state != nil {
				far = state() + ", " + far
			}
			if a.err.there() {
				a.note("\r\x1b[K%s: %s", what, far)
				pause.Reset(progressOnTerminal)
			} else {
				a.note("%s: %s\n", what, far)
				pause.Reset(progressElsewhere)
			}
		}
	})
	return func() {
		close(done)
		telling.Wait()
	}
}

// undivided keeps what several goroutines write from getting into one another.
type undivided struct {
	mu sync.Mutex
	to io.Writer
}

func (u *undivided) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.to.Write(p)
}
