package main

import (
	"context"
	"errors"
	"iter"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"flagledger/domain/transparency"
	"flagledger/eventstore"
	"flagledger/eventstore/checkpoints"
	httpapi "flagledger/http"
)

// keyFile is where the keys are that sign checkpoints.
func keyFile(given, dataDir string) string {
	if given != "" {
		return given
	}
	return filepath.Join(dataDir, "signing.key")
}

// signed is the ledger as HTTP needs it for the transparency log.
type signed struct {
	ledger *ledger
	log    *checkpoints.Log
}

// Checkpoint implements httpapi.Transparency.
func (s signed) Checkpoint(ctx context.Context) (transparency.Signed, error) {
	return s.log.Checkpoint(ctx)
}

// Checkpoints implements httpapi.Transparency.
func (s signed) Checkpoints(ctx context.Context) iter.Seq2[string, error] { return s.log.All(ctx) }

// Keys implements httpapi.Transparency.
func (s signed) Keys() []httpapi.LogKey {
	var all []httpapi.LogKey
	for _, k := range s.log.Keys() {
		all = append(all, httpapi.LogKey(k))
	}
	return all
}

// errEnough ends the reading of the log, or of its history.
var errEnough = errors.New("enough")

// Leaves implements httpapi.Transparency. They come from the log itself, not from
// what the views keep of it.
func (s signed) Leaves(ctx context.Context, from, to uint64, each func(transparency.Leaf) error) error {
	o := s.ledger.opened.Load()
	if o == nil {
		return s.ledger.notReached()
	}
	err := o.store.Load(ctx, from, func(m eventstore.Message) error {
		if err := each(m.Leaf()); err != nil {
			return err
		}
		if m.Position >= to {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if err == nil {
		err = errors.New("the log ends too early")
	}
	return err
}

var (
	checkpointPosition   = prometheus.NewDesc("flagledger_checkpoint_position", "Position of the log up to which this process has signed a checkpoint, 0 for none yet.", nil, nil)
	checkpointTime       = prometheus.NewDesc("flagledger_checkpoint_timestamp_seconds", "When it did, in seconds since 1970; absent while it has not.", nil, nil)
	checkpointStopped    = prometheus.NewDesc("flagledger_checkpoint_stopped", "1 while checkpoints are not signed, because the log is not what was signed or the keys cannot be read; else 0.", nil, nil)
	checkpointFailures   = prometheus.NewDesc("flagledger_checkpoint_failures_total", "Attempts to sign or publish a checkpoint that failed.", nil, nil)
	checkpointUnreadable = prometheus.NewDesc("flagledger_checkpoint_unreadable_total", "Messages in the stream of checkpoints that are none, and were passed over.", nil, nil)
	checkpointWaiting    = prometheus.NewDesc("flagledger_checkpoint_copies_waiting", "Checkpoints that wait to be copied to the file or URL.", nil, nil)
)

// Describe implements prometheus.Collector.
func (signed) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{checkpointPosition, checkpointTime, checkpointStopped, checkpointFailures, checkpointUnreadable, checkpointWaiting} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (s signed) Collect(metrics chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, n float64) {
		metrics <- prometheus.MustNewConstMetric(d, kind, n)
	}
	stats, stopped := s.log.Stats(), 0.0
	if s.log.Failure() != nil {
		stopped = 1
	}
	send(checkpointPosition, prometheus.GaugeValue, float64(stats.Size))
	if !stats.SignedAt.IsZero() {
		send(checkpointTime, prometheus.GaugeValue, float64(stats.SignedAt.UnixMilli())/1000)
	}
	send(checkpointStopped, prometheus.GaugeValue, stopped)
	send(checkpointFailures, prometheus.CounterValue, float64(stats.Failures))
	send(checkpointUnreadable, prometheus.CounterValue, float64(stats.Unreadable))
	send(checkpointWaiting, prometheus.GaugeValue, float64(s.ledger.copies.waiting()))
}
