package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	readyGauge  = prometheus.NewDesc("flagledger_ready", "1 when the process can do its whole work, as /readyz says; else 0.", nil, nil)
	logPosition = prometheus.NewDesc("flagledger_log_position", "The position of the last commit of the log; absent while the log cannot be asked.", nil, nil)
	viewsLag    = prometheus.NewDesc("flagledger_views_lag", "Commits of the log that the views do not show yet; absent while the log cannot be asked.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *ledger) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readyGauge, logPosition, viewsLag} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. It asks the log, and does not wait
// long for it.
func (l *ledger) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	send := func(d *prometheus.Desc, n uint64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	var ready uint64
	if l.ready(ctx) == nil {
		ready = 1
	}
	send(readyGauge, ready)
	o := l.opened.Load()
	if o == nil {
		return
	}
	if last, err := o.store.LastPosition(ctx); err == nil {
		position := l.views.Position() // may have passed it since
		send(logPosition, max(last, position))
		send(viewsLag, max(last, position)-position)
	}
}
