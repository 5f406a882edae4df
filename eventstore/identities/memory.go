package identities

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// An environment is what memory holds of one environment: the persons by
// identifier and by surrogate, in shards of their own locks.
//
// Locks are taken in this order: shard, then one of the others.
type environment struct {
	token      Environment
	pepper     atomic.Pointer[pepper] // nil until it is needed
	dropped    atomic.Bool
	cleared    atomic.Bool // nothing of it is left in the streams
	shards     [shardCount]shard
	surrogates [shardCount]surrogates
	tails      tails
}

const shardCount = 32

var shardSeed = maphash.MakeSeed()

type shard struct {
	mu      sync.RWMutex
	persons map[string]*person  // by identifier
	changes map[*person]*change // of persons with something to store
}

type surrogates struct {
	mu      sync.RWMutex
	persons map[uuid.UUID]*person
}

func (e *environment) shard(identifier string) *shard {
	return &e.shards[maphash.String(shardSeed, identifier)%shardCount]
}

func (e *environment) surrogatesOf(surrogate uuid.UUID) *surrogates {
	return &e.surrogates[surrogate[0]%shardCount]
}

// environments are all there are. The map is replaced when one is added, so
// that looking one up takes no lock.
type environments struct {
	adding sync.Mutex
	all    atomic.Pointer[map[Environment]*environment]
}

// get returns the environment, which it makes when there is none yet.
func (es *environments) get(token Environment) *environment {
	if e := (*es.all.Load())[token]; e != nil {
		return e
	}
	es.adding.Lock()
	defer es.adding.Unlock()
	if e := (*es.all.Load())[token]; e != nil {
		return e
	}
	more := maps.Clone(*es.all.Load())
	e := &environment{token: Environment(strings.Clone(string(token)))} // it may be a part of something larger
	more[e.token] = e
	es.all.Store(&more)
	return e
}

// find returns a copy of the person, good for reading.
func (e *environment) find(identifier string) (person, bool) {
	sh := e.shard(identifier)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if p := sh.persons[identifier]; p != nil {
		return *p, true
	}
	return person{}, false
}

// bySurrogate returns the person itself; to read more than the identifier and
// the surrogate, which never change, its shard must be locked.
func (e *environment) bySurrogate(surrogate uuid.UUID) *person {
	in := e.surrogatesOf(surrogate)
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.persons[surrogate]
}

// knows tells whether the person is in memory, and known to be stored.
func (e *environment) knows(surrogate uuid.UUID) bool {
	p := e.bySurrogate(surrogate)
	if p == nil {
		return false
	}
	sh := e.shard(p.identifier)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return p.position > 0
}

// put makes the person the one of its identifier. The shard is locked.
func (e *environment) put(sh *shard, p *person) {
	if sh.persons == nil {
		sh.persons = map[string]*person{}
	}
	sh.persons[p.identifier] = p
	in := e.surrogatesOf(p.surrogate)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.persons == nil {
		in.persons = map[uuid.UUID]*person{}
	}
	in.persons[p.surrogate] = p
}

// remove takes the person out of memory. The shard is locked.
func (e *environment) remove(sh *shard, p *person) {
	delete(sh.persons, p.identifier)
	in := e.surrogatesOf(p.surrogate)
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.persons, p.surrogate)
}

// count returns the number of persons.
func (e *environment) count() int {
	n := 0
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.RLock()
		n += len(sh.persons)
		sh.mu.RUnlock()
	}
	return n
}

// after returns copies of the first persons behind the identifier, in order. It
// looks at every person of the environment, one shard at a time.
func (e *environment) after(identifier string, limit int) []person {
	var first []person
	last := "" // of the first ones, once there are enough; an identifier is never empty
	shorten := func() {
		slices.SortFunc(first, func(p, q person) int { return strings.Compare(p.identifier, q.identifier) })
		if len(first) >= limit {
			first = first[:limit]
			last = first[limit-1].identifier
		}
	}
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.RLock()
		for found, p := range sh.persons {
			if found > identifier && (last == "" || found < last) {
				first = append(first, *p)
			}
		}
		sh.mu.RUnlock()
		if len(first) >= 2*limit { // so that each sort makes room for as many again
			shorten()
		}
	}
	shorten()
	return first
}

// tails are, by bucket, the sequence of the last person we know of in it.
type tails struct {
	mu   sync.Mutex
	last map[int]uint64
}

func (t *tails) get(bucket int) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[bucket]
}

// set can also go back, when the last person is erased.
func (t *tails) set(bucket int, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[int]uint64{}
	}
	t.last[bucket] = sequence
}

// raise is set, unless we know more already.
func (t *tails) raise(bucket int, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[int]uint64{}
	}
	t.last[bucket] = max(t.last[bucket], sequence)
}

// newest takes a person who is in the stream into memory, in place of whom
// memory holds under the identifier: one made here who is not stored yet, and
// never will be. What was to be stored for that one is inherited.
func (s *Store) newest(e *environment, p *person) {
	sh := e.shard(p.identifier)
	sh.mu.Lock()
	before := sh.persons[p.identifier]
	c := sh.changes[before]
	switch {
	case e.dropped.Load():
	case before == nil:
		e.put(sh, p)
	case before.position > p.position: // p is erased: its mark is on the way
	case before.surrogate != p.surrogate:
		e.remove(sh, before)
		e.put(sh, p)
		if c != nil {
			delete(sh.changes, before)
			sh.changes[p] = c
			c.person = p
			c.isStored(p)
		}
	case c != nil && c.isNew: // the very same, and the answer is not there yet, or lost
		before.position = p.position
		c.isStored(p)
	}
	sh.mu.Unlock()
	// The mark of an erasure may have come meanwhile; forget then found nobody.
	if s.isErased(p.surrogate) {
		s.forget(e, p.surrogate)
	}
}

// forget takes an erased person out of memory, for good. The record in the
// stream is to be overwritten then.
func (s *Store) forget(e *environment, surrogate uuid.UUID) {
	s.erasedMu.Lock()
	s.erased[surrogate] = struct{}{}
	s.erasedMu.Unlock()
	p := e.bySurrogate(surrogate)
	if p == nil {
		return
	}
	sh := e.shard(p.identifier)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.persons[p.identifier] == p {
		e.remove(sh, p)
		if p.position > 0 {
			s.owe(p.position)
		}
	}
	if c := sh.changes[p]; c != nil {
		s.finish(sh, c)
	}
}

// forgetAll takes a dropped environment out of memory, for good.
func (s *Store) forgetAll(e *environment) {
	e.dropped.Store(true)
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.Lock()
		for _, c := range sh.changes {
			s.finish(sh, c)
		}
		sh.persons = nil
		sh.mu.Unlock()
	}
	for i := range e.surrogates {
		in := &e.surrogates[i]
		in.mu.Lock()
		in.persons = nil
		in.mu.Unlock()
	}
	e.pepper.Store(nil)
}

// owe notes a record of an erased person that is to be overwritten.
func (s *Store) owe(position uint64) {
	s.erasedMu.Lock()
	defer s.erasedMu.Unlock()
	s.owed[position] = struct{}{}
}

func (s *Store) owes() bool {
	s.erasedMu.RLock()
	defer s.erasedMu.RUnlock()
	return len(s.owed) > 0
}

func (s *Store) isErased(surrogate uuid.UUID) bool {
	s.erasedMu.RLock()
	defer s.erasedMu.RUnlock()
	_, erased := s.erased[surrogate]
	return erased
}
