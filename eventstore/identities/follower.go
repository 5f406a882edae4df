package identities

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A follower applies the messages of one stream in their order, in a goroutine
// of its own.
type follower struct {
	stream   string
	apply    func(context.Context, jetstream.Msg, *jetstream.MsgMetadata, *loading) error
	position uint64        // sequence of the last message applied
	loading  *loading      // nil when everything there was is applied
	loaded   chan struct{} // closed then
	consumer string        // the consumer of the last message
	received uint64        // how many messages came from it
	missing  uint64        // how many it sent, when that was found to be more
}

// loading collects what the first reading finds unfinished. One follower has it
// after the other.
type loading struct {
	began    time.Time
	dropped  []*environment
	locked   map[*environment]bool // environments with persons, but without a pepper
	orphaned []string              // subjects of traits without a person
}

// load reads the streams, completes what a crash interrupted, and leaves the
// followers at work while running lasts. Persons are read first: what is sealed for them needs
// their keys.
func (s *Store) load(ctx, running context.Context) error {
	l := &loading{began: s.now(), locked: map[*environment]bool{}}
	for _, f := range []*follower{
		{stream: PersonsStream, apply: s.applyPersons, loading: l, loaded: make(chan struct{})},
		{stream: TraitsStream, apply: s.applyTraitsOf, loading: l, loaded: make(chan struct{})},
	} {
		s.wg.Go(func() { s.follow(running, f) })
		select {
		case <-f.loaded:
		case <-ctx.Done():
			return fmt.Errorf("read stream %s: %w", f.stream, ctx.Err())
		}
	}
	return s.complete(ctx, l)
}

// complete finishes erasures that were interrupted, or undone by a server that
// brought back what it had deleted.
func (s *Store) complete(ctx context.Context, l *loading) error {
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
	if err := s.overwrite(ctx); err != nil {
		return fmt.Errorf("complete erasures: %w", err)
	}
	for _, subject := range l.orphaned {
		if err := s.traits.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("purge %s: %w", subject, err)
		}
	}
	return nil
}

// follow reads the stream until the context ends.
func (s *Store) follow(ctx context.Context, f *follower) {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		before := f.position
		err := s.read(ctx, f)
		if ctx.Err() != nil {
			return
		}
		if f.position > before {
			retry = firstRetry
		}
		s.log.Warn("identities are not followed, trying again", "stream", f.stream, "position", f.position, "error", err, "after", retry)
		if !pause(ctx, retry, nil) {
			return
		}
	}
}

const (
	// heartbeat is how often NATS says that it is still there; two missed ones
	// make the consumer begin anew. In a cluster a request for messages can get
	// lost on its way to a consumer that was made just now.
	heartbeat = time.Second
	// quiet is when to ask whether there is really nothing new. It must be longer
	// than two heartbeats, which the client counts for each wait anew.
	quiet = 5 * time.Second
)

// read follows the stream from the position on until something fails. An
// ordered consumer begins anew by itself after a gap or a reconnect.
func (s *Store) read(ctx context.Context, f *follower) error {
	consumer, err := s.js.OrderedConsumer(ctx, f.stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   f.position + 1,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer messages.Stop()
	unhook := context.AfterFunc(ctx, messages.Stop)
	defer unhook()
	if consumer.CachedInfo().NumPending == 0 {
		f.hasLoaded()
	}
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(quiet))
		if errors.Is(err, nats.ErrTimeout) {
			if err = f.whileQuiet(ctx, consumer); err == nil {
				s.tryOverwrite(ctx)
				continue
			}
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := f.apply(ctx, msg, meta, f.loading); err != nil {
			return fmt.Errorf("apply %s: %w", msg.Subject(), err)
		}
		f.position = meta.Sequence.Stream
		f.consumer, f.received, f.missing = meta.Consumer, meta.Sequence.Consumer, 0
		if meta.NumPending == 0 {
			f.hasLoaded()
		}
	}
}

// whileQuiet finds out what the silence means. A gap shows itself when the next
// message comes, but the last message before a silence can be lost as well; and
// while loading, what was still to come may have been deleted.
func (f *follower) whileQuiet(ctx context.Context, consumer jetstream.Consumer) error {
	info, err := consumer.Info(ctx)
	if err != nil || info.NumPending > 0 {
		return nil // missing heartbeats will tell
	}
	received := uint64(0)
	if info.Name == f.consumer {
		received = f.received
	}
	sent := info.Delivered.Consumer
	switch {
	case sent == received:
		f.hasLoaded()
	case sent == f.missing: // also last time, so it is not on its way
		return fmt.Errorf("NATS sent %d messages, and %d came", sent, received)
	default:
		f.missing = sent
	}
	return nil
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
func (s *Store) applyPersons(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, l *loading) error {
	subject, position := msg.Subject(), meta.Sequence.Stream
	var err error
	if token, ok := strings.CutPrefix(subject, erasedPrefix); ok {
		err = s.applyErased(s.environments.get(Environment(token)), msg.Data(), l)
	} else {
		token, bucket := split(strings.TrimPrefix(subject, personPrefix))
		e := s.environments.get(token)
		if b, err := strconv.ParseUint(bucket, 16, 16); err == nil {
			e.tails.raise(int(b), position)
		}
		err = s.applyPerson(ctx, e, subject, position, msg.Data())
		if l != nil && errors.Is(err, errNoPepper) {
			l.locked[e] = true
			err = nil
		}
	}
	if errors.Is(err, errUnreadable) || errors.Is(err, errNoPepper) {
		s.passOver(subject, err) // reading it again would not help
		err = nil
	}
	if err != nil {
		return err
	}
	s.applied.advance(position)
	if l == nil {
		s.tryOverwrite(ctx)
	}
	return nil
}

// tryOverwrite overwrites what is owed. Whoever erased the person does it too,
// but that process may be gone.
func (s *Store) tryOverwrite(ctx context.Context) {
	if !s.owes() {
		return
	}
	if err := s.overwrite(ctx); err != nil {
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
			l.dropped = append(l.dropped, e)
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
func (s *Store) applyTraitsOf(_ context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, l *loading) error {
	subject := msg.Subject()
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
		case l != nil && meta.Timestamp.Before(l.began.Add(-clockMargin)):
			// The person was stored before this record, and so before persons
			// were read: it is not there any more.
			l.orphaned = append(l.orphaned, subject)
			return nil
		}
		s.strays.add(surrogate)
		if e.bySurrogate(surrogate) == nil || !s.strays.remove(surrogate) {
			return nil // whoever brings the person fetches the traits
		}
	}
	s.applyTraits(e, surrogate, meta.Sequence.Stream, subject, msg.Data())
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
