package identities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

// Options tune a [Store]. The zero value is good for one process.
type Options struct {
	Replicas int // of the streams: 1, or 3 on a cluster; 0: 1
	// Files is the store directory of the embedded server that js is connected to,
	// with nobody else: reading its files takes half of the time that the server
	// takes to send what is in them. "": it is to send it.
	Files     string
	MaxTraits int // of one person; 0: 200
	// Established says that there are commits. The streams are made before the
	// first one, so where one is not there it was lost: that is a
	// [*streams.LostError] then, instead of an empty one.
	Established bool
	MaxUnsaved  int // persons with changes that are not stored yet; 0: 100,000
	// EraseAtStart is how long Open may take for erasures that are to be completed;
	// the rest is done beside what follows. 0: 2 s.
	EraseAtStart time.Duration
	Logger       *slog.Logger     // nil: slog.Default()
	Now          func() time.Time // nil: time.Now
}

const (
	// maxRecord bounds one person's traits, in bytes.
	maxRecord = 512 << 10
	// minPayload is what NATS must take in one message, in bytes: its default.
	minPayload = 1 << 20
)

// Stats says how the store is doing. The counters only grow.
type Stats struct {
	Persons    int    // in memory, of all environments
	Unsaved    int    // of them with changes that are not stored yet
	Saved      uint64 // records stored
	Conflicts  uint64 // records another process stored first, merged and tried again
	Failures   uint64 // attempts to store that failed as a whole, and were repeated
	Dropped    uint64 // changes answered but not kept: too much was unsaved, or the store was closed
	Refused    uint64 // traits answered with what was stored before: the person has too many
	Unreadable uint64 // records that do not open or decode, and were passed over
}

// Store is the persons of all environments. Its methods may be called at the
// same time.
type Store struct {
	js                       jetstream.JetStream
	peppers, persons, traits jetstream.Stream
	log                      *slog.Logger
	now                      func() time.Time
	maxTraits                int
	eraseAtStart             time.Duration

	environments environments
	erasedMu     sync.RWMutex
	erased       map[uuid.UUID]struct{}
	owed         map[uint64]struct{} // positions of records to overwrite
	applied      progress            // of the persons stream
	strays       strays
	queue        *queue

	saved, conflicts, failures, dropped, refused, unreadable atomic.Uint64

	stop context.CancelFunc // ends the writer and the followers
	wg   sync.WaitGroup
}

// Open reads all persons into memory, and then follows what other processes
// store. It creates the streams where they do not exist, and is an error when
// they are not as they must be. Erasures that a crash interrupted are completed.
//
// js may be shared; the store does not close its connection.
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*Store, error) {
	s := &Store{
		js: js, log: o.Logger, now: o.Now, maxTraits: o.MaxTraits,
		erased: map[uuid.UUID]struct{}{},
		owed:   map[uint64]struct{}{},
		queue:  newQueue(o.MaxUnsaved),
	}
	s.environments.all.Store(&map[Environment]*environment{})
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.eraseAtStart = o.EraseAtStart; s.eraseAtStart == 0 {
		s.eraseAtStart = 2 * time.Second
	}
	if s.maxTraits == 0 {
		s.maxTraits = 200
	}
	if s.queue.limit == 0 {
		s.queue.limit = 100_000
	}
	if most := js.Conn().MaxPayload(); most < minPayload {
		return nil, fmt.Errorf("open identities: NATS takes messages of %d bytes, must take %d (max_payload)", most, minPayload)
	}
	if err := s.openStreams(ctx, max(o.Replicas, 1), o.Established); err != nil {
		return nil, fmt.Errorf("open identities: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if err := s.load(ctx, running, o.Files); err != nil {
		stop()
		return nil, fmt.Errorf("open identities: %w", err)
	}
	s.wg.Go(func() { s.write(running) })
	return s, nil
}

// Close stores what is not stored yet and ends the store; from then on it still
// answers, but keeps nothing. It gives up after 5 s, or when the context ends,
// and the error says how much is lost.
func (s *Store) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	s.queue.close()
	err := s.Flush(ctx)
	s.stop()
	stopped := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done(): // a follower that cannot reach NATS may need longer
	}
	if err != nil {
		return fmt.Errorf("close identities: %w", err)
	}
	return nil
}

// Flush returns when everything is stored.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.queue.wait(ctx); err != nil {
		return fmt.Errorf("%d identities have changes that are not stored: %w", s.queue.size(), err)
	}
	return nil
}

// Stats returns how the store is doing.
func (s *Store) Stats() Stats {
	st := Stats{
		Unsaved:    s.queue.size(),
		Saved:      s.saved.Load(),
		Conflicts:  s.conflicts.Load(),
		Failures:   s.failures.Load(),
		Dropped:    s.dropped.Load(),
		Refused:    s.refused.Load(),
		Unreadable: s.unreadable.Load(),
	}
	for _, e := range *s.environments.all.Load() {
		st.Persons += e.count()
	}
	return st
}

// Get returns the person, nil when the identifier is not known.
func (s *Store) Get(env Environment, identifier string) *Identity {
	p, ok := s.environments.get(env).find(identifier)
	if !ok {
		return nil
	}
	return p.now()
}

