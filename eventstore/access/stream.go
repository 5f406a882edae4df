package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

const (
	// Stream is the name of the stream of records.
	Stream = "FLAGLEDGER_ACCESS"

	subject = "flagledger.access"

	// maxMessage is how many bytes of records share a message, unless it is one.
	maxMessage = 256 << 10

	// requestTimeout bounds one request to NATS.
	requestTimeout = 5 * time.Second
	// lastWords is how long the end of a process may wait for its last writing.
	lastWords = 2 * time.Second
)

// Run follows the stream and writes to it what is recorded, until ctx is done;
// then it writes a last time. What fails is tried again.
func (s *Store) Run(ctx context.Context, js jetstream.JetStream, replicas int) {
	var stream jetstream.Stream
	streams.Persist(ctx, s.Logger, "open the stream of accesses", s.progress, func() (err error) {
		stream, err = s.open(ctx, js, replicas)
		return err
	})
	if stream == nil {
		return
	}
	s.mu.Lock()
	s.js = js
	s.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() {
		streams.Persist(ctx, s.Logger, "follow the accesses", s.progress, func() error { return s.follow(ctx, stream) })
	})
	s.write(ctx)
	running.Wait()
}

// open returns the stream. Of one that exists only the retention is made what
// it is to be: the rest is the operator's.
func (s *Store) open(ctx context.Context, js jetstream.JetStream, replicas int) (jetstream.Stream, error) {
	stream, err := streams.Open(ctx, js, jetstream.StreamConfig{
		Name:        Stream,
		Description: "Who looked at rules of segments and data of identities. Not part of the log.",
		Subjects:    []string{subject},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		Replicas:    replicas,
		MaxAge:      s.Retention,
		DenyDelete:  true,
		DenyPurge:   true,
	})
	if err != nil {
		return nil, err
	}
	config := stream.CachedInfo().Config
	if config.MaxAge == s.Retention {
		return stream, nil
	}
	config.MaxAge = s.Retention
	return streams.Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.UpdateStream(ctx, config) })
}

// progress changes whenever records were written or read.
func (s *Store) progress() uint64 { return s.Position() + s.written.Load() }

// write writes whenever there is something, and at the end. What comes while it
// writes is written together after it.
func (s *Store) write(ctx context.Context) {
	for {
		select {
		case <-s.wake:
			streams.Persist(ctx, s.Logger, "write accesses", s.progress, func() error { return s.Flush(ctx) })
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if err := s.Flush(ctx); err != nil {
				s.Logger.Warn("write the last accesses", "error", err)
			}
			return
		}
	}
}

// Flush writes what is in the queue. Without an error, everything recorded
// before is in the stream.
func (s *Store) Flush(ctx context.Context) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	for {
		s.mu.Lock()
		js, waiting := s.js, s.queue
		s.mu.Unlock()
		if len(waiting) == 0 {
			return nil
		}
		if js == nil {
			return errors.New("write accesses: the stream has not been reached yet")
		}
		payload, n, err := encode(waiting)
		if err != nil {
			return err
		}
		if err := publish(ctx, js, payload); err != nil {
			s.failures.Add(1)
			return fmt.Errorf("write %d accesses: %w", n, err)
		}
		s.written.Add(uint64(n))
		s.mu.Lock()
		for _, r := range s.queue[:n] {
			s.queued -= len(r.Objects)
		}
		clear(s.queue[:n]) // what they held can go before the array does
		if s.queue = s.queue[n:]; len(s.queue) == 0 {
			s.queue = nil
		}
		s.mu.Unlock()
	}
}

func publish(ctx context.Context, js jetstream.JetStream, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := js.Publish(ctx, subject, payload)
	return err
}

// encode makes the message of the first n records: a JSON array.
func encode(records []Record) (payload []byte, n int, err error) {
	payload = []byte{'['}
	for _, r := range records {
		one, err := json.Marshal(r)
		if err != nil {
			return nil, 0, fmt.Errorf("encode access %s: %w", r.ID, err)
		}
		if n > 0 {
			if len(payload)+len(one) > maxMessage {
				break
			}
			payload = append(payload, ',')
		}
		payload = append(payload, one...)
		n++
	}
	return append(payload, ']'), n, nil
}

// decode reads a message.
func decode(payload []byte) ([]Record, error) {
	var records []Record
	if err := json.Unmarshal(payload, &records); err != nil {
		return nil, err
	}
	for i, r := range records {
		if _, err := uuid.Parse(r.ID); err != nil {
			return nil, fmt.Errorf("id of access %d: %w", i, err)
		}
	}
	return records, nil
}

// batchLimit and batchBytes are how many messages share a transaction while
// catching up. Into a large one bbolt inserts slowly.
const batchLimit, batchBytes = 100, maxMessage

// follow brings what is in the stream into the file, until something fails. It
// never returns nil.
func (s *Store) follow(ctx context.Context, stream jetstream.Stream) error {
	return streams.Follow(ctx, stream, s.file, batchLimit, batchBytes, func(records []Record, msg streams.Message) []Record {
		read, err := decode(msg.Data)
		if err != nil {
			s.unreadable.Add(1)
			s.Logger.Error("a message of accesses cannot be read, and is passed over", "position", msg.Position, "error", err)
		}
		return append(records, read...)
	}, s.keep)
}
