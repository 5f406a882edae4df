package access

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"

	"flagledger/eventstore/streams"
)

// DefaultRetention is for how long records are kept where nothing else is said.
const DefaultRetention = 400 * 24 * time.Hour

// A Record is one look, by somebody, at something.
type Record struct {
	ID          string        `json:"id"` // UUID; Add gives it
	Time        time.Time     `json:"time"`
	Actor       domain.Actor  `json:"actor"`
	Client      domain.Client `json:"client"`
	Route       string        `json:"route"`                 // what was asked, such as "GET /segments/:segment"
	Project     string        `json:"project"`               // key
	Environment string        `json:"environment,omitempty"` // key; "" for what belongs to the whole project
	AsOf        string        `json:"as_of,omitempty"`       // which past was looked at; "" for the present
	// Objects are what was looked at, as domain.Object has it: "segment:beta",
	// "identity:production/<surrogate>", "segment:*" for all there are.
	Objects []string `json:"objects"`
}

// objectsPerRecord bounds a record; a look at more becomes several records.
const objectsPerRecord = 500

// Options tune a [Store].
type Options struct {
	Retention time.Duration    // 0: DefaultRetention
	MaxQueue  int              // objects of records that wait to be written; 0: 100,000, some 20 MB
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: nobody is told what goes wrong
}

// Store writes the looks at this process, and knows those at all. Its methods
// may be called at the same time.
type Store struct {
	Options
	file *streams.File // of all records

	flushing sync.Mutex // held while writing

	mu     sync.Mutex // guards what follows
	queue  []Record
	queued int                 // objects of those
	js     jetstream.JetStream // nil until Run has reached the stream
	wake   chan struct{}       // holds one when the queue is not empty

	written, failures, lost, unreadable atomic.Uint64
}

// Stats says how the store is doing. The counters only grow.
type Stats struct {
	Written    uint64 // records, by this process
	Failures   uint64 // attempts to write that failed; they are repeated
	Waiting    int    // records in the queue
	Lost       uint64 // records that are only in the process's own log
	Unreadable uint64 // messages that do not decode, and were passed over
}

// Open opens the file of all records or, where there is none or it is damaged
// or of another layout, begins a new one, which Run fills from the stream.
func Open(path string, o Options) (*Store, error) {
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = 100_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	file, err := streams.OpenFile(path, "accesses", layout, o.Logger, bucketRecords, bucketIndex)
	if err != nil {
		return nil, err
	}
	return &Store{Options: o, file: file, wake: make(chan struct{}, 1)}, nil
}

// Close closes the file. Run must have returned; what it could not write is
// lost.
func (s *Store) Close() error {
	s.mu.Lock()
	left := s.queue
	s.queue, s.queued = nil, 0
	s.mu.Unlock()
	for _, r := range left {
		s.lose(r)
	}
	return s.file.Close()
}

// Add records a look. It does not wait for anything.
func (s *Store) Add(r Record) {
	for objects := range slices.Chunk(r.Objects, objectsPerRecord) {
		one := r
		one.ID, one.Objects = newID(r.Time).String(), objects
		if !s.enqueue(one) {
			s.lose(one)
		}
	}
}

func (s *Store) enqueue(r Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued+len(r.Objects) > s.MaxQueue {
		return false
	}
	s.queue = append(s.queue, r)
	s.queued += len(r.Objects)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

// lose leaves a record to the process's own log. There is nothing in it that
// must not be there: no identifier, trait or secret.
func (s *Store) lose(r Record) {
	s.lost.Add(1)
	s.Logger.Error("a look could not be recorded, and stands only here", "id", r.ID, "time", r.Time, "actor", r.Actor.ID, "name", r.Actor.Name,
		"ip", r.Client.IP, "user_agent", r.Client.UserAgent, "request", r.Client.RequestID, "route", r.Route,
		"project", r.Project, "environment", r.Environment, "as_of", r.AsOf, "objects", r.Objects)
}

// newID makes the name of a record. Names sort by time, to a quarter of a
// microsecond.
func newID(t time.Time) uuid.UUID {
	id := uuid.New()
	from := idAt(t)
	copy(id[:8], from[:8])
	return id
}

// idAt is less than the name of any record of that time or later: a UUID of
// version 7 with the fraction of the millisecond behind the version (RFC 9562,
// section 6.2, method 3), and nothing else.
func idAt(t time.Time) (id uuid.UUID) {
	nanoseconds := uint64(max(t.UnixNano(), 0))
	milliseconds, rest := nanoseconds/1e6, nanoseconds%1e6
	binary.BigEndian.PutUint64(id[:8], milliseconds<<16|7<<12|rest<<12/1e6)
	return id
}

// Position is that of the last message in the file, 0 for none.
func (s *Store) Position() uint64 { return s.file.Position() }

// Wait returns when the file has the message at the position, or when ctx is done.
func (s *Store) Wait(ctx context.Context, position uint64) error { return s.file.Wait(ctx, position) }

// Stats returns how the store is doing.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Written: s.written.Load(), Failures: s.failures.Load(), Waiting: len(s.queue), Lost: s.lost.Load(), Unreadable: s.unreadable.Load(),
	}
}
