package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"flagledger/eventstore/access"
	httpapi "flagledger/http"
)

// accesses ties the store of looks to HTTP and to the metrics.
type accesses struct{ *access.Store }

func openAccesses(dataDir string, retention time.Duration, log *slog.Logger) (accesses, error) {
	store, err := access.Open(filepath.Join(dataDir, "access.db"), access.Options{Retention: retention, Logger: log})
	return accesses{store}, err
}

// Record implements httpapi.Accesses.
func (a accesses) Record(look httpapi.Access) { a.Add(access.Record(look)) }

// List implements httpapi.Accesses.
func (a accesses) List(q httpapi.AccessQuery) ([]httpapi.Access, string, error) {
	found, next, err := a.Store.List(access.Query(q))
	looks := make([]httpapi.Access, len(found))
	for i, r := range found {
		looks[i] = httpapi.Access(r)
	}
	return looks, next, err
}

var (
	accessWritten    = prometheus.NewDesc("flagledger_access_written_total", "Looks at rules of segments and data of identities that this process recorded.", nil, nil)
	accessFailures   = prometheus.NewDesc("flagledger_access_failures_total", "Attempts to record looks that failed, and are repeated.", nil, nil)
	accessWaiting    = prometheus.NewDesc("flagledger_access_waiting", "Looks that wait to be recorded.", nil, nil)
	accessLost       = prometheus.NewDesc("flagledger_access_lost_total", "Looks that could not be recorded, and stand in the log of the process alone.", nil, nil)
	accessUnreadable = prometheus.NewDesc("flagledger_access_unreadable_total", "Messages with looks that could not be read, and were passed over.", nil, nil)
)

// Describe implements prometheus.Collector.
func (a accesses) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{accessWritten, accessFailures, accessWaiting, accessLost, accessUnreadable} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (a accesses) Collect(metrics chan<- prometheus.Metric) {
	st := a.Stats()
	metrics <- prometheus.MustNewConstMetric(accessWritten, prometheus.CounterValue, float64(st.Written))
	metrics <- prometheus.MustNewConstMetric(accessFailures, prometheus.CounterValue, float64(st.Failures))
	metrics <- prometheus.MustNewConstMetric(accessWaiting, prometheus.GaugeValue, float64(st.Waiting))
	metrics <- prometheus.MustNewConstMetric(accessLost, prometheus.CounterValue, float64(st.Lost))
	metrics <- prometheus.MustNewConstMetric(accessUnreadable, prometheus.CounterValue, float64(st.Unreadable))
}
