package identities

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/blocks"
	"flagledger/eventstore/streams"
)

// A follower applies the messages of one stream in their order, in a goroutine
// of its own.
type follower struct {
	name     string
	stream   jetstream.Stream
	apply    func(context.Context, streams.Message, *loading) error
	position uint64        // of the last message applied
	applied  *progress     // where others wait for it
	loading  *loading      // nil when everything there was is applied
	loaded   chan struct{} // closed then
}

// loading collects what the first reading finds unfinished. One follower has it
// after the other.
type loading struct {
	began time.Time

	mu       sync.Mutex // files are read on all processors
	dropped  []*environment
	locked   map[*environment]bool // environments with persons, but without a pepper
	orphaned map[string]uint64     // subjects of traits without a person, and the position of the newest
	deleted  map[uint64]bool       // traits that files still have, by position
}

// note changes what is collected.
func (l *loading) note(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// load reads the streams, completes what a crash interrupted, and leaves the
// followers at work while running lasts. Persons are read first: what is sealed for them needs
// their keys.
func (s *Store) load(ctx, running context.Context, files string) error {
	l := &loading{began: s.now(), locked: map[*environment]bool{}}
	for _, f := range []*follower{
		{name: PersonsStream, stream: s.persons, apply: s.applyPersons, applied: &s.applied, loading: l, loaded: make(chan struct{})},
		{name: TraitsStream, stream: s.traits, apply: s.applyTraitsOf, applied: new(progress), loading: l, loaded: make(chan struct{})},
	} {
		l.orphaned, l.deleted = map[string]uint64{}, map[uint64]bool{} // each stream has positions of its own
		if files != "" {
			s.readFiles(ctx, f, blocks.Dir(files, f.name))
		}
		s.wg.Go(func() { s.follow(running, f) })
		select {
		case <-f.loaded:
		case <-ctx.Done():
			return fmt.Errorf("read stream %s: %w", f.name, ctx.Err())
		}
	}
	return s.complete(ctx, running, l)
}

// complete finishes erasures that were interrupted, or undone by a server that
// brought back what it had deleted.
func (s *Store) complete(ctx, running context.Context, l *loading) error {
	for e := range l.locked {
		if !e.dropped.Load() {
			return fmt.Errorf("stream %s has no pepper for environment %s, which has persons: restore it", PeppersStream, e.token)
		}
	}
	for _, e := range l.dropped {
		if err := s.drop(ctx, e); err != nil {
			return fmt.Errorf("complete dropping environment %s: %w", e.token, err)
		}
	}
	if err := s.overwrite(ctx, s.eraseAtStart); ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		s.log.Info("erasures are being completed beside the start")
		s.wg.Go(func() { s.tryOverwrite(running) }) // what is left then, followers do when they have nothing else to do
	} else if err != nil {
		return fmt.Errorf("complete erasures: %w", err)
	}
	for subject, newest := range l.orphaned {
		if l.deleted[newest] {
			continue // files have older ones, too
		}
		if err := s.traits.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("purge %s: %w", subject, err)
		}
	}
	return nil
}

// follow reads the stream until the context ends.
func (s *Store) follow(ctx context.Context, f *follower) {
	streams.Persist(ctx, s.log, "follow identities in "+f.name, func() uint64 { return f.position }, func() error { return s.read(ctx, f) })
}

// read follows the stream from the position on until something fails.
func (s *Store) read(ctx context.Context, f *follower) error {
	reader := streams.Read(f.stream, f.position)
	defer reader.Close()
	for {
		msg, err := reader.Next(ctx)
		if errors.Is(err, streams.ErrQuiet) {
			f.hasLoaded()
			s.tryOverwrite(ctx)
			continue
		}
		if err != nil {
			return err
		}
		if err := f.apply(ctx, msg, f.loading); err != nil {
			return fmt.Errorf("apply %s: %w", msg.Subject, err)
		}
		f.moved(msg.Position)
		if msg.Pending == 0 {
			f.hasLoaded()
		}
		if f.loading == nil {
			s.tryOverwrite(ctx)
		}
	}
}

