package aggregates

import (
	"time"
)

// The stamps of a participant, each as one of these in two bits.
const (
	asZero       = iota
	asRegistered // the same as Registered, as most are
	asGiven
)

// later are the stamps of p behind Registered, in the order in which they are written.
func (p *Participant) later() [8]*Stamp {
	return [...]*Stamp{&p.Changed, &p.Own, &p.Entitled, &p.Answered, &p.LastDeclined, &p.Returned, &p.LastOptedOut, &p.OptedIn}
}

// words numbers texts that many participants have in common.
type words struct {
	numbers map[string]int
	list    []string
}

func (v *words) number(s string) uint64 {
	n, ok := v.numbers[s]
	if !ok {
		n = len(v.list)
		v.numbers[s], v.list = n, append(v.list, s)
	}
	return uint64(n)
}

// encodeParticipants writes those of the ordinals from on; nil ones are gone.
func encodeParticipants(eventID string, from int, list []*Participant) []byte {
	body, common := encoder{b: make([]byte, 0, 80*len(list))}, words{numbers: map[string]int{}}
	before, next, there := Stamp{At: time.UnixMicro(0)}, from, 0
	for _, p := range list {
		if p == nil {
			continue
		}
		there++
		body.count(p.Ordinal - next)
		next = p.Ordinal + 1
		body.participant(eventID, p, before, &common)
		before = p.Registered
	}
	whole := encoder{b: make([]byte, 0, len(body.b)+64)}
	whole.count(there)
	whole.texts(common.list)
	whole.b = append(whole.b, body.b...)
	return whole.b
}

func (w *encoder) participant(eventID string, p *Participant, before Stamp, common *words) {
	w.id(p.ID)
	w.id(p.UserID)
	w.id(p.EmailDigest)
	flags := uint64(0)
	if p.OptedOut {
		flags |= 1
	}
	if p.EventID != eventID {
		flags |= 2
	}
	if p.Channels != nil {
		flags |= 4
	}
	w.unsigned(flags)
	if p.EventID != eventID {
		w.id(p.EventID)
	}
	for _, s := range [...]string{p.TimeZone, p.Locale, p.Response, p.Status} {
		w.unsigned(common.number(s))
	}
	if p.Channels != nil {
		w.count(len(p.Channels))
		for _, channel := range p.Channels {
			w.unsigned(common.number(channel))
		}
	}
	w.signed(p.Line)
	w.between(before, p.Registered)
	stamps := uint64(0)
	for i, at := range p.later() {
		switch *at {
		case Stamp{}:
		case p.Registered:
			stamps |= asRegistered << (2 * i)
		default:
			stamps |= asGiven << (2 * i)
		}
	}
	w.unsigned(stamps)
	for i, at := range p.later() {
		if stamps>>(2*i)&3 == asGiven {
			w.between(p.Registered, *at)
		}
	}
	w.signed(p.contacted - p.Registered.Revision)
	for _, at := range append([]time.Time{p.emailSince, p.phoneSince, p.pushSince}, p.chosen...) {
		switch {
		case at.IsZero():
			w.unsigned(asZero)
		case at.Equal(p.Registered.At):
			w.unsigned(asRegistered)
		default:
			w.unsigned(asGiven)
			w.signed(at.UnixMicro() - p.Registered.At.UnixMicro())
		}
	}
}

// between writes a stamp by what lies between it and another one.
func (w *encoder) between(before, at Stamp) {
	w.signed(at.Revision - before.Revision)
	w.signed(at.At.UnixMicro() - before.At.UnixMicro())
}

func (r *decoder) between(before Stamp) Stamp {
	return Stamp{Revision: before.Revision + r.signed(), At: time.UnixMicro(before.At.UnixMicro() + r.signed()).UTC()}
}

// decodeParticipants reads what encodeParticipants wrote into list.
func decodeParticipants(data []byte, eventID string, from int, list []*Participant) error {
	r := decoder{b: string(data)}
	r.ids.Grow(len(list) * (36 + 36 + 22))
	people := make([]Participant, r.count())
	common := commonWords{list: r.texts()}
	before, next := Stamp{At: time.UnixMicro(0)}, 0
	for i := range people {
		p := &people[i]
		next += r.number()
		if next >= len(list) {
			r.fail()
			break
		}
		p.Ordinal, p.unread = from+next, true
		r.participant(p, eventID, before, &common)
		before = p.Registered
		list[next] = p
		next++
	}
	return r.end("participants")
}

// commonWords are words as they are read.
type commonWords struct {
	list  []string
	lists map[string][]string // of channels, which are never changed
}

func (r *decoder) word(common *commonWords) string {
	n := r.number()
	if n >= len(common.list) {
		r.fail()
		return ""
	}
	return common.list[n]
}

func (r *decoder) channels(common *commonWords) []string {
	rest := r.b
	n := r.count()
	list := make([]string, n)
	for i := range list {
		list[i] = r.word(common)
	}
	if r.err != nil {
		return nil
	}
	written := rest[:len(rest)-len(r.b)]
	if known, ok := common.lists[written]; ok {
		return known
	}
	if common.lists == nil {
		common.lists = map[string][]string{}
	}
	common.lists[written] = list
	return list
}

func (r *decoder) participant(p *Participant, eventID string, before Stamp, common *commonWords) {
	p.ID, p.UserID, p.EmailDigest, p.EventID = r.id(), r.id(), r.id(), eventID
	flags := r.unsigned()
	p.OptedOut = flags&1 != 0
	if flags&2 != 0 {
		p.EventID = r.id()
	}
	p.TimeZone, p.Locale, p.Response, p.Status = r.word(common), r.word(common), r.word(common), r.word(common)
	if flags&4 != 0 {
		p.Channels = r.channels(common)
	}
	p.Line = r.signed()
	p.Registered = r.between(before)
	stamps := r.unsigned()
	for i, at := range p.later() {
		switch stamps >> (2 * i) & 3 {
		case asRegistered:
			*at = p.Registered
		case asGiven:
			*at = r.between(p.Registered)
		}
	}
	p.contacted = p.Registered.Revision + r.signed()
	p.emailSince, p.phoneSince, p.pushSince = r.since(p), r.since(p), r.since(p)
	p.chosen = make([]time.Time, len(p.channels()))
	for i := range p.chosen {
		p.chosen[i] = r.since(p)
	}
}

func (r *decoder) since(p *Participant) time.Time {
	switch r.unsigned() {
	case asZero:
		return time.Time{}
	case asRegistered:
		return p.Registered.At
	case asGiven:
		return time.UnixMicro(p.Registered.At.UnixMicro() + r.signed()).UTC()
	}
	r.fail()
	return time.Time{}
}
