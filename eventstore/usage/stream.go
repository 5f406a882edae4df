package usage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

const (
	// Stream is the name of the stream of counts.
	Stream = "FLAGLEDGER_USAGE"

	subjectPrefix = "flagledger.usage."

	// requestTimeout bounds one request to NATS.
	requestTimeout = 5 * time.Second
	// lastWords is how long the end of a process may wait for its last writing.
	lastWords = 2 * time.Second
)

// streamConfig is the stream as it is created. One that exists is used as it
// is: an operator may keep less, or purge it.
func streamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              Stream,
		Description:       "How often flags were evaluated, by hour. Not part of the log; may be deleted.",
		Subjects:          []string{subjectPrefix + "*.*"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Compression:       jetstream.S2Compression,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		MaxAge:            Retention,
	}
}

// Run follows the stream and writes to it what is counted, until ctx is done;
// then it writes a last time. What fails is tried again.
func (s *Store) Run(ctx context.Context, js jetstream.JetStream, replicas int) {
	stream := s.open(ctx, js, replicas)
	if stream == nil {
		return
	}
	s.mu.Lock()
	s.js = js
	s.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() {
		streams.Persist(ctx, s.Logger, "follow the usage of flags", s.Position, func() error { return s.follow(ctx, stream) })
	})
	s.write(ctx)
	running.Wait()
}

// open returns the stream, nil when ctx is done.
func (s *Store) open(ctx context.Context, js jetstream.JetStream, replicas int) (stream jetstream.Stream) {
	streams.Persist(ctx, s.Logger, "open the stream of usage", s.Position, func() (err error) {
		stream, err = streams.Open(ctx, js, streamConfig(replicas))
		return err
	})
	return stream
}

// write writes at each interval, and at the end.
func (s *Store) write(ctx context.Context) {
	ticker := time.NewTicker(s.Interval)
	defer ticker.Stop()
	failing := false
	flush := func(ctx context.Context) {
		err := s.Flush(ctx)
		if err != nil && !failing {
			s.Logger.Warn("usage of flags is kept in memory until it can be written", "error", err)
		}
		failing = err != nil
	}
	for {
		select {
		case <-ticker.C:
			flush(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			flush(ctx)
			return
		}
	}
}

// Flush writes what has been counted. Without an error, everything counted
// before is in the stream.
func (s *Store) Flush(ctx context.Context) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.collect()
	s.mu.Lock()
	js, changed := s.js, make([]*part, 0, 1)
	for _, p := range s.parts {
		if p.changed {
			changed = append(changed, p)
		}
	}
	s.mu.Unlock()
	if js == nil {
		return errors.New("write usage: the stream has not been reached yet")
	}
	for _, p := range changed {
		if err := s.publish(ctx, js, p); err != nil {
			s.failures.Add(1)
			return fmt.Errorf("write part %d of usage: %w", p.number, err)
		}
		s.batches.Add(1)
	}
	s.mu.Lock()
	s.forget()
	s.mu.Unlock()
	return nil
}

// message is what is written of a part.
type message struct {
	Hour   time.Time `json:"hour"`
	Counts []*row    `json:"counts"`
}

func (s *Store) publish(ctx context.Context, js jetstream.JetStream, p *part) error {
	s.mu.Lock()
	payload, err := json.Marshal(message{p.hour.start(), p.rows})
	p.changed = false
	s.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err = js.Publish(ctx, subjectPrefix+s.process.String()+"."+strconv.FormatUint(uint64(p.number), 10), payload); err != nil {
		s.mu.Lock()
		p.changed = true
		s.mu.Unlock()
	}
	return err
}

// written is a part as it was read from the stream.
type written struct {
	message
	process uuid.UUID
	number  uint32
}

func decode(subject string, payload []byte) (w written, err error) {
	process, number, _ := strings.Cut(strings.TrimPrefix(subject, subjectPrefix), ".")
	if w.process, err = uuid.Parse(process); err != nil {
		return w, err
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return w, err
	}
	w.number = uint32(n)
	if err := json.Unmarshal(payload, &w.message); err != nil {
		return w, err
	}
	for i, r := range w.Counts {
		if r == nil || strings.ContainsRune(r.Project+r.Feature+string(r.Source)+r.Outcome+r.Variant, 0) {
			return w, fmt.Errorf("count %d is malformed", i)
		}
	}
	return w, nil
}

// batchLimit is how many messages share a transaction while catching up.
const batchLimit = 100

// follow brings what is in the stream into the file, until something fails. It
// never returns nil.
func (s *Store) follow(ctx context.Context, stream jetstream.Stream) error {
	return streams.Follow(ctx, stream, s.file, batchLimit, math.MaxInt, func(batch []written, msg streams.Message) []written {
		w, err := decode(msg.Subject, msg.Data)
		if err != nil {
			s.unreadable.Add(1)
			s.Logger.Error("a message of usage cannot be read, and is passed over", "subject", msg.Subject, "position", msg.Position, "error", err)
			return batch
		}
		return append(batch, w)
	}, s.keep)
}
