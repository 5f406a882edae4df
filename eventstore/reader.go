package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flagledger/eventstore/streams"
)

// A reader gives the messages of the log one by one, each once and in order,
// over lost connections and lost consumers: whatever goes wrong, it begins
// again behind what it gave last. It belongs to one goroutine.
type reader struct {
	store *Store
	next  uint64 // the position to give next
	pause backoff

	stream *streams.Reader // nil: to be opened
	short  int             // how often in a row the log seemed to end too early
}

func (s *Store) readFrom(position uint64) *reader {
	return &reader{store: s, next: position, pause: backoff{first: 10 * time.Millisecond, limit: time.Second}}
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

func (r *reader) attempt(ctx context.Context) (Message, uint64, error) {
	if r.stream == nil {
		if err := r.checkEnd(ctx); err != nil {
			return Message{}, 0, err
		}
		r.stream = streams.Read(r.store.stream, r.next-1)
	}
	msg, err := r.stream.Next(ctx)
	for errors.Is(err, streams.ErrQuiet) {
		msg, err = r.stream.Next(ctx)
	}
	if err != nil {
		return Message{}, 0, err
	}
	if msg.Position != r.next {
		return Message{}, 0, &HistoryError{Position: r.next, Found: msg.Position}
	}
	r.next++
	return Message{
		Position: msg.Position, Subject: msg.Subject, Header: msg.Header, Payload: msg.Data, RecordedAt: msg.Time.UTC(),
	}, msg.Pending, nil
}

// checkEnd makes sure that the log has not lost what was read from it before:
// a consumer would wait silently for a position that comes again with other
// content. A new leader of a cluster may lag for a moment, hence the patience.
func (r *reader) checkEnd(ctx context.Context) error {
	const patience = 16 // attempts, some ten seconds
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

// close lets go of the server. The next read asks it anew.
func (r *reader) close() {
	if r.stream != nil {
		r.stream.Close()
		r.stream = nil
	}
}
