package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"flagledger/projections"
)

// viewsProgress are the metrics of the views: whether they keep up with the log.
type viewsProgress struct{ *projections.Views }

var (
	viewsPosition  = prometheus.NewDesc("flagledger_views_position", "Position of the log up to which the views are stored.", nil, nil)
	viewsEnd       = prometheus.NewDesc("flagledger_views_log_position", "Last position of the log that the views know of.", nil, nil)
	viewsApplied   = prometheus.NewDesc("flagledger_views_commits_total", "Commits applied to the views since the start.", nil, nil)
	viewsRebuilds  = prometheus.NewDesc("flagledger_views_damaged_total", "Times the file of the views was found damaged, and set aside.", nil, nil)
	viewsBuilding  = prometheus.NewDesc("flagledger_views_building", "1 while the views are made from the beginning of the log.", nil, nil)
	viewsPerSecond = prometheus.NewDesc("flagledger_views_commits_per_second", "Commits applied each second while the views catch up, 0 otherwise.", nil, nil)
	viewsLeft      = prometheus.NewDesc("flagledger_views_left_seconds", "Time until the views have caught up, at this speed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (viewsProgress) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{viewsPosition, viewsEnd, viewsApplied, viewsRebuilds, viewsBuilding, viewsPerSecond, viewsLeft} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (v viewsProgress) Collect(metrics chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, n float64) {
		metrics <- prometheus.MustNewConstMetric(d, kind, n)
	}
	p, building := v.Progress(), 0.0
	if v.Building() {
		building = 1
	}
	send(viewsPosition, prometheus.GaugeValue, float64(p.Position))
	send(viewsEnd, prometheus.GaugeValue, float64(p.End))
	send(viewsApplied, prometheus.CounterValue, float64(v.Applied()))
	send(viewsRebuilds, prometheus.CounterValue, float64(v.Damaged()))
	send(viewsBuilding, prometheus.GaugeValue, building)
	send(viewsPerSecond, prometheus.GaugeValue, p.PerSecond)
	send(viewsLeft, prometheus.GaugeValue, p.Left.Seconds())
}
