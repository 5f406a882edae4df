package streams_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
	"flagledger/eventstore/streams"
)

// leaderless is a stream in a cluster without a leader: consumers cannot be made until there is one.
type leaderless struct {
	jetstream.Stream
	elected chan struct{}
}

func (s leaderless) CreateConsumer(ctx context.Context, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	select {
	case <-s.elected:
		return s.Stream.CreateConsumer(ctx, c)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestReadWithoutConsumer: messages come one by one while there is no consumer, and go on with it, each once.
func TestReadWithoutConsumer(t *testing.T) {
	store := storetest.New(t)
	last := uint64(0)
	add := func(n int) {
		t.Helper()
		for range n {
			var err error
			if last, err = store.Append(t.Context(), storetest.Commit("p", "x"), last); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(3)
	found, err := store.JetStream().Stream(t.Context(), eventstore.Stream)
	if err != nil {
		t.Fatal(err)
	}
	stream := leaderless{found, make(chan struct{})}
	r := streams.Read(stream, 0)
	defer r.Close()
	want := func(from, to uint64) {
		t.Helper()
		for position := from; position <= to; {
			m, err := r.Next(t.Context())
			if errors.Is(err, streams.ErrQuiet) {
				continue
			}
			if err != nil || m.Position != position || m.Subject != "flagledger.log.p" || len(m.Data) == 0 || m.Time.IsZero() || position == last && m.Pending > 0 {
				t.Fatalf("position %d, pending %d, %v; want %d", m.Position, m.Pending, err, position)
			}
			position++
		}
	}
	want(1, 3)
	if _, err := r.Next(t.Context()); !errors.Is(err, streams.ErrQuiet) {
		t.Errorf("at the end: %v, want ErrQuiet", err)
	}
	add(1)
	want(4, 4)

	close(stream.elected)
	for consumers := 0; consumers == 0; {
		add(5)
		want(last-4, last)
		info, err := found.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		consumers = info.State.Consumers
	}
	add(20)
	want(last-19, last)
}

// TestAsk: a request that nobody answers is made again, and the first answer counts.
func TestAsk(t *testing.T) {
	var asked atomic.Int32
	got, err := streams.Ask(t.Context(), func(ctx context.Context) (int32, error) {
		n := asked.Add(1)
		if n < 3 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	})
	if got != 3 || err != nil {
		t.Errorf("got %d, %v, want the answer to the third request", got, err)
	}
	refused := errors.New("refused")
	if _, err := streams.Ask(t.Context(), func(context.Context) (int, error) { return 0, refused }); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := streams.Ask(gone, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// TestReadAhead: a client that reads slowly has room for all that a server sends it, however small: nothing is dropped.
func TestReadAhead(t *testing.T) {
	store := storetest.New(t)
	js := store.JetStream()
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	const n = 150_000 // of the smallest; more than fit into one request
	for range n {
		if _, err := js.PublishAsync("s", nil, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	var dropped atomic.Int32
	js.Conn().SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			dropped.Add(1)
		}
	})
	r := streams.Read(stream, 0)
	defer r.Close()
	for position := uint64(1); position <= n; position++ {
		m, err := r.Next(t.Context())
		for errors.Is(err, streams.ErrQuiet) {
			m, err = r.Next(t.Context())
		}
		if err != nil || m.Position != position {
			t.Fatalf("position %d, %v; want %d", m.Position, err, position)
		}
	}
	if n := dropped.Load(); n > 0 {
		t.Errorf("the client had no room %d times", n)
	}
}
