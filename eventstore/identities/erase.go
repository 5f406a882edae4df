package identities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Erase removes a person for good, here and in all other processes, and returns
// the surrogate the log knows the person by. It is safe to repeat; after an
// error it must be, and the surrogate of the first answer is the one to keep.
// When the same identifier is identified again, a new person comes into being,
// whom nothing connects with the erased one.
//
// The order makes it safe to be interrupted anywhere: first the mark, which is
// what every process obeys now and at its next start; then the seed is
// overwritten, which makes unreadable all that was ever sealed for the person;
// then the newest traits go too.
func (s *Store) Erase(ctx context.Context, env Environment, identifier string) (surrogate string, existed bool, err error) {
	e := s.environments.get(env)
	if e.dropped.Load() {
		return "", false, nil
	}
	fail := func(err error) error { return fmt.Errorf("erase an identity of environment %s: %w", env, err) }
	if err := s.knowAll(ctx, e, identifier); err != nil {
		return "", false, fail(err)
	}
	p, existed := e.find(identifier)
	if existed {
		surrogate = p.surrogate.String()
		if err := s.mark(ctx, e.token, p.surrogate[:]); err != nil {
			return surrogate, existed, fail(err)
		}
		s.forget(e, p.surrogate)
	}
	if err := s.overwrite(ctx, publishTimeout); err != nil { // also what an earlier attempt left
		return surrogate, existed, fail(err)
	}
	if existed {
		if err := s.traits.Purge(ctx, jetstream.WithPurgeSubject(traitsSubject(e.token, p.surrogate))); err != nil {
			return surrogate, existed, fail(fmt.Errorf("purge traits: %w", err))
		}
	}
	return surrogate, existed, nil
}

// EraseSurrogate is Erase for a person who is known by the surrogate alone, such
// as one who came back with an old backup. It tells whether the person was there.
func (s *Store) EraseSurrogate(ctx context.Context, env Environment, surrogate string) (existed bool, err error) {
	identifier, existed := s.Identifier(env, surrogate)
	if !existed {
		return false, nil
	}
	erased, existed, err := s.Erase(ctx, env, identifier)
	if existed && erased != surrogate {
		err = errors.Join(err, fmt.Errorf("erase person %s of environment %s: person %s was erased instead", surrogate, env, erased))
	}
	return existed, err
}

// mark records an erasure: of one surrogate, or of all of the environment.
func (s *Store) mark(ctx context.Context, e Environment, whom []byte) error {
	return s.publish(ctx, []*message{{subject: erasedSubject(e), payload: whom, expect: anySequence}})
}

// overwrite makes the records of erased persons unreadable that are owed: the
// server fills their bytes with noise and syncs that, some milliseconds for each.
func (s *Store) overwrite(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s.erasedMu.RLock()
	owed := slices.Collect(maps.Keys(s.owed))
	s.erasedMu.RUnlock()
	for _, position := range owed {
		if err := s.persons.SecureDeleteMsg(ctx, position); err != nil {
			// Another process may have been faster.
			if _, gone := s.persons.GetMsg(ctx, position); !errors.Is(gone, jetstream.ErrMsgNotFound) {
				return fmt.Errorf("overwrite person %d: %w", position, err)
			}
		}
		s.erasedMu.Lock()
		delete(s.owed, position)
		s.erasedMu.Unlock()
	}
	return nil
}

// dropTimeout bounds the purge of an environment: a million records take seconds.
const dropTimeout = time.Minute

// Drop removes all persons of an environment that is deleted. It is safe to
// repeat, and does nothing where it has succeeded. Nobody can be identified there again: [Store.Identify] answers, but
// keeps nothing.
func (s *Store) Drop(ctx context.Context, env Environment) error {
	e := s.environments.get(env)
	if e.cleared.Load() {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("drop the identities of environment %s: %w", env, err) }
	if !e.dropped.Load() {
		if err := s.mark(ctx, env, []byte(everyone)); err != nil {
			return fail(err)
		}
		s.forgetAll(e)
	}
	if err := s.drop(ctx, e); err != nil {
		return fail(err)
	}
	return nil
}

// drop overwrites the pepper, which makes everything in the environment
// unreadable, and then clears up.
func (s *Store) drop(ctx context.Context, e *environment) error {
	ctx, cancel := context.WithTimeout(ctx, dropTimeout)
	defer cancel()
	msg, err := last(ctx, s.peppers, pepperSubject(e.token))
	if err != nil {
		return err
	}
	if msg != nil {
		if err := s.peppers.SecureDeleteMsg(ctx, msg.Sequence); err != nil {
			return fmt.Errorf("overwrite the pepper: %w", err)
		}
	}
	if err := s.persons.Purge(ctx, jetstream.WithPurgeSubject(personPrefix+string(e.token)+".*")); err != nil {
		return fmt.Errorf("purge persons: %w", err)
	}
	if err := s.traits.Purge(ctx, jetstream.WithPurgeSubject(traitsPrefix+string(e.token)+".*")); err != nil {
		return fmt.Errorf("purge traits: %w", err)
	}
	e.cleared.Store(true)
	return nil
}
