package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// heartbeat is how often a server says that it is still there. After two that
	// did not come its consumer counts as dead: sooner than who waits for his own
	// write gives up. In a cluster that also finds a request for messages that was
	// lost on its way to a consumer made just now.
	heartbeat = 500 * time.Millisecond
	// quiet is after how long without a message the server is asked whether there
	// is none. It must be longer than two heartbeats, which the client counts for
	// each wait anew.
	quiet = 5 * time.Second

	// A request for messages asks for so many, and so many bytes: to read ahead,
	// but not so much that a server takes us for a slow consumer.
	readAhead      = 256
	readAheadBytes = 16 << 20
)

// A Message is one of a stream.
type Message struct {
	jetstream.Msg
	*jetstream.MsgMetadata
}

// Position is that of the message in the stream.
func (m Message) Position() uint64 { return m.Sequence.Stream }

// A Reader gives the messages of a stream one by one, in their order, without
// leaving out one that is there. It belongs to one goroutine.
//
// It is a consumer of the plain kind with no state worth keeping: on one server,
// in memory, without acknowledgements. The ordered consumer of the client
// library begins anew by itself, but pauses up to ten seconds before each
// attempt and waits ten more for an answer, whatever its context says.
type Reader struct {
	stream    jetstream.Stream
	consumer  jetstream.Consumer
	messages  jetstream.MessagesContext
	delivered uint64 // messages that came
	doubtful  bool   // after the last silence the server thought that more should have come
	failed    bool
}

var (
	// ErrQuiet says that there is no message now.
	ErrQuiet = errors.New("no message in the stream")
	errLost  = errors.New("delivery lost")
)

// Read starts to read behind the position, 0 for the beginning of the stream.
func Read(ctx context.Context, stream jetstream.Stream, behind uint64) (*Reader, error) {
	consumer, err := Ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       behind + 1,
			AckPolicy:         jetstream.AckNonePolicy,
			MemoryStorage:     true,
			Replicas:          1,
			InactiveThreshold: time.Minute, // should nobody be left to delete it
		})
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes),
		jetstream.PullHeartbeat(heartbeat),
	)
	if err != nil {
		return nil, fmt.Errorf("start consumer: %w", err)
	}
	return &Reader{stream: stream, consumer: consumer, messages: messages}, nil
}

// Pending is how many messages there were to read at the start.
func (r *Reader) Pending() uint64 { return r.consumer.CachedInfo().NumPending }

// Next waits for the next message. [ErrQuiet] comes every five seconds while
// there is none; after it, and after the end of ctx, the Reader can be used on.
// Any other error is its end.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	m, err := r.next(ctx)
	r.failed = err != nil && !errors.Is(err, ErrQuiet) && ctx.Err() == nil
	return m, err
}

func (r *Reader) next(ctx context.Context) (Message, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, quiet)
		msg, err := r.messages.Next(jetstream.NextContext(waiting))
		silent := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && silent {
			if err = r.silence(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return Message{}, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return Message{}, err
		}
		if meta.Sequence.Consumer != r.delivered+1 {
			return Message{}, errLost
		}
		r.delivered, r.doubtful = r.delivered+1, false
		return Message{msg, meta}, nil
	}
}

// silence finds out what it means. A gap shows itself when the next message
// comes, but the last message before a silence can be lost as well.
func (r *Reader) silence(ctx context.Context) error {
	info, err := Ask(ctx, r.consumer.Info)
	if err != nil {
		return fmt.Errorf("ask why nothing comes: %w", err)
	}
	if info.NumPending == 0 && info.Delivered.Consumer == r.delivered {
		return ErrQuiet
	}
	if r.doubtful {
		return errLost // for seconds: it is not on its way
	}
	r.doubtful = true
	return nil
}

// Close ends the Reader, and the consumer with it. After a failure it does not
// wait for a server that may be away: that one forgets it within a minute.
func (r *Reader) Close() {
	r.messages.Stop()
	if r.failed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.stream.DeleteConsumer(ctx, r.consumer.CachedInfo().Name) // the server does it in time
}
