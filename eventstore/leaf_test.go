package eventstore_test

import (
	"testing"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

// However a commit is read, it is the same leaf: by a subscriber, by itself, and in a load. It covers the headers that only the log knows.
func TestLeaf(t *testing.T) {
	s := storetest.New(t)
	position, err := s.Append(t.Context(), storetest.Commit("p", "a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), position)
	if err != nil {
		t.Fatal(err)
	}
	want := got.Leaf().Hash()
	without := got
	without.Header = nil
	if without.Leaf().Hash() == want || got.Header.Get("Nats-Msg-Id") == "" {
		t.Errorf("the leaf does not cover the headers %v", got.Header)
	}
	same := func(how string, rec domain.Recorded, err error) {
		t.Helper()
		if err != nil || rec.LeafHash != want {
			t.Errorf("%s: leaf %x, error %v, want %x", how, rec.LeafHash, err, want)
		}
	}
	rec, err := got.Decode()
	same("by itself", rec, err)
	messages, err := s.Subscriber(func() uint64 { return 0 }).Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	m := <-messages
	m.Ack()
	rec, err = eventstore.Decode(m)
	same("by a subscriber", rec, err)
	err = s.Load(t.Context(), 1, func(m eventstore.Message) error {
		rec, err := m.Decode()
		same("in a load", rec, err)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
