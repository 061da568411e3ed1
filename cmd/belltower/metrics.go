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

// registry gathers the figures of the process, of the log where it is the
// embedded one, and of the process manager.
func registry(store eventstore.Store, r *reminders.Reminders) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), sending{r})
	registry.MustRegister(r.Measures()...)
	log, ok := store.(*embedded.Log)
	if !ok {
		return registry
	}
	for name, counter := range map[string]struct {
		help string
		of   func(embedded.Stats) float64
	}{
		"belltower_log_appends_total":      {"Appends answered.", func(s embedded.Stats) float64 { return float64(s.Appends) }},
		"belltower_log_records_total":      {"Facts appended.", func(s embedded.Stats) float64 { return float64(s.Records) }},
		"belltower_log_syncs_total":        {"Syncs of the log.", func(s embedded.Stats) float64 { return float64(s.Syncs) }},
		"belltower_log_sync_seconds_total": {"Time spent in syncs of the log.", func(s embedded.Stats) float64 { return s.SyncTime.Seconds() }},
		"belltower_log_failures_total":     {"Syncs of the log that failed.", func(s embedded.Stats) float64 { return float64(s.Failures) }},
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: counter.help}, func() float64 { return counter.of(log.Stats()) }))
	}
	return registry
}

// sending shows the process manager's figures as they are when it is asked.
type sending struct{ r *reminders.Reminders }

var (
	dueNow     = figure("notifications_due", "Notifications that are due and not under way.")
	oldestDue  = figure("notifications_oldest_due_seconds", "For how long the first of them has been due.")
	inFlight   = figure("notifications_in_flight", "Notifications that are being sent.")
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
	for _, d := range []*prometheus.Desc{dueNow, oldestDue, inFlight, holes, overtaken, plannerLag, paused} {
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
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(dueNow, float64(status.Due))
	gauge(oldestDue, status.OldestDueSeconds)
	gauge(inFlight, float64(status.InFlight))
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
