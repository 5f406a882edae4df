package main

import "github.com/prometheus/client_golang/prometheus"

// persons are the metrics of the identity store.
type persons struct{ *ledger }

var (
	personsKnown      = prometheus.NewDesc("flagledger_identities", "Identities known, of all environments.", nil, nil)
	personsUnsaved    = prometheus.NewDesc("flagledger_identities_unsaved", "Identities with changes that are not stored yet.", nil, nil)
	personsSaved      = prometheus.NewDesc("flagledger_identities_saved_total", "Records of identities and their traits stored.", nil, nil)
	personsConflicts  = prometheus.NewDesc("flagledger_identities_conflicts_total", "Records that another process stored first, merged and tried again.", nil, nil)
	personsFailures   = prometheus.NewDesc("flagledger_identities_failures_total", "Attempts to store that failed, and are repeated.", nil, nil)
	personsDropped    = prometheus.NewDesc("flagledger_identities_dropped_total", "Changes answered but not kept, because too many waited to be stored.", nil, nil)
	personsRefused    = prometheus.NewDesc("flagledger_identities_refused_total", "Traits not kept, because the identity has too many.", nil, nil)
	personsUnreadable = prometheus.NewDesc("flagledger_identities_unreadable_total", "Records that could not be read, and were passed over.", nil, nil)
)

// Describe implements prometheus.Collector.
func (persons) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{personsKnown, personsUnsaved, personsSaved, personsConflicts, personsFailures, personsDropped, personsRefused, personsUnreadable} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. There is nothing to tell before the
// log is reached.
func (p persons) Collect(metrics chan<- prometheus.Metric) {
	o := p.opened.Load()
	if o == nil {
		return
	}
	st := o.persons.Stats()
	gauge := func(d *prometheus.Desc, n int) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	count := func(d *prometheus.Desc, n uint64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge(personsKnown, st.Persons)
	gauge(personsUnsaved, st.Unsaved)
	count(personsSaved, st.Saved)
	count(personsConflicts, st.Conflicts)
	count(personsFailures, st.Failures)
	count(personsDropped, st.Dropped)
	count(personsRefused, st.Refused)
	count(personsUnreadable, st.Unreadable)
}
