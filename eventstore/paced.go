package eventstore

import (
	"context"
	"time"
)

// thick is how many records at once are worth waiting for more of.
const thick = 64

// Paced is a subscription that lets records of some types gather while they come
// thick: who writes something for each batch writes once for many. Next waits
// until Pause has gone by since it returned a batch at the log's end with many
// such records and hardly any others, so that what is delivered is older by Pause
// at most. History is read without a pause, and so is a log to which little is
// appended.
type Paced struct {
	Subscription
	Pause time.Duration
	// Gathers tells of the type of a record whether it is worth waiting for more.
	Gathers func(recordType string) bool
	// Hurry ends a pause, or keeps the next one from beginning: somebody waits for
	// what is to be delivered. It holds one.
	Hurry <-chan struct{}

	until time.Time
}

// Next implements Subscription.
func (p *Paced) Next(ctx context.Context) (Batch, error) {
	if left := time.Until(p.until); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.Hurry:
		case <-ctx.Done(): // the subscription says how that is told
		}
	}
	b, err := p.Subscription.Next(ctx)
	p.until = time.Time{}
	if b.CaughtUp && Thick(b.Records, p.Gathers) {
		p.until = time.Now().Add(p.Pause)
	}
	return b, err
}

// Thick tells whether records are so many of types that gather, and hardly any
// others, that it is worth waiting for more.
func Thick(records []Record, gathers func(recordType string) bool) bool {
	others := 0
	for _, r := range records {
		if !gathers(r.Type) {
			others++
		}
	}
	return len(records)-others >= thick && others <= len(records)/8
}
