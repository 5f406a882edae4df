package eventstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
	"flagledger/eventstore/streams"
)

// Last returns the position of the project's last commit, 0 if it has none.
func (s *Store) Last(ctx context.Context, project string) (uint64, error) {
	of, err := subject(project)
	if err != nil {
		return 0, err
	}
	msg, err := s.stream.GetLastMsgForSubject(ctx, of)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable(ctx, "read last commit of project "+project, err)
	}
	return msg.Sequence, nil
}

// LastPosition returns the position of the last commit of the log, 0 if it is empty.
func (s *Store) LastPosition(ctx context.Context) (uint64, error) {
	info, err := s.info(ctx)
	if err != nil {
		return 0, unavailable(ctx, "read last position", err)
	}
	return info.State.LastSeq, nil
}

// info asks for the state of the log.
func (s *Store) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	return streams.Ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.stream.Info(ctx) })
}

// Get returns what stands at the position. One that the log has not reached is
// a *domain.Error of kind NotFound.
func (s *Store) Get(ctx context.Context, position uint64) (Message, error) {
	msg, err := s.stream.GetMsg(ctx, position)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, domain.Refuse(domain.NotFound, "the log has no position %d", position)
	}
	if err != nil {
		return Message{}, unavailable(ctx, fmt.Sprintf("read position %d", position), err)
	}
	return Message{
		Position: msg.Sequence, Subject: msg.Subject, Header: msg.Header,
		Payload: msg.Data, RecordedAt: msg.Time.UTC(),
	}, nil
}

// Load calls fn for each message from the position on, in order and without
// gaps, up to what was the end of the log when it was called. It ends early
// when fn returns an error, which it returns; with ctx; or with a
// *HistoryError. While the log cannot be reached it waits.
func (s *Store) Load(ctx context.Context, from uint64, fn func(Message) error) error {
	end, err := s.LastPosition(ctx)
	if err != nil {
		return err
	}
	r := s.readFrom(max(from, 1))
	defer r.close()
	for r.next <= end {
		m, _, err := r.read(ctx)
		if err != nil {
			return err
		}
		if err := fn(m); err != nil {
			return fmt.Errorf("load position %d: %w", m.Position, err)
		}
	}
	return nil
}
