// Package storetest helps to test on a real log: it starts NATS servers for a
// test and holds the conformance suite of the event store.
//
// A test of another package needs one line:
//
//	store := storetest.New(t)
package storetest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/eventstore"
)

// New opens a store on an embedded server in a directory of the test, and
// closes it at the end.
func New(t testing.TB) *eventstore.Store {
	return Open(t, eventstore.Options{Dir: t.TempDir()})
}

// Open opens a store and closes it at the end of the test. What the store logs
// appears with the test.
func Open(t testing.TB, o eventstore.Options) *eventstore.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	store, err := eventstore.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return store
}

// Commit is a commit of one event that renames the project, every field filled.
func Commit(project, name string) domain.Commit {
	id := uuid.Must(uuid.NewV7()).String()
	return domain.Commit{
		ID:      id,
		Project: project,
		Time:    time.Now().UTC(),
		Actor:   domain.Actor{Kind: "token", ID: "alice", Name: "Alice", Token: "t1", OnBehalfOf: "bob"},
		Client:  domain.Client{IP: "192.0.2.1", UserAgent: "storetest", RequestID: "r1"},
		Source:  domain.SourceAPI,
		Reason:  "a better name", Ticket: "SHOP-1",
		CausationID: "cause", CorrelationID: "undertaking", ChangeRequest: "cr1",
		IdempotencyKey: "key", RequestHash: "00ff",
		Events: []domain.Event{domain.ProjectUpdated{Name: name}},
	}
}
