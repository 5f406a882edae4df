package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"flagledger/domain"
)

// A Subscriber feeds the log to a watermill router, for readers that keep their
// own position: views that store it in the transaction that applies the commit.
//
// It gives the first message behind the checkpoint, and each next one only after
// the one before was acknowledged. That does not make the reader's work durable:
// a reader may gather many acknowledged messages into one transaction. On a
// negative acknowledgement the Subscriber therefore asks for the checkpoint again
// and begins anew behind it, a little later each time.
//
// Every position of the log is delivered, whatever its subject. If one is
// missing, or the log ends before the checkpoint, the channel is closed and Err
// says why.
type Subscriber struct {
	store      *Store
	checkpoint func() uint64

	closing context.Context // ends with Close
	close   context.CancelFunc

	mu      sync.Mutex // guards err, and starting against waiting
	err     error
	running sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

// Subscriber returns a subscriber to the whole log that begins behind the
// position that checkpoint returns, 0 for the beginning of the log. Checkpoint
// is called at the start and after each negative acknowledgement.
func (s *Store) Subscriber(checkpoint func() uint64) *Subscriber {
	sub := &Subscriber{store: s, checkpoint: checkpoint}
	sub.closing, sub.close = context.WithCancel(context.Background())
	return sub
}

// Subscribe starts the delivery, until ctx ends or the Subscriber is closed.
// The only topic is Subjects: one that left out positions could not tell a
// missing one from one that is not for it.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if topic != Subjects {
		return nil, fmt.Errorf("subscribe to %q: the log is read as a whole, as %q", topic, Subjects)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return nil, errors.New("subscribe: the subscriber is closed")
	}
	out := make(chan *message.Message)
	s.running.Go(func() {
		defer close(out)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(s.closing, stop)()
		if err := s.run(ctx, out); ctx.Err() == nil {
			s.store.log.Error("reading the log ended", "error", err)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	})
	return out, nil
}

// errNacked says that a message was not processed.
var errNacked = errors.New("message was not acknowledged")

// run delivers until ctx ends or history turns out to be broken.
func (s *Subscriber) run(ctx context.Context, out chan<- *message.Message) error {
	pause := backoff{first: 10 * time.Millisecond, limit: 5 * time.Second}
	furthest := uint64(0) // how far it came so far
	for {
		r := s.store.readFrom(s.checkpoint() + 1)
		last, err := s.deliver(ctx, r, out)
		r.close()
		if !errors.Is(err, errNacked) {
			return err
		}
		if last > furthest {
			furthest = last
			pause.reset()
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// decodeAhead is how many commits are read and decoded while others are still
// being processed. Each may have the size of a message.
const decodeAhead = 16

// A delivery is a message with the commit that stands in it, if it can be read.
type delivery struct {
	position, pending uint64
	message           *message.Message
	commit            domain.Recorded
	err               error
}

type deliveryKey struct{}

// deliver passes on what the reader gives until a message is refused. It
// returns the position of the last message that it handed over.
func (s *Subscriber) deliver(ctx context.Context, r *reader, out chan<- *message.Message) (last uint64, err error) {
	ahead := make(chan *delivery, decodeAhead)
	ctx, stop := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	var end error // of reading, once ahead is closed
	reading.Go(func() {
		defer close(ahead)
		for {
			m, pending, err := r.read(ctx)
			if err != nil {
				end = err
				return
			}
			d := &delivery{position: m.Position, pending: pending, message: wrap(m)}
			d.commit, d.err = Decode(d.message)
			select {
			case ahead <- d:
			case <-ctx.Done():
				end = ctx.Err()
				return
			}
		}
	})
	for d := range ahead {
		last = d.position
		if err := hand(ctx, out, d, max(d.pending, uint64(len(ahead)))); err != nil {
			return last, err
		}
	}
	return last, end
}

// hand gives a message to the reader and waits for its answer. pending is how
// many are known to follow.
func hand(ctx context.Context, out chan<- *message.Message, d *delivery, pending uint64) error {
	own, done := context.WithCancel(ctx) // watermill's contract: over when the message is answered
	defer done()
	m := d.message
	m.Metadata[MetaPending] = strconv.FormatUint(pending, 10)
	m.SetContext(context.WithValue(own, deliveryKey{}, d))
	select {
	case out <- m:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.Acked():
		return nil
	case <-m.Nacked():
		return errNacked
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all subscriptions and waits for them. A message being processed
// then sees its context end; its answer does not matter any more.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// Err says, once the channel is closed, why the delivery ended by itself: a
// *HistoryError, or nil if it was asked to end.
func (s *Subscriber) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
