package identities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

const (
	// batchMessages and batchBytes bound one atomic batch; NATS allows 1000 messages.
	batchMessages = 1000
	batchBytes    = 4 << 20
	// fewMessages are cheaper one by one: a batch is staged in a directory of
	// its own, which costs some syncs.
	fewMessages = 8
	// publishTimeout bounds one request to NATS, and oneTimeout one that stores a
	// single message: where the answer was lost with a leader, the next is asked.
	publishTimeout = 5 * time.Second
	oneTimeout     = 2 * time.Second
)

// anySequence expects nothing.
const anySequence = math.MaxUint64

// A message is one to store, and what came of it.
type message struct {
	subject string
	payload []byte
	expect  uint64 // sequence of the last message on the subject; 0: there is none; or anySequence

	sequence uint64 // where it is stored; 0: it is not, or nobody knows
	conflict bool   // expect does not hold
}

// publish stores the messages, as many as possible by one sync of the disk. It
// returns an error when it is not known what came of some.
//
// An atomic batch is refused whole when the expectation of one of its messages
// does not hold, without saying of which; so it is tried again in halves.
func (s *Store) publish(ctx context.Context, messages []*message) error {
	if !s.js.Conn().IsConnected() {
		return errors.New("not connected to NATS") // or the client would keep it and send it much later
	}
	if len(messages) <= fewMessages {
		for _, m := range messages {
			if err := s.publishOne(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}
	bytes := 0
	for _, m := range messages {
		bytes += len(m.payload)
	}
	if len(messages) <= batchMessages && bytes <= batchBytes {
		if err := s.publishBatch(ctx, messages); !isConflict(err) {
			return err
		}
	}
	half := len(messages) / 2
	if err := s.publish(ctx, messages[:half]); err != nil {
		return err
	}
	return s.publish(ctx, messages[half:])
}

func (s *Store) publishOne(ctx context.Context, m *message) error {
	ctx, cancel := context.WithTimeout(ctx, oneTimeout)
	defer cancel()
	var options []jetstream.PublishOpt
	if m.expect != anySequence {
		options = append(options, jetstream.WithExpectLastSequencePerSubject(m.expect))
	}
	ack, err := s.js.Publish(ctx, m.subject, m.payload, options...)
	switch {
	case isConflict(err):
		m.conflict = true
	case err != nil:
		return fmt.Errorf("publish to %s: %w", m.subject, err)
	default:
		m.sequence = ack.Sequence
	}
	return nil
}

// publishBatch stores the messages all or none, with one sync (ADR-50 of NATS;
// the client library has no call for it yet).
func (s *Store) publishBatch(ctx context.Context, messages []*message) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	id := uuid.NewString()
	for i, m := range messages {
		msg := &nats.Msg{Subject: m.subject, Data: m.payload, Header: nats.Header{
			"Nats-Batch-Id":       {id},
			"Nats-Batch-Sequence": {strconv.Itoa(i + 1)},
		}}
		if m.expect != anySequence {
			msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(m.expect, 10))
		}
		if i < len(messages)-1 {
			if err := s.js.Conn().PublishMsg(msg); err != nil {
				return fmt.Errorf("publish a batch to %s: %w", m.subject, err)
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		reply, err := s.js.Conn().RequestMsgWithContext(ctx, msg)
		if err != nil {
			return fmt.Errorf("commit a batch of %d: %w", len(messages), err)
		}
		var ack struct {
			Error    *jetstream.APIError `json:"error"`
			Sequence uint64              `json:"seq"` // of the last
			Count    int                 `json:"count"`
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil {
			return fmt.Errorf("commit a batch of %d: %w", len(messages), err)
		}
		if ack.Error != nil {
			return fmt.Errorf("commit a batch of %d: %w", len(messages), ack.Error)
		}
		if ack.Count != len(messages) {
			return fmt.Errorf("commit a batch of %d: NATS stored %d", len(messages), ack.Count)
		}
		for j, m := range messages {
			m.sequence = ack.Sequence - uint64(len(messages)-1-j)
		}
	}
	return nil
}

// isConflict tells whether an expected sequence did not hold. Replicated streams
// have an error code of their own for it.
func isConflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// last returns the last message of a subject, nil when there is none.
func last(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := streams.Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(ctx, subject)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	return msg, nil
}
