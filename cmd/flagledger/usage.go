package main

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flagledger/eventstore/usage"
	httpapi "flagledger/http"
	"flagledger/projections"
)

// flagUsage ties the store of counts to the snapshots, which count what the
// server evaluates, to HTTP and to the metrics.
type flagUsage struct {
	*usage.Store
	views *projections.Views
}

func openUsage(dataDir string, views *projections.Views, log *slog.Logger) (*flagUsage, error) {
	store, err := usage.Open(filepath.Join(dataDir, "usage.db"), usage.Options{Collect: func(add func(usage.Key, uint64)) {
		for id, s := range views.Snapshots() {
			s.Tally.Drain(func(l projections.Label, n uint64) {
				add(usage.Key{
					Project: id.Project, Environment: id.ID, Feature: l.Feature, Source: usage.Server, Outcome: l.Outcome, Variant: l.Variant,
				}, n)
			})
		}
	}, Logger: log})
	return &flagUsage{store, views}, err
}

// Report implements httpapi.Usage.
func (u *flagUsage) Report(id projections.EnvironmentID, feature string, count int64) {
	u.Add(usage.Key{Project: id.Project, Environment: id.ID, Feature: feature, Source: usage.SDK}, uint64(count))
}

// Counts implements httpapi.Usage.
func (u *flagUsage) Counts(id projections.EnvironmentID, feature string, from, to time.Time) ([]httpapi.UsageCount, error) {
	found, err := u.Store.Counts(id.Project, id.ID, feature, from, to)
	counts := make([]httpapi.UsageCount, len(found))
	for i, c := range found {
		counts[i] = httpapi.UsageCount{Hour: c.Hour, Source: string(c.Source), Outcome: c.Outcome, Variant: c.Variant, N: c.N}
	}
	return counts, err
}

var (
	evaluationsTotal = prometheus.NewDesc("flagledger_evaluations_total",
		"Evaluations of flags by this process and, with the source sdk, those that SDKs reported to it. The outcome is environment, segment, identity or reported.",
		[]string{"project", "environment", "source", "outcome"}, nil)
	usageBatches    = prometheus.NewDesc("flagledger_usage_batches_total", "Messages with counts of evaluations written.", nil, nil)
	usageFailures   = prometheus.NewDesc("flagledger_usage_failures_total", "Attempts to write such a message that failed, and are repeated.", nil, nil)
	usagePending    = prometheus.NewDesc("flagledger_usage_pending", "Counts of evaluations that wait to be written.", nil, nil)
	usageDropped    = prometheus.NewDesc("flagledger_usage_dropped_total", "Evaluations left out because too many different counts wait to be written.", nil, nil)
	usageUnreadable = prometheus.NewDesc("flagledger_usage_unreadable_total", "Messages with counts that could not be read, and were passed over.", nil, nil)
)

// Describe implements prometheus.Collector.
func (u *flagUsage) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{evaluationsTotal, usageBatches, usageFailures, usagePending, usageDropped, usageUnreadable} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (u *flagUsage) Collect(metrics chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, n float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, kind, n, labels...)
	}
	for t, n := range u.Totals() {
		if s := u.views.Snapshot(projections.EnvironmentID{Project: t.Project, ID: t.Environment}); s != nil { // or it was deleted
			send(evaluationsTotal, prometheus.CounterValue, float64(n), s.Project.Key, s.Environment.Key, string(t.Source), cmp.Or(t.Kind, "reported"))
		}
	}
	st := u.Stats()
	send(usageBatches, prometheus.CounterValue, float64(st.Batches))
	send(usageFailures, prometheus.CounterValue, float64(st.Failures))
	send(usagePending, prometheus.GaugeValue, float64(st.Pending))
	send(usageDropped, prometheus.CounterValue, float64(st.Dropped))
	send(usageUnreadable, prometheus.CounterValue, float64(st.Unreadable))
}
