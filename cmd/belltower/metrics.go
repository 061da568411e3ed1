package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/reminders"
)

// storeMeasures are what can only be told while facts are appended.
type storeMeasures struct {
	appends   prometheus.Histogram
	syncs     prometheus.Histogram // of the embedded log, as is syncFacts
	syncFacts prometheus.Histogram
}

func newStoreMeasures() *storeMeasures {
	return &storeMeasures{
		appends: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belltower_append_seconds", Help: "From an append to the answer of the event store that it is kept.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belltower_log_sync_seconds", Help: "How long syncs of the log took.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
		syncFacts: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belltower_log_sync_facts", Help: "Facts that shared a sync of the log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13), // to 4096
		}),
	}
}

// appended counts an append that was answered with success.
func (m *storeMeasures) appended(took time.Duration) { m.appends.Observe(took.Seconds()) }

// synced counts a sync of the log, and the facts that it brought to disk.
func (m *storeMeasures) synced(facts int, took time.Duration) {
	m.syncs.Observe(took.Seconds())
	m.syncFacts.Observe(float64(facts))
}

// registry gathers the figures of the process, of the store, and of the process manager.
func registry(store eventstore.Store, m *storeMeasures, r *reminders.Reminders) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), sending{r}, m.appends)
	registry.MustRegister(r.Measures()...)
	if log, ok := store.(*embedded.Log); ok {
		registry.MustRegister(m.syncs, m.syncFacts, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "belltower_log_failures_total", Help: "Syncs of the log that failed.",
		}, func() float64 { return float64(log.Stats().Failures) }))
	}
	return registry
}

// sending shows the process manager's figures as they are when it is asked.
type sending struct{ r *reminders.Reminders }

var (
	dueNow     = figure("notifications_due", "Notifications that are due and not under way.")
	oldestDue  = figure("notifications_oldest_due_seconds", "For how long the first of them has been due.")
	inFlight   = figure("notifications_in_flight", "Notifications that are being sent.")
	inDoubt    = figure("notifications_in_doubt", "Notifications that are not final and of which an attempt's outcome is unknown.")
	holes      = figure("notifications_holes", "Notifications that the auditor found neither final nor under way: always 0, but for a fault.")
	overtaken  = figure("notifications_overtaken_total", "Sends that a change was acknowledged under, after waiting for a second.")
	plannerLag = figure("planner_lag_seconds", "Age of the last fact planned while there are newer ones.")
	paused     = figure("channel_paused", "1 while the channel waits for its provider.", "channel", "provider")
)

func figure(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("belltower_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (s sending) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dueNow, oldestDue, inFlight, inDoubt, holes, overtaken, plannerLag, paused} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What can't be counted now is shown
// as an error in place of the figures.
func (s sending) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	status, err := s.r.Status(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(dueNow, err)
		return
	}
	stats, err := s.r.Stats(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(holes, err)
		return
	}
	doubtful, err := s.r.InDoubt(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(inDoubt, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(dueNow, float64(status.Due))
	gauge(oldestDue, status.OldestDueSeconds)
	gauge(inFlight, float64(status.InFlight))
	gauge(inDoubt, float64(doubtful))
	gauge(holes, float64(stats.Conservation.Holes))
	gauge(plannerLag, stats.Planner.LagSeconds)
	to <- prometheus.MustNewConstMetric(overtaken, prometheus.CounterValue, float64(stats.Overtaken))
	for _, c := range stats.Channels {
		value := 0.0
		if c.State == "paused" {
			value = 1
		}
		gauge(paused, value, c.Name, c.Provider)
	}
}
