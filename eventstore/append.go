package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
)

const (
	// tryTimeout bounds one attempt, so that an answer lost with a leader of the
	// cluster leaves time to ask the next one.
	tryTimeout = 2 * time.Second
	// lookTimeout bounds one look at the log for our own commit.
	lookTimeout = 2 * time.Second
)

// Append records the commit as the next one of its project and returns its
// position. expected is the position of the project's last commit that the
// change was decided on, 0 for none.
//
// It tries until AppendTimeout is over or ctx ends, and returns a
// *ConflictError, *TooLargeError, *UnavailableError, *UnknownOutcomeError, or a
// plain error for what will never be taken. Only after *UnknownOutcomeError may
// the commit be recorded.
//
// A commit id is recorded once: appending the same commit with the same
// expectation again returns the position it has.
func (s *Store) Append(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	msg, err := encode(c)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append commit %s: %w", c.ID, err)
	}
	if s.nats.IsClosed() {
		return 0, s.failureOf(away, c, expected, nats.ErrConnectionClosed)
	}
	if s.embedded != nil && s.embedded.suspect.Load() {
		if err := s.embedded.health(); err != nil {
			return 0, s.failureOf(away, c, expected, err)
		}
	}
	trying, cancel := context.WithTimeout(ctx, s.appendTimeout)
	defer cancel()

	pause := backoff{first: 2 * time.Millisecond, limit: 500 * time.Millisecond}
	uncertain := false // whether any attempt may have been, or may yet be, recorded
	var failure error
	for {
		position, err := s.try(trying, msg, c.ID, expected)
		if err == nil {
			return position, nil
		}
		result := outcomeOf(err)
		failure = s.failureOf(result, c, expected, err)
		if result == tooLarge || result == full || result == refused {
			break
		}
		if result != away {
			position, err := s.settle(trying, c, expected)
			if err == nil {
				return position, nil
			}
			if conflict, ok := errors.AsType[*ConflictError](err); ok {
				return 0, conflict
			}
			nothingCame := errors.Is(err, jetstream.ErrMsgNotFound)
			uncertain = uncertain || result == unknown || !nothingCame
			if result == stale && !uncertain {
				break // expected never was the last position
			}
		}
		if s.embedded != nil {
			if err := s.embedded.health(); err != nil {
				failure = s.failureOf(away, c, expected, err)
				break
			}
		}
		if pause.wait(trying) != nil {
			break
		}
	}
	if !uncertain {
		return 0, failure
	}
	// One last look, on its own time: the caller's may be over.
	position, err := s.settle(context.WithoutCancel(ctx), c, expected)
	if err == nil {
		return position, nil
	}
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		return 0, conflict
	}
	return 0, &UnknownOutcomeError{CommitID: c.ID, Err: failure}
}

// try makes one attempt.
func (s *Store) try(ctx context.Context, msg *nats.Msg, id string, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	ack, err := s.js.PublishMsg(ctx, msg,
		jetstream.WithExpectStream(Stream),
		jetstream.WithExpectLastSequencePerSubject(expected), // of exactly this subject, never a wildcard
		jetstream.WithMsgID(id),
		jetstream.WithRetryAttempts(0), // Append does that
	)
	if err != nil {
		return 0, err
	}
	if !ack.Duplicate {
		return ack.Sequence, nil
	}
	// The server has seen the id before and dropped the message: well if that was
	// this commit, but ids are remembered for the whole stream.
	first, err := s.Get(ctx, ack.Sequence)
	if err != nil {
		return 0, err
	}
	if first.Subject != msg.Subject {
		return 0, &duplicateError{id: id, position: first.Position, subject: first.Subject}
	}
	return ack.Sequence, nil
}

// settle asks the log itself what became of the commit. With this expectation
// it can only stand right behind it: so the first message on the subject after
// the expected one is ours, or ours can never come, which is a *ConflictError.
// Where none has come yet the error is jetstream.ErrMsgNotFound.
func (s *Store) settle(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	next, err := s.stream.GetMsg(ctx, expected+1, jetstream.WithGetMsgSubject(subjectPrefix+c.Project))
	if err != nil {
		return 0, err
	}
	if next.Header.Get(jetstream.MsgIDHeader) == c.ID {
		return next.Sequence, nil
	}
	last, err := s.Last(ctx, c.Project)
	if err != nil {
		last = next.Sequence
	}
	return 0, &ConflictError{Project: c.Project, Expected: expected, Last: last}
}

// failureOf is the error that Append returns for an attempt whose commit is
// certainly not recorded.
func (s *Store) failureOf(result outcome, c domain.Commit, expected uint64, err error) error {
	doing := "append commit " + c.ID
	switch result {
	case stale, contended:
		return &ConflictError{Project: c.Project, Expected: expected}
	case tooLarge:
		return &TooLargeError{CommitID: c.ID, Limit: s.nats.MaxPayload()}
	case refused:
		return fmt.Errorf("%s: %w", doing, err)
	default:
		return &UnavailableError{Doing: doing, StorageFull: result == full || outOfStorage(err), Err: err}
	}
}
