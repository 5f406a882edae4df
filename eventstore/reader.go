package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A reader gives the messages of the log one by one, each once and in order,
// over lost connections and lost consumers: whatever goes wrong, it begins
// again behind what it gave last. It belongs to one goroutine.
type reader struct {
	store *Store
	next  uint64 // the position to give next
	pause backoff

	// The consumer at work, if any. It is of the plain kind with no state worth
	// keeping: one server, in memory, no acknowledgements.
	consumer  string
	messages  jetstream.MessagesContext // nil: no consumer
	delivered uint64                    // by this consumer
	short     int                       // how often in a row the log seemed to end too early
}

func (s *Store) readFrom(position uint64) *reader {
	return &reader{store: s, next: position, pause: backoff{first: 10 * time.Millisecond, limit: 5 * time.Second}}
}

// read waits for the next message. pending is how many more the log had when
// it was sent. An error is final: ctx's, or a *HistoryError.
func (r *reader) read(ctx context.Context) (m Message, pending uint64, err error) {
	for {
		m, pending, err = r.attempt(ctx)
		if err == nil {
			if r.pause.next > 0 {
				r.store.log.Info("reading the log again", "position", m.Position)
			}
			r.pause.reset()
			return m, pending, nil
		}
		r.close()
		if _, final := errors.AsType[*HistoryError](err); final {
			return Message{}, 0, err
		}
		if r.pause.next == 0 && ctx.Err() == nil {
			r.store.log.Warn("reading the log was interrupted, trying again", "position", r.next, "error", err)
		}
		if err := r.pause.wait(ctx); err != nil {
			return Message{}, 0, fmt.Errorf("read position %d: %w", r.next, err)
		}
	}
}

// errLost says that the consumer sent something that did not arrive.
var errLost = errors.New("delivery lost")

func (r *reader) attempt(ctx context.Context) (Message, uint64, error) {
	if r.messages == nil {
		if err := r.open(ctx); err != nil {
			return Message{}, 0, err
		}
	}
	msg, err := r.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return Message{}, 0, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return Message{}, 0, err
	}
	if meta.Sequence.Consumer != r.delivered+1 {
		return Message{}, 0, errLost
	}
	if meta.Sequence.Stream != r.next {
		return Message{}, 0, &HistoryError{Position: r.next, Found: meta.Sequence.Stream}
	}
	r.delivered++
	r.next++
	return Message{
		Position: meta.Sequence.Stream, Subject: msg.Subject(), Header: msg.Headers(),
		Payload: msg.Data(), RecordedAt: meta.Timestamp.UTC(),
	}, meta.NumPending, nil
}

// open starts a consumer at the next position.
func (r *reader) open(ctx context.Context) error {
	if err := r.checkEnd(ctx); err != nil {
		return err
	}
	consumer, err := r.store.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 5 * time.Minute, // should nobody be left to delete it
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	r.consumer, r.delivered = consumer.CachedInfo().Name, 0
	r.messages, err = consumer.Messages(
		// Read ahead, but not so much that a server takes us for a slow consumer:
		// at most two of the largest commits in one request.
		jetstream.PullMaxMessagesWithBytesLimit(256, 2*MaxPayload),
		// A consumer that died with its server is noticed after two heartbeats,
		// sooner than who waits for his own write gives up.
		jetstream.PullHeartbeat(500*time.Millisecond),
	)
	if err != nil {
		return fmt.Errorf("start consumer: %w", err)
	}
	return nil
}

// checkEnd makes sure that the log has not lost what was read from it before:
// a consumer would wait silently for a position that comes again with other
// content. A new leader of a cluster may lag for a moment, hence the patience.
func (r *reader) checkEnd(ctx context.Context) error {
	const patience = 10 // attempts, some ten seconds
	end, err := r.store.LastPosition(ctx)
	if err != nil {
		return err
	}
	if r.next <= end+1 {
		r.short = 0
		return nil
	}
	r.short++
	if r.store.embedded != nil || r.short > patience {
		return &HistoryError{Position: r.next, Found: end}
	}
	return fmt.Errorf("the log ends at position %d", end)
}

// close ends the consumer. The next read starts a new one.
func (r *reader) close() {
	if r.messages != nil {
		r.messages.Stop()
		r.messages = nil
	}
	if r.consumer == "" {
		return
	}
	// Only to leave nothing behind; where it fails the server deletes it in time.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.store.stream.DeleteConsumer(ctx, r.consumer)
	r.consumer = ""
}