// Identifier returns whom a surrogate stands for; ok is false when the person
// is erased, or never was.
func (s *Store) Identifier(env Environment, surrogate string) (identifier string, ok bool) {
	id, err := uuid.Parse(surrogate)
	if err != nil {
		return "", false
	}
	p := s.environments.get(env).bySurrogate(id)
	if p == nil {
		return "", false
	}
	return p.identifier, true
}

// List returns the first persons behind an identifier ("": from the beginning),
// by identifier. It costs time in proportion to the persons of the environment,
// about 0.1 s for a million.
func (s *Store) List(env Environment, after string, limit int) []*Identity {
	if limit <= 0 {
		return nil
	}
	persons := s.environments.get(env).after(after, limit)
	list := make([]*Identity, len(persons))
	for i := range persons {
		list[i] = persons[i].now()
	}
	return list
}

// Identify returns the person with the changes made to the traits: a null
// deletes a trait, of two changes of one trait the last counts. A person who is
// not known comes into being.
//
// The answer never waits. What changed is stored soon after; a crash can lose
// it until then, about the last 100 ms. When too much is unsaved already
// ([Options]), the answer is the same, but the changes are not kept at all, and
// [Stats] counts them. A trait beyond the limit is left out, and counted.
func (s *Store) Identify(env Environment, identifier string, changes []Trait) *Identity {
	e := s.environments.get(env)
	if p, ok := e.find(identifier); ok {
		c, _ := p.record.decode()
		if _, effective, refused := merge(c.traits, changes, s.maxTraits); len(effective)+refused == 0 {
			return p.identity(c)
		}
	}
	now := s.now().UnixMilli()
	sh := e.shard(identifier)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p, c := s.person(e, sh, identifier, now, false)
	kept := sh.persons[identifier] == p
	before, _ := p.record.decode()
	merged, effective, refused := merge(before.traits, changes, s.maxTraits)
	after := contents{before.created, max(before.updated, now), merged}
	r := after.encode()
	if len(r) > maxRecord {
		refused, effective = len(effective)+refused, nil
	}
	s.refused.Add(uint64(refused))
	if len(effective) == 0 {
		after = before
	} else if kept && c == nil {
		c = s.newChange(e, sh, &change{person: p, stored: p.record}, false)
		kept = c != nil
	}
	if !kept {
		s.dropped.Add(1)
		return p.identity(after)
	}
	if len(effective) > 0 {
		c.next, c.at = overlay(c.next, effective), now
		p.record = r
	}
	return p.identity(after)
}

// person returns the person of the identifier, and the change that is under way
// for it, if any. One who is not known comes into being, and is kept unless too
// much is unsaved. The shard is locked.
func (s *Store) person(e *environment, sh *shard, identifier string, now int64, insist bool) (*person, *change) {
	if p := sh.persons[identifier]; p != nil {
		return p, sh.changes[p]
	}
	p := &person{identifier: strings.Clone(identifier), surrogate: uuid.New(), record: contents{created: now, updated: now}.encode()}
	c := &change{person: p, isNew: true, stored: p.record, at: now}
	rand.Read(c.seed[:]) // never fails
	if e.dropped.Load() || s.newChange(e, sh, c, insist) == nil {
		return p, nil
	}
	e.put(sh, p)
	return p, c
}

// newChange puts a change into the queue, or returns nil. The shard is locked.
func (s *Store) newChange(e *environment, sh *shard, c *change, insist bool) *change {
	c.environment, c.shard = e, sh
	if !s.queue.add(c, insist) {
		return nil
	}
	if sh.changes == nil {
		sh.changes = map[*person]*change{}
	}
	sh.changes[c.person] = c
	return c
}

// surrogateTimeout is how long Surrogate tries, an election of the cluster included.
const surrogateTimeout = 10 * time.Second

// Surrogate returns what stands for the person in the log. It stays so until
// the person is erased: the person is stored when it returns. One who is not
// known comes into being. The error says that it could not be stored in time.
func (s *Store) Surrogate(ctx context.Context, env Environment, identifier string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, surrogateTimeout)
	defer cancel()
	e := s.environments.get(env)
	sh := e.shard(identifier)
	for {
		sh.mu.Lock()
		p, c := s.person(e, sh, identifier, s.now().UnixMilli(), true)
		kept := sh.persons[identifier] == p
		var exists chan struct{}
		if c != nil && c.isNew {
			if c.exists == nil {
				c.exists = make(chan struct{})
			}
			exists = c.exists
		}
		sh.mu.Unlock()
		switch {
		case !kept && e.dropped.Load():
			return "", fmt.Errorf("store an identity: environment %s is dropped", env)
		case !kept:
			return "", errors.New("store an identity: the store is closed")
		case exists == nil:
			return p.surrogate.String(), nil
		}
		s.queue.prefer(c)
		select {
		case <-exists: // perhaps as someone else: look again
		case <-ctx.Done():
			return "", fmt.Errorf("store an identity: %w", ctx.Err())
		}
	}
}
