package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts requests. Labels are route templates, never paths.
type metrics struct {
	handler  http.Handler
	inFlight prometheus.Gauge
	streams  prometheus.Gauge
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec

	receipts        *prometheus.CounterVec
	receiptsRefused *prometheus.CounterVec
}

func newMetrics(o Options) *metrics {
	m := &metrics{
		handler: promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{Registry: o.Metrics}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "belltower_http_requests_in_flight", Help: "Requests being answered.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "belltower_http_streams", Help: "Readers of /v1/stream.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belltower_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "belltower_http_request_seconds", Help: "How long answers took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belltower_receipts_total", Help: "What providers told of messages and addresses, by what came of it: recorded, known or unknown.",
		}, []string{"provider", "news", "result"}),
		receiptsRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belltower_receipts_refused_total", Help: "Calls said to be a provider's that were refused.",
		}, []string{"provider", "reason"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "belltower_build_info", Help: "1; the version is a label.", ConstLabels: prometheus.Labels{"version": o.Version},
	})
	build.Set(1)
	lag := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "belltower_read_models_lag_seconds", Help: "Age of the last fact shown while there are newer ones.",
	}, func() float64 { return o.Models.Status().Lag.Seconds() })
	o.Metrics.MustRegister(m.inFlight, m.streams, m.requests, m.duration, m.receipts, m.receiptsRefused, build, lag)
	return m
}

func (m *metrics) count(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	if route != streamPath { // which lasts as long as its reader likes
		m.duration.WithLabelValues(method, route).Observe(took.Seconds())
	}
}

func (s *server) getMetrics(c *call) (*answer, error) {
	s.metrics.handler.ServeHTTP(c.w, c.Request)
	return nil, nil
}