// readFiles applies what the files of the stream hold, in which nobody writes yet: an
// embedded server would send it message by message. When that is not all the server
// has, it is to send it all the same. The order does not matter: the record of an erased
// person is passed over behind the mark, and forgotten with the mark before it; of two
// persons with one identifier, and of two records of traits, the newest stays.
func (s *Store) readFiles(ctx context.Context, f *follower, dir string) {
	var read atomic.Uint64
	last, err := blocks.Read(ctx, dir, func(m blocks.Message) error {
		if m.Deleted {
			f.loading.note(func() { f.loading.deleted[m.Position] = true })
			return nil
		}
		read.Add(1)
		return f.apply(ctx, streams.Message{Position: m.Position, Subject: m.Subject, Data: m.Data, Time: m.Time}, f.loading)
	})
	state := f.stream.CachedInfo().State
	if err == nil && (read.Load() < state.Msgs || last < state.LastSeq) {
		err = fmt.Errorf("they have %d messages to %d, not %d to %d", read.Load(), last, state.Msgs, state.LastSeq)
	}
	if err != nil {
		s.log.Warn("the files of a stream cannot be read, so the server is asked for each message", "stream", f.name, "error", err)
		clear(f.loading.orphaned) // not all of them were seen deleted
		return
	}
	f.moved(state.LastSeq)
}

func (f *follower) moved(position uint64) {
	f.position = position
	f.applied.advance(position)
}

func (f *follower) hasLoaded() {
	if f.loading != nil {
		f.loading = nil
		close(f.loaded)
	}
}

// passOver counts a record that cannot be read. One broken record must not keep
// everyone else's flags from being evaluated.
func (s *Store) passOver(subject string, err error) {
	s.unreadable.Add(1)
	s.log.Error("a record of an identity cannot be read, and is passed over", "subject", subject, "error", err)
}

// applyPersons applies a message of the persons stream. An error is one of
// reaching NATS: the message is to be applied again.
func (s *Store) applyPersons(ctx context.Context, msg streams.Message, l *loading) error {
	subject, position := msg.Subject, msg.Position
	var err error
	if token, ok := strings.CutPrefix(subject, erasedPrefix); ok {
		err = s.applyErased(s.environments.get(Environment(token)), msg.Data, l)
	} else {
		token, bucket := split(strings.TrimPrefix(subject, personPrefix))
		e := s.environments.get(token)
		if b, err := strconv.ParseUint(bucket, 16, 16); err == nil {
			e.tails.raise(int(b), position)
		}
		err = s.applyPerson(ctx, e, subject, position, msg.Data)
		if l != nil && errors.Is(err, errNoPepper) {
			l.note(func() { l.locked[e] = true })
			err = nil
		}
	}
	if errors.Is(err, errUnreadable) || errors.Is(err, errNoPepper) {
		s.passOver(subject, err) // reading it again would not help
		err = nil
	}
	return err
}

// tryOverwrite overwrites what is owed. Whoever erased the person does it too,
// but that process may be gone.
func (s *Store) tryOverwrite(ctx context.Context) {
	if !s.owes() {
		return
	}
	if err := s.overwrite(ctx, publishTimeout); err != nil {
		s.log.Warn("the record of an erased identity is not overwritten yet", "error", err)
	}
}

var (
	errNoPepper   = errors.New("the environment has no pepper")
	errUnreadable = errors.New("unreadable")
)

// applyErased applies a mark, of a surrogate or of everyone.
func (s *Store) applyErased(e *environment, whom []byte, l *loading) error {
	if string(whom) == everyone {
		s.forgetAll(e)
		if l != nil {
			l.note(func() { l.dropped = append(l.dropped, e) })
		}
		return nil
	}
	surrogate, err := uuid.FromBytes(whom)
	if err != nil {
		return errors.Join(errUnreadable, err)
	}
	s.forget(e, surrogate)
	return nil
}

