package commands

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// manyPatient is how many patient commands are under way at once while nobody
	// else asks for anything: as many as share a sync.
	manyPatient = 64
	// fewPatient is how many while others do: whoever comes finds no more before them.
	fewPatient = 16
	// attentive is for how many patient commands there are few after the last of others.
	attentive = 512
	// mostPatience is how long a patient command waits for others at most, so that
	// it comes to its turn however many they are.
	mostPatience = 5 * time.Millisecond
)

// patience lets those commands wait that nobody waits for, such as the many that follow
// from a change to a large event, while others are under way. Those under way
// already are few, so that little stands before who comes.
type patience struct {
	mu      sync.Mutex
	others  int // commands under way that aren't patient
	patient int // that are
	few     int // of how many more there are few
	waiting []*patientOne
}

// patientOne waits for its turn.
type patientOne struct {
	turn chan struct{} // closed once it has come
	late bool          // it doesn't wait for others any more
}

// come counts a command that isn't patient until the end is called.
func (p *patience) come() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.others, p.few = p.others+1, attentive
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.others--
		p.admit()
	}
}

// wait lets a patient command in once its turn has come, until the end is called.
func (p *patience) wait(ctx context.Context) (end func(), err error) {
	one := &patientOne{turn: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, one)
	p.admit()
	p.mu.Unlock()
	end = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.patient--
		p.admit()
	}
	select { // as a rule nobody is in its way
	case <-one.turn:
		return end, nil
	default:
	}
	timer := time.NewTimer(mostPatience)
	defer timer.Stop()
	for {
		select {
		case <-one.turn:
			return end, nil
		case <-timer.C:
			p.mu.Lock()
			one.late = true
			p.admit()
			p.mu.Unlock()
		case <-ctx.Done():
			if p.leave(one) {
				return nil, ctx.Err()
			}
			return end, nil // both came together
		}
	}
}

// admit lets in those who wait and may come. p.mu is held.
func (p *patience) admit() {
	for {
		width := manyPatient
		if p.few > 0 {
			width = fewPatient
		}
		next := slices.IndexFunc(p.waiting, func(one *patientOne) bool { return p.others == 0 || one.late })
		if next < 0 || p.patient >= width {
			return
		}
		close(p.waiting[next].turn)
		p.waiting = slices.Delete(p.waiting, next, next+1)
		p.patient++
		p.few = max(0, p.few-1)
	}
}

// leave takes one out of those who wait; false says that its turn has come.
func (p *patience) leave(one *patientOne) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, one)
	if i < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return true
}
