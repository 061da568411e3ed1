package reminders

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belltower/belltower/channels"
)

// measures are what can only be told while sending.
type measures struct {
	// lookToCall is for how long changes are not seen by what is handed over.
	lookToCall prometheus.Histogram
	lateness   *prometheus.HistogramVec
	outcomes   *prometheus.CounterVec
}

func newMeasures(registered []channels.Registration) *measures {
	m := &measures{
		lookToCall: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belltower_look_to_call_seconds", Help: "From the last look at a message's event to the call of its provider.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "belltower_notification_lateness_seconds", Help: "From the scheduled time to the first call of the provider.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600},
		}, []string{"channel"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belltower_notification_attempts_total", Help: "Attempts to send, by what came of them.",
		}, []string{"channel", "outcome"}),
	}
	// So that a rate has something to grow from.
	for _, r := range registered {
		m.lateness.WithLabelValues(r.Name)
		m.outcomes.WithLabelValues(r.Name, channels.Accepted.String())
	}
	return m
}

// called counts a call that was begun; attempt counts from 1.
func (m *measures) called(channel string, attempt int, scheduled, began time.Time) {
	if attempt == 1 {
		m.lateness.WithLabelValues(channel).Observe(began.Sub(scheduled).Seconds())
	}
}

// answered counts what came of a call.
func (m *measures) answered(channel string, o channels.Outcome) {
	m.outcomes.WithLabelValues(channel, o.String()).Inc()
}

// Measures are the figures of sending that can't be counted afterwards.
func (r *Reminders) Measures() []prometheus.Collector {
	m := r.sender.measures
	return []prometheus.Collector{m.lookToCall, m.lateness, m.outcomes}
}
