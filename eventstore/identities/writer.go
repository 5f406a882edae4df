package identities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	// linger is how long a change waits for others to share a sync with, and
	// with it about what a crash can lose of traits.
	linger = 100 * time.Millisecond
	// The writer waits this long after a failure, and longer after each more.
	firstRetry, lastRetry = 100 * time.Millisecond, time.Second
)

// write stores changes until the context ends, a full batch at a time or what has
// come within the linger: what NATS does for a batch costs as much as some hundred
// messages of it.
func (s *Store) write(ctx context.Context) {
	retry := firstRetry
	for {
		select {
		case <-s.queue.wake:
		case <-ctx.Done():
			return
		}
		if !pause(ctx, linger, s.queue.hurry) {
			return
		}
		batch := s.queue.take(batchMessages)
		err := s.save(ctx, batch)
		rest := unfinished(batch)
		s.queue.giveBack(rest, err == nil && slices.ContainsFunc(rest, (*change).pending))
		if err == nil {
			retry = firstRetry
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.failures.Add(1)
		s.log.Warn("identities are not stored, trying again", "error", err, "unsaved", s.queue.size(), "after", retry)
		if !pause(ctx, retry, nil) {
			return
		}
		retry = min(2*retry, lastRetry)
	}
}

// unfinished returns the changes of a batch that still have something to store.
func unfinished(batch []*change) []*change {
	var rest []*change
	for _, c := range batch {
		c.shard.mu.RLock()
		if !c.done {
			rest = append(rest, c)
		}
		c.shard.mu.RUnlock()
	}
	return rest
}

// finish ends a change. The shard is locked.
func (s *Store) finish(sh *shard, c *change) {
	if c.done {
		return
	}
	c.done = true
	c.exist()
	delete(sh.changes, c.person)
	s.queue.release()
}

// save stores the new persons of a batch, and then the traits: whoever meets
// traits can be sure that the person has been stored before.
func (s *Store) save(ctx context.Context, batch []*change) error {
	if err := s.saveNew(ctx, batch); err != nil {
		return fmt.Errorf("store persons: %w", err)
	}
	if err := s.saveTraits(ctx, batch); err != nil {
		return fmt.Errorf("store traits: %w", err)
	}
	return nil
}

// outgoing is a message and the change it stores.
type outgoing struct {
	change    *change
	message   *message
	surrogate uuid.UUID // of the person when it was sent
	bucket    int       // of a new person
	record    record    // what it stores
}

// send publishes and hands the messages whose outcome is known to settle.
func (s *Store) send(ctx context.Context, all []outgoing, settle func(outgoing) error) error {
	messages := make([]*message, len(all))
	for i, o := range all {
		messages[i] = o.message
	}
	err := s.publish(ctx, messages)
	for _, o := range all {
		if o.message.sequence > 0 {
			s.saved.Add(1)
		}
		if o.message.conflict {
			s.conflicts.Add(1)
		}
		if o.message.sequence > 0 || o.message.conflict {
			err = errors.Join(err, settle(o))
		}
	}
	return err
}

// saveNew stores persons who are not in the stream. The last person of the
// bucket must be one we know of: then no other process has stored the same
// identifier. So of each bucket only one is stored at a time.
func (s *Store) saveNew(ctx context.Context, batch []*change) error {
	var all []outgoing
	taken := map[string]bool{}
	for _, c := range batch {
		if !c.pending() {
			continue
		}
		pepper, err := s.pepper(ctx, c.environment, true)
		if err != nil {
			return err
		}
		c.shard.mu.Lock()
		bucket := pepper.bucket(c.person.identifier)
		subject := personSubject(c.environment.token, bucket)
		if !c.isNew || c.done || taken[subject] { // another process may have stored the person meanwhile
			c.shard.mu.Unlock()
			continue
		}
		c.person.key = pepper.key(c.seed)
		r, _ := c.send()
		p := *c.person
		c.shard.mu.Unlock()
		taken[subject] = true
		payload, err := sealPerson(c.seed, p, r, subject)
		if err != nil {
			return err
		}
		m := &message{subject: subject, payload: payload, expect: c.environment.tails.get(bucket)}
		all = append(all, outgoing{c, m, p.surrogate, bucket, r})
	}
	return s.send(ctx, all, func(o outgoing) error {
		e := o.change.environment
		if o.message.conflict {
			return s.catchUp(ctx, e, o.bucket)
		}
		e.tails.raise(o.bucket, o.message.sequence)
		s.settle(o, func(c *change) {
			if c.isNew { // or the follower was faster
				c.person.position, c.stored = o.message.sequence, o.record
				c.exist()
			}
		})
		return nil
	})
}

// catchUp waits until we know of every person in a bucket.
func (s *Store) catchUp(ctx context.Context, e *environment, bucket int) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for {
		msg, err := last(ctx, s.persons, personSubject(e.token, bucket))
		if err != nil {
			return err
		}
		if msg == nil {
			e.tails.set(bucket, 0)
			return nil
		}
		if s.applied.reached(ctx, msg.Sequence, firstRetry) {
			e.tails.set(bucket, msg.Sequence)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for person %d: %w", msg.Sequence, ctx.Err())
		}
	}
}

func (s *Store) saveTraits(ctx context.Context, batch []*change) error {
	var all []outgoing
	for _, c := range batch {
		c.shard.mu.Lock()
		ready := !c.isNew && !c.done
		r, different := c.send()
		if ready && !different {
			c.person.record = r
			s.finish(c.shard, c)
		}
		p := *c.person
		c.shard.mu.Unlock()
		if !ready || !different {
			continue
		}
		subject := traitsSubject(c.environment.token, p.surrogate)
		payload, err := sealTraits(p.key, r, subject)
		if err != nil {
			return err
		}
		m := &message{subject: subject, payload: payload, expect: p.sequence}
		all = append(all, outgoing{c, m, p.surrogate, 0, r})
	}
	return s.send(ctx, all, func(o outgoing) error {
		if o.message.conflict {
			return s.refresh(ctx, o.change.environment, o.surrogate)
		}
		s.settle(o, func(c *change) {
			if o.message.sequence > c.person.sequence { // or the follower was faster
				c.stored, c.person.sequence = o.record, o.message.sequence
			}
		})
		return nil
	})
}

// settle ends the sending of what was stored, unless the person is another by now.
func (s *Store) settle(o outgoing, stored func(*change)) {
	c := o.change
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.done || c.person.surrogate != o.surrogate {
		return
	}
	stored(c)
	c.sent = nil
	c.person.record = c.view()
	if len(c.next) == 0 {
		s.finish(c.shard, c)
	}
}

// refresh brings a person up to date whose traits another process has changed.
// What is not stored yet is merged with them.
func (s *Store) refresh(ctx context.Context, e *environment, surrogate uuid.UUID) error {
	p := e.bySurrogate(surrogate)
	if p == nil {
		return nil
	}
	sh := e.shard(p.identifier)
	sh.mu.RLock()
	sequence := p.sequence
	sh.mu.RUnlock()
	subject := traitsSubject(e.token, surrogate)
	msg, err := last(ctx, s.traits, subject)
	if err != nil {
		return err
	}
	if msg != nil {
		s.applyTraits(e, surrogate, msg.Sequence, subject, msg.Data)
		return nil
	}
	// There are none any more: the person was erased a moment ago, and what is
	// written now nobody can read; or someone purged the stream.
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if p.sequence == sequence {
		p.sequence = 0
	}
	return nil
}
