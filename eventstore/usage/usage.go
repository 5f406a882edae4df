package usage

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

// Retention is for how long counts are kept, in the stream and in the file.
const Retention = 400 * 24 * time.Hour

// Source says who counted. What an app evaluates remotely, its SDK may report
// besides; so counts of different sources must not be added up.
type Source string

// The sources.
const (
	SDK    Source = "sdk"    // apps report what their SDKs were asked for
	Server Source = "server" // the server's own evaluations
)

// Key is what evaluations are counted by, beside the hour. No part of it may
// contain a NUL.
type Key struct {
	Project     string `json:"project"`     // id
	Environment int32  `json:"environment"` // id within the project
	Feature     string `json:"feature"`     // key
	Source      Source `json:"source"`
	// Outcome is what decided: "environment", "segment:<key>" or "identity"; ""
	// where the source does not tell.
	Outcome string `json:"outcome,omitempty"`
	Variant string `json:"variant,omitempty"` // "" where there is none
}

// Options tune a [Store]. The zero value is good for a process that has nothing
// to collect.
type Options struct {
	// Collect brings what was counted elsewhere since it was called last. It is
	// called before each writing, never twice at once; nil: there is nothing.
	Collect  func(add func(Key, uint64))
	Interval time.Duration    // between writings; 0: 10 s
	MaxRows  int              // counts kept in memory, mostly while NATS is away; further ones are dropped; 0: 250,000
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: nobody is told what goes wrong
}

// Store counts for this process, and knows the counts of all. Its methods may
// be called at the same time.
type Store struct {
	Options
	file    *streams.File // of all counts
	process uuid.UUID

	flushing   sync.Mutex // held while writing
	collecting sync.Mutex // held while calling Collect

	mu     sync.Mutex // guards what follows
	places map[place]*row
	parts  []*part             // in the order of their numbers
	number uint32              // of the newest part
	totals map[Total]uint64    // since the start
	js     jetstream.JetStream // nil until Run has reached the stream

	batches, failures, dropped, unreadable atomic.Uint64
}

// Stats says how the store is doing. The counters only grow.
type Stats struct {
	Batches    uint64 // messages written
	Failures   uint64 // attempts to write that failed; they are repeated
	Pending    int    // counts in parts that are not written as they are now
	Dropped    uint64 // evaluations that were not counted: there were too many different counts in memory
	Unreadable uint64 // messages that do not decode, and were passed over
}

// Open opens the file of all counts or, where there is none or it is damaged or
// of another layout, begins a new one, which Run fills from the stream.
func Open(path string, o Options) (*Store, error) {
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
	}
	if o.MaxRows == 0 {
		o.MaxRows = 250_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	file, err := streams.OpenFile(path, "usage", layout, o.Logger, bucketCounts)
	if err != nil {
		return nil, err
	}
	return &Store{Options: o, file: file, process: uuid.New(), places: map[place]*row{}, totals: map[Total]uint64{}}, nil
}

// Close closes the file. Run must have returned.
func (s *Store) Close() error { return s.file.Close() }

// Position is that of the last message in the file, 0 for none.
func (s *Store) Position() uint64 { return s.file.Position() }

// Wait returns when the file has the message at the position, or when ctx is done.
func (s *Store) Wait(ctx context.Context, position uint64) error { return s.file.Wait(ctx, position) }

// Stats returns how the store is doing.
func (s *Store) Stats() Stats {
	st := Stats{
		Batches: s.batches.Load(), Failures: s.failures.Load(), Dropped: s.dropped.Load(), Unreadable: s.unreadable.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.changed {
			st.Pending += len(p.rows)
		}
	}
	return st
}
