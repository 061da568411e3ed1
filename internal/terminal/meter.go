package terminal

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Meter says how fast counted work goes and when it will have ended. It is used
// by one goroutine.
type Meter struct {
	unit    string
	samples []sample // of the last seconds, the oldest first
}

type sample struct {
	at    time.Time
	count int64
	part  float64
}

// span is how far back the present speed looks.
const span = 10 * time.Second

// NewMeter returns a Meter for work that begins at began with so much done:
// count of what unit names, which are part of the whole, from 0 to 1.
func NewMeter(unit string, began time.Time, count int64, part float64) *Meter {
	return &Meter{unit: unit, samples: []sample{{began, count, part}}}
}

// Line says in at most so many columns how far the work is at now, with a bar;
// with 0 columns as a plain line.
func (m *Meter) Line(now time.Time, count int64, part float64, columns int) string {
	part = min(max(part, 0), 1)
	m.samples = append(m.samples, sample{now, count, part})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= span {
		m.samples = m.samples[1:]
	}
	before := m.samples[0]
	words := []string{fmt.Sprintf("%3.0f %%", math.Floor(part*100)), fmt.Sprintf("%d %s", count, m.unit)}
	if elapsed := now.Sub(before.at).Seconds(); elapsed > 0 {
		words = append(words, fmt.Sprintf("%.0f/s", float64(count-before.count)/elapsed))
		if speed := (part - before.part) / elapsed; speed > 0 && part < 1 {
			left := time.Duration(math.Ceil((1-part)/speed)) * time.Second
			words = append(words, left.String()+" left")
		}
	}
	text := strings.Join(words, "  ")
	if columns == 0 {
		return text
	}
	// The last column stays free: some terminals go on to the next line there.
	width := min(columns-len(text)-5, 40)
	if width < 5 {
		return text[:min(len(text), max(columns-1, 0))]
	}
	full := int(part * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]  " + text
}
