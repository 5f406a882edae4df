package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
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
	// step is how long to wait for a consumer before messages are got one by one.
	step = 200 * time.Millisecond

	// A request for messages asks for so many bytes, more than any message has, but
	// not so many that a server takes us for a slow consumer; the next is made when
	// few messages are left of it.
	readAheadBytes = 10 << 20
	fewLeft        = 16
	// readAhead is more messages than that can be: the client makes room for as many,
	// and what tells it that a request is fulfilled, which needs room too, would find
	// none if there were as many. A server counts the subject of a message and what
	// it can be acknowledged with, together at least leastBytes.
	readAhead  = readAheadBytes / leastBytes
	leastBytes = 84
)

// A Message is one of a stream.
type Message struct {
	Position uint64 // in the stream
	Subject  string
	Header   nats.Header
	Data     []byte
	Time     time.Time // when the stream took it
	Pending  uint64    // 0: it was the last when it was sent; otherwise at least one came behind it
}

// A Reader gives the messages of a stream one by one, in their order, without
// leaving out one that is there. It belongs to one goroutine.
//
// It is a consumer of the plain kind with no state worth keeping: on one server,
// in memory, without acknowledgements. To make one takes the leader of the whole
// cluster. Where that one is lost the stream may well have a leader, and take
// writes that somebody waits to see; so until there is a consumer the messages
// are asked for one by one.
type Reader struct {
	stream jetstream.Stream
	behind uint64 // position of the last message

	opening   chan opened // brings the consumer, once
	giveUp    context.CancelFunc
	stepping  bool    // the last message was got by itself
	ahead     Message // the one behind it, if any
	consumer  jetstream.Consumer
	messages  jetstream.MessagesContext // nil: there is no consumer yet
	delivered uint64                    // messages that came from it
	doubtful  bool                      // after the last silence the server thought that more should have come
	failed    bool
}

type opened struct {
	consumer jetstream.Consumer
	err      error
}

var (
	// ErrQuiet says that there is no message now.
	ErrQuiet = errors.New("no message in the stream")
	errLost  = errors.New("delivery lost")
)

// Read starts to read behind the position, 0 for the beginning of the stream.
func Read(stream jetstream.Stream, behind uint64) *Reader {
	ctx, giveUp := context.WithCancel(context.Background())
	r := &Reader{stream: stream, behind: behind, opening: make(chan opened, 1), giveUp: giveUp}
	go func() {
		defer close(r.opening)
		consumer, err := AskOn(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
			return stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
				DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
				OptStartSeq:       behind + 1,
				AckPolicy:         jetstream.AckNonePolicy,
				MemoryStorage:     true,
				Replicas:          1,
				InactiveThreshold: time.Minute, // should nobody be left to delete it
			})
		})
		r.opening <- opened{consumer, err}
	}()
	return r
}

// Next waits for the next message. [ErrQuiet] comes once there is none, and then
// every few seconds; after it, and after the end of ctx, the Reader can be used
// on. Any other error is its end.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	m, err := r.next(ctx)
	r.failed = err != nil && !errors.Is(err, ErrQuiet) && ctx.Err() == nil
	if err == nil {
		r.behind = m.Position
	}
	return m, err
}

func (r *Reader) next(ctx context.Context) (Message, error) {
	for r.messages == nil {
		wait := step
		if r.stepping {
			wait = 0
		}
		select {
		case o := <-r.opening:
			if err := r.open(o); err != nil {
				return Message{}, err
			}
			if o.consumer.CachedInfo().NumPending == 0 {
				return Message{}, ErrQuiet
			}
		case <-time.After(wait):
			m, err := r.get(ctx)
			r.stepping = err == nil
			if err == nil || errors.Is(err, ErrQuiet) {
				return m, err
			}
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
	for {
		m, err := r.receive(ctx)
		if err != nil || m.Position > r.behind {
			return m, err
		}
	}
}

// get asks for the next message by itself, and for the one behind it, to know
// whether there is one.
func (r *Reader) get(ctx context.Context) (m Message, err error) {
	if r.ahead.Position > r.behind {
		m = r.ahead
	} else if m, err = r.ask(ctx, r.behind+1); err != nil {
		return Message{}, err
	}
	r.ahead, err = r.ask(ctx, m.Position+1)
	switch {
	case err == nil:
		m.Pending = 1
	case !errors.Is(err, ErrQuiet):
		return Message{}, err
	}
	return m, nil
}

// ask returns the message at the position, or the first after it.
func (r *Reader) ask(ctx context.Context, position uint64) (Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	msg, err := r.stream.GetMsg(ctx, position, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, ErrQuiet
	}
	if err != nil {
		return Message{}, err
	}
	return Message{Position: msg.Sequence, Subject: msg.Subject, Header: msg.Header, Data: msg.Data, Time: msg.Time}, nil
}

func (r *Reader) open(o opened) error {
	if o.err != nil {
		return fmt.Errorf("create consumer: %w", o.err)
	}
	messages, err := o.consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes),
		jetstream.PullThresholdMessages(fewLeft),
		jetstream.PullHeartbeat(heartbeat),
	)
	if err != nil {
		return fmt.Errorf("start consumer: %w", err)
	}
	r.consumer, r.messages = o.consumer, messages
	return nil
}

// receive waits for what the consumer sends.
func (r *Reader) receive(ctx context.Context) (Message, error) {
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
		return Message{meta.Sequence.Stream, msg.Subject(), msg.Headers(), msg.Data(), meta.Timestamp, meta.NumPending}, nil
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
	r.giveUp()
	if r.messages == nil {
		r.consumer = (<-r.opening).consumer
	} else {
		r.messages.Stop()
	}
	if r.failed || r.consumer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.stream.DeleteConsumer(ctx, r.consumer.CachedInfo().Name) // the server does it in time
}