// applyPerson takes a stored person into memory.
func (s *Store) applyPerson(ctx context.Context, e *environment, subject string, position uint64, payload []byte) error {
	if e.dropped.Load() {
		return nil
	}
	surrogate, err := surrogateOf(payload)
	if err != nil {
		return errors.Join(errUnreadable, err)
	}
	if s.isErased(surrogate) { // a server brought the record back, or it was late
		s.owe(position)
		return nil
	}
	if !e.knows(surrogate) {
		pepper, err := s.pepper(ctx, e, false)
		if err != nil {
			return err
		}
		if pepper == nil {
			return errNoPepper
		}
		p, err := openPerson(pepper, payload, subject)
		if err != nil {
			return errors.Join(errUnreadable, err)
		}
		p.position = position
		s.newest(e, p)
	}
	if s.strays.remove(surrogate) {
		if err := s.refresh(ctx, e, surrogate); err != nil {
			s.strays.add(surrogate)
			return err
		}
	}
	return nil
}

// clockMargin is by how much the clocks of NATS servers and ours may differ.
const clockMargin = time.Minute

// applyTraitsOf applies a message of the traits stream.
func (s *Store) applyTraitsOf(_ context.Context, msg streams.Message, l *loading) error {
	subject := msg.Subject
	token, whom := split(strings.TrimPrefix(subject, traitsPrefix))
	surrogate, err := uuid.Parse(whom)
	if err != nil {
		s.passOver(subject, err)
		return nil
	}
	e := s.environments.get(token)
	if e.bySurrogate(surrogate) == nil {
		switch {
		case e.dropped.Load() || l == nil && s.isErased(surrogate):
			return nil
		case l != nil && msg.Time.Before(l.began.Add(-clockMargin)):
			// The person was stored before this record, and so before persons
			// were read: it is not there any more.
			l.note(func() { l.orphaned[subject] = max(l.orphaned[subject], msg.Position) })
			return nil
		}
		s.strays.add(surrogate)
		if e.bySurrogate(surrogate) == nil || !s.strays.remove(surrogate) {
			return nil // whoever brings the person fetches the traits
		}
	}
	s.applyTraits(e, surrogate, msg.Position, subject, msg.Data)
	return nil
}

// applyTraits takes stored traits into memory, under changes that are not
// stored yet.
func (s *Store) applyTraits(e *environment, surrogate uuid.UUID, sequence uint64, subject string, payload []byte) {
	p := e.bySurrogate(surrogate)
	if p == nil {
		return
	}
	sh := e.shard(p.identifier)
	sh.mu.RLock()
	old, key := sequence <= p.sequence, p.key
	sh.mu.RUnlock()
	if old {
		return
	}
	r, err := openTraits(key, payload, subject)
	if err != nil {
		s.passOver(subject, err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sequence <= p.sequence {
		return
	}
	p.sequence = sequence // of an unreadable record too, so that the next change replaces it
	if err != nil {
		return
	}
	p.record = r
	if c := sh.changes[p]; c != nil {
		c.stored = r
		p.record = c.view()
	}
}

// strays are the surrogates whose traits came before the person did: the
// streams are followed side by side.
type strays struct {
	mu  sync.Mutex
	set map[uuid.UUID]struct{}
}

// maxStrays bounds them: traits that were on their way while their person was
// erased stay strays.
const maxStrays = 10_000

func (s *strays) add(surrogate uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil || len(s.set) >= maxStrays {
		s.set = map[uuid.UUID]struct{}{}
	}
	s.set[surrogate] = struct{}{}
}

// remove reports whether the surrogate was a stray.
func (s *strays) remove(surrogate uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.set[surrogate]
	delete(s.set, surrogate)
	return was
}

// progress is how far a stream is applied.
type progress struct {
	mu       sync.Mutex
	position uint64
	moved    chan struct{} // closed at the next step; nil when nobody waits
}

func (p *progress) advance(position uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = position
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// reached waits for a position, at most so long.
func (p *progress) reached(ctx context.Context, position uint64, most time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		p.mu.Lock()
		if p.position >= position {
			p.mu.Unlock()
			return true
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}
