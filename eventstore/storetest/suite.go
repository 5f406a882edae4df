package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/eventstore"
)

// Run checks what the rest of the program needs of a store, whatever server is
// behind it. open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) *eventstore.Store) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s *eventstore.Store)
	}{
		{"AppendNeedsTheLastPosition", appendNeedsTheLastPosition},
		{"ProjectsDoNotConflict", projectsDoNotConflict},
		{"RetryReturnsTheSamePosition", retryReturnsTheSamePosition},
		{"IDIsUsedOnce", idIsUsedOnce},
		{"RefusedIDMayComeAgain", refusedIDMayComeAgain},
		{"ReadsBackWhatWasAppended", readsBackWhatWasAppended},
		{"EmptyLog", emptyLog},
		{"LargeAndTooLarge", largeAndTooLarge},
		{"BadProject", badProject},
		{"CancelledContext", cancelledContext},
		{"ConcurrentWriters", concurrentWriters},
		{"LoadInOrder", loadInOrder},
		{"SubscriberResumes", subscriberResumes},
		{"SubscriberRewindsToCheckpoint", subscriberRewindsToCheckpoint},
		{"SubscriberSeesNewCommits", subscriberSeesNewCommits},
		{"SubscriberTakesLargeCommits", subscriberTakesLargeCommits},
		{"SubscriberCloses", subscriberCloses},
		{"Health", func(t *testing.T, s *eventstore.Store) { must(t, s.Health(t.Context())) }},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// mustAppend appends and returns the position.
func mustAppend(t testing.TB, s *eventstore.Store, c domain.Commit, expected uint64) uint64 {
	t.Helper()
	position, err := s.Append(t.Context(), c, expected)
	if err != nil {
		t.Fatalf("append after %d: %v", expected, err)
	}
	return position
}

// fill appends n commits to one project.
func fill(t testing.TB, s *eventstore.Store, n int) (ids []string) {
	t.Helper()
	last := uint64(0)
	for i := range n {
		c := Commit("p", fmt.Sprint(i+1))
		last = mustAppend(t, s, c, last)
		ids = append(ids, c.ID)
	}
	return ids
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantConflict checks the error, what it carries, and that the domain can read it.
func wantConflict(t *testing.T, err error, last uint64) {
	t.Helper()
	conflict, ok := errors.AsType[*eventstore.ConflictError](err)
	if !ok {
		t.Fatalf("error %v, want a ConflictError", err)
	}
	if conflict.Last != last {
		t.Errorf("conflict with last position %d, want %d", conflict.Last, last)
	}
	if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.Conflict {
		t.Errorf("%v is not a refusal of kind conflict", err)
	}
}

func appendNeedsTheLastPosition(t *testing.T, s *eventstore.Store) {
	first := mustAppend(t, s, Commit("p", "a"), 0)
	second := mustAppend(t, s, Commit("p", "b"), first)
	if first != 1 || second != 2 {
		t.Fatalf("positions %d, %d, want 1, 2", first, second)
	}
	for _, expected := range []uint64{0, first} {
		_, err := s.Append(t.Context(), Commit("p", "late"), expected)
		wantConflict(t, err, second)
	}
	_, err := s.Append(t.Context(), Commit("p", "early"), second+5)
	wantConflict(t, err, 0)
	last, err := s.Last(t.Context(), "p")
	must(t, err)
	if last != second {
		t.Errorf("last position %d after refused commits, want %d", last, second)
	}
}

func projectsDoNotConflict(t *testing.T, s *eventstore.Store) {
	a := mustAppend(t, s, Commit("a", "1"), 0)
	b := mustAppend(t, s, Commit("b", "1"), 0)
	org := mustAppend(t, s, Commit(domain.OrganisationID, "1"), 0)
	a = mustAppend(t, s, Commit("a", "2"), a)
	for project, want := range map[string]uint64{"a": a, "b": b, domain.OrganisationID: org, "none": 0} {
		last, err := s.Last(t.Context(), project)
		must(t, err)
		if last != want {
			t.Errorf("last position of %s is %d, want %d", project, last, want)
		}
	}
	end, err := s.LastPosition(t.Context())
	must(t, err)
	if end != 4 {
		t.Errorf("last position %d, want 4", end)
	}
}

func retryReturnsTheSamePosition(t *testing.T, s *eventstore.Store) {
	c := Commit("p", "a")
	position := mustAppend(t, s, c, 0)
	if again := mustAppend(t, s, c, 0); again != position {
		t.Errorf("retry returned position %d, want %d", again, position)
	}
	other := mustAppend(t, s, Commit("p", "b"), position)
	if again := mustAppend(t, s, c, 0); again != position {
		t.Errorf("retry after another commit returned position %d, want %d", again, position)
	}
	end, err := s.LastPosition(t.Context())
	must(t, err)
	if end != other {
		t.Errorf("retries recorded something: last position %d, want %d", end, other)
	}
}

func idIsUsedOnce(t *testing.T, s *eventstore.Store) {
	c := Commit("a", "1")
	mustAppend(t, s, c, 0)
	c.Project = "b"
	if position, err := s.Append(t.Context(), c, 0); err == nil {
		t.Errorf("the id of another project's commit was taken, at position %d", position)
	}
	last, err := s.Last(t.Context(), "b")
	must(t, err)
	if last != 0 {
		t.Errorf("last position of b is %d, want none", last)
	}
}

func refusedIDMayComeAgain(t *testing.T, s *eventstore.Store) {
	first := mustAppend(t, s, Commit("p", "a"), 0)
	c := Commit("p", "b")
	_, err := s.Append(t.Context(), c, 0)
	wantConflict(t, err, first)
	if second := mustAppend(t, s, c, first); second != first+1 {
		t.Errorf("decided again, it got position %d, want %d", second, first+1)
	}
}

func readsBackWhatWasAppended(t *testing.T, s *eventstore.Store) {
	c := Commit("p", "näme <&> \u2028")
	position := mustAppend(t, s, c, 0)
	m, err := s.Get(t.Context(), position)
	must(t, err)
	if m.Subject != "flagledger.log.p" || m.Position != position || m.RecordedAt.IsZero() {
		t.Errorf("got position %d on %s at %v", m.Position, m.Subject, m.RecordedAt)
	}
	for name, want := range map[string]string{
		"Nats-Msg-Id": c.ID, "ce-id": c.ID, "ce-specversion": "1.0", "ce-type": "flagledger.commit.v1",
		"ce-source": "/flagledger/projects/p", "ce-datacontenttype": "application/json",
		"ce-correlationid": c.CorrelationID, "ce-causationid": c.CausationID,
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	r, err := m.Decode()
	must(t, err)
	if !reflect.DeepEqual(r.Commit, c) {
		t.Errorf("read back\n%+v\nwant\n%+v", r.Commit, c)
	}
	if r.Position != position || !r.RecordedAt.Equal(m.RecordedAt) || !bytes.Equal(r.Raw, m.Payload) {
		t.Errorf("decoding changed position, time or payload: %+v", r)
	}

	must(t, s.Load(t.Context(), position, func(loaded eventstore.Message) error {
		if !reflect.DeepEqual(loaded, m) {
			t.Errorf("Load gives\n%+v\nGet gives\n%+v", loaded, m)
		}
		return nil
	}))
	w := receive(t, subscribe(t, s, 0))
	r2, err := eventstore.Decode(w)
	must(t, err)
	if !reflect.DeepEqual(r2, r) {
		t.Errorf("the subscriber gives\n%+v\nGet gives\n%+v", r2, r)
	}
	if w.UUID != c.ID || w.Metadata.Get(eventstore.MetaCorrelationID) != c.CorrelationID || w.Metadata.Get("ce-id") != c.ID {
		t.Errorf("message %s with metadata %v", w.UUID, w.Metadata)
	}
}

func emptyLog(t *testing.T, s *eventstore.Store) {
	end, err := s.LastPosition(t.Context())
	must(t, err)
	if end != 0 {
		t.Errorf("last position %d, want 0", end)
	}
	must(t, s.Load(t.Context(), 1, func(m eventstore.Message) error {
		return fmt.Errorf("unexpected position %d", m.Position)
	}))
	_, err = s.Get(t.Context(), 1)
	if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.NotFound {
		t.Errorf("error %v, want a refusal of kind not found", err)
	}
}

func largeAndTooLarge(t *testing.T, s *eventstore.Store) {
	large := Commit("p", strings.Repeat("x", 4<<20))
	position := mustAppend(t, s, large, 0)
	m, err := s.Get(t.Context(), position)
	must(t, err)
	r, err := m.Decode()
	must(t, err)
	if !reflect.DeepEqual(r.Commit, large) {
		t.Error("a large commit does not read back as it was")
	}
	_, err = s.Append(t.Context(), Commit("p", strings.Repeat("x", 9<<20)), position)
	if _, ok := errors.AsType[*eventstore.TooLargeError](err); !ok {
		t.Errorf("error %v, want a TooLargeError", err)
	}
	mustAppend(t, s, Commit("p", "small"), position) // the connection has survived it
}

func badProject(t *testing.T, s *eventstore.Store) {
	for _, project := range []string{"", "a.b", "*", ">", "a b", "a\r\nb"} {
		if _, err := s.Append(t.Context(), Commit(project, "x"), 0); err == nil {
			t.Errorf("a commit of project %q was taken", project)
		}
		if _, err := s.Last(t.Context(), project); err == nil {
			t.Errorf("project %q has a last position", project)
		}
	}
}

func cancelledContext(t *testing.T, s *eventstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Append(ctx, Commit("p", "a"), 0)
	if _, unknown := errors.AsType[*eventstore.UnknownOutcomeError](err); !errors.Is(err, context.Canceled) || unknown {
		t.Errorf("error %v, want context.Canceled and nothing unknown", err)
	}
	if _, err := s.Last(ctx, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("Last: error %v, want context.Canceled", err)
	}
	mustAppend(t, s, Commit("p", "a"), 0)
	if err := s.Load(ctx, 1, func(eventstore.Message) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: error %v, want context.Canceled", err)
	}
}

// concurrentWriters: each writer decides on what it last saw; all commits end up
// in the log once, and each stands behind the one it was decided on.
func concurrentWriters(t *testing.T, s *eventstore.Store) {
	const writers, each = 16, 10
	var mu sync.Mutex
	decidedOn := map[uint64]uint64{} // expected position by position
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			last := uint64(0)
			for range each {
				c := Commit("p", "x")
				for {
					position, err := s.Append(t.Context(), c, last)
					if conflict, ok := errors.AsType[*eventstore.ConflictError](err); ok {
						last = max(last, conflict.Last)
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					decidedOn[position] = last
					mu.Unlock()
					last = position
					break
				}
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for position := range uint64(writers * each) {
		m, err := s.Get(t.Context(), position+1)
		must(t, err)
		ids[m.Header.Get("Nats-Msg-Id")] = true
		if before, ok := decidedOn[position+1]; !ok || before != position {
			t.Errorf("position %d was decided on %d (acknowledged: %v)", position+1, before, ok)
		}
	}
	if len(ids) != writers*each {
		t.Errorf("%d different commits in the log, want %d", len(ids), writers*each)
	}
}

func loadInOrder(t *testing.T, s *eventstore.Store) {
	const n = 700 // more than one request of the reader
	ids := fill(t, s, n)
	var got []string
	next := uint64(1)
	var before eventstore.Message
	must(t, s.Load(t.Context(), 0, func(m eventstore.Message) error {
		if m.Position != next {
			t.Fatalf("position %d, want %d", m.Position, next)
		}
		if m.RecordedAt.Before(before.RecordedAt) {
			t.Errorf("time goes back at position %d", m.Position)
		}
		before = m
		next++
		got = append(got, m.Header.Get("Nats-Msg-Id"))
		return nil
	}))
	if !slices.Equal(got, ids) {
		t.Errorf("loaded %d commits, not the %d appended", len(got), n)
	}

	count := 0
	must(t, s.Load(t.Context(), n-9, func(eventstore.Message) error { count++; return nil }))
	if count != 10 {
		t.Errorf("loaded %d of the last 10", count)
	}
	stop := errors.New("enough")
	count = 0
	err := s.Load(t.Context(), 1, func(eventstore.Message) error { count++; return stop })
	if !errors.Is(err, stop) || count != 1 {
		t.Errorf("error %v after %d calls, want %v after 1", err, count, stop)
	}
}

// subscribe starts a subscription behind the checkpoint.
func subscribe(t testing.TB, s *eventstore.Store, checkpoint uint64) <-chan *message.Message {
	t.Helper()
	return subscribeAt(t, s, func() uint64 { return checkpoint })
}

func subscribeAt(t testing.TB, s *eventstore.Store, checkpoint func() uint64) <-chan *message.Message {
	t.Helper()
	sub := s.Subscriber(checkpoint)
	t.Cleanup(func() {
		if err := sub.Close(); err != nil {
			t.Errorf("close subscriber: %v", err)
		}
	})
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	must(t, err)
	return messages
}

// receive takes the next message, unanswered. A test that gets none hangs until
// its time is over, which names this line.
func receive(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	m, open := <-messages
	if !open {
		t.Fatal("the channel is closed")
	}
	return m
}

// wantPosition takes the next message and answers it.
func wantPosition(t testing.TB, messages <-chan *message.Message, position uint64, answer func(*message.Message) bool) {
	t.Helper()
	m := receive(t, messages)
	if got := m.Metadata.Get(eventstore.MetaPosition); got != fmt.Sprint(position) {
		t.Fatalf("position %s, want %d", got, position)
	}
	answer(m)
}

func subscriberResumes(t *testing.T, s *eventstore.Store) {
	fill(t, s, 600)
	for _, checkpoint := range []uint64{0, 1, 300, 599} {
		messages := subscribe(t, s, checkpoint)
		for position := checkpoint + 1; position <= 600; position++ {
			wantPosition(t, messages, position, (*message.Message).Ack)
		}
	}
	messages := subscribe(t, s, 600)
	last, err := s.Last(t.Context(), "p")
	must(t, err)
	mustAppend(t, s, Commit("p", "new"), last)
	wantPosition(t, messages, 601, (*message.Message).Ack)
}

func subscriberRewindsToCheckpoint(t *testing.T, s *eventstore.Store) {
	fill(t, s, 10)
	ack, nack := (*message.Message).Ack, (*message.Message).Nack
	checkpoint := uint64(0)
	messages := subscribeAt(t, s, func() uint64 { return checkpoint })
	wantPosition(t, messages, 1, nack)
	wantPosition(t, messages, 1, ack)
	wantPosition(t, messages, 2, ack)
	checkpoint = 2 // the reader committed its transaction
	wantPosition(t, messages, 3, ack)
	wantPosition(t, messages, 4, ack)
	wantPosition(t, messages, 5, nack) // and lost the next one, with 3 and 4 in it
	for position := uint64(3); position <= 10; position++ {
		wantPosition(t, messages, position, ack)
	}
}

func subscriberSeesNewCommits(t *testing.T, s *eventstore.Store) {
	messages := subscribe(t, s, 0)
	last := map[string]uint64{}
	for i := range uint64(50) {
		project := fmt.Sprint("p", i%3)
		last[project] = mustAppend(t, s, Commit(project, "x"), last[project])
		m := receive(t, messages)
		if m.Metadata.Get(eventstore.MetaPosition) != fmt.Sprint(i+1) || m.Metadata.Get(eventstore.MetaPending) != "0" {
			t.Fatalf("after commit %d: metadata %v", i+1, m.Metadata)
		}
		if m.Context().Err() != nil {
			t.Fatal("the context of an unanswered message is over")
		}
		m.Ack()
		<-m.Context().Done()
	}
}

// subscriberTakesLargeCommits: more than a server likes to have in flight.
func subscriberTakesLargeCommits(t *testing.T, s *eventstore.Store) {
	last := uint64(0)
	name := strings.Repeat("x", 7<<20)
	for range 12 {
		last = mustAppend(t, s, Commit("p", name), last)
	}
	messages := subscribe(t, s, 0)
	for position := range last {
		wantPosition(t, messages, position+1, (*message.Message).Ack)
	}
}

func subscriberCloses(t *testing.T, s *eventstore.Store) {
	ids := fill(t, s, 20)
	for round := range 20 {
		sub := s.Subscriber(func() uint64 { return 0 })
		ctx, cancel := context.WithCancel(t.Context())
		messages, err := sub.Subscribe(ctx, eventstore.Subjects)
		must(t, err)
		for range round {
			receive(t, messages).Ack()
		}
		if round%2 == 0 {
			cancel()
		}
		must(t, sub.Close())
		must(t, sub.Close())
		for m := range messages { // closed, with at most what was handed over already
			if !slices.Contains(ids, m.UUID) {
				t.Errorf("message %s is not of the log", m.UUID)
			}
		}
		if err := sub.Err(); err != nil {
			t.Errorf("closed subscriber has error %v", err)
		}
		if _, err := sub.Subscribe(t.Context(), eventstore.Subjects); err == nil {
			t.Error("a closed subscriber takes subscriptions")
		}
		cancel()
	}
	sub := s.Subscriber(func() uint64 { return 0 })
	if _, err := sub.Subscribe(t.Context(), "flagledger.log."+uuid.NewString()); err == nil {
		t.Error("a part of the log was subscribed to")
	}
}
