package commands_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
	"flagledger/projections"
)

// A ledger is the whole way of a change on real parts: a log, and a process
// that decides and follows it with views of its own.
type ledger struct {
	*commands.Service
	store   *eventstore.Store
	views   *projections.Views
	persons commands.Persons
	path    string // of the views
	stop    func() // ends the process
}

// newLedger starts a log and a process on it.
func newLedger(t *testing.T) *ledger {
	t.Helper()
	return join(t, storetest.New(t), persons{})
}

// join starts a process on a log.
func join(t *testing.T, store *eventstore.Store, p commands.Persons) *ledger {
	t.Helper()
	l := &ledger{store: store, persons: p, path: filepath.Join(t.TempDir(), "views.db")}
	l.start(t)
	return l
}

// restart stops the process and starts it again, with the views it had or
// (rebuild) without any.
func (l *ledger) restart(t *testing.T, rebuild bool) {
	t.Helper()
	l.stop()
	if rebuild {
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
	}
	l.start(t)
	last, err := l.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.views.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) start(t *testing.T) {
	t.Helper()
	views, err := projections.Open(l.path, projections.Options{Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.views = views
	l.Service = commands.New(l, views, l.persons, domain.DefaultLimits(), time.Now)
	subscriber := l.store.Subscriber(views.Reached)
	messages, err := subscriber.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() {
		for m := range messages {
			rec, err := eventstore.Decode(m)
			if err != nil {
				t.Errorf("decode: %v", err)
				return
			}
			pending, err := strconv.ParseUint(m.Metadata[eventstore.MetaPending], 10, 64)
			if err != nil {
				t.Errorf("pending: %v", err)
			}
			if err := views.Apply(rec, pending); err != nil {
				t.Errorf("apply: %v", err)
				m.Nack()
				continue
			}
			m.Ack()
		}
	})
	l.stop = sync.OnceFunc(func() {
		if err := errors.Join(subscriber.Close(), subscriber.Err()); err != nil {
			t.Errorf("close subscriber: %v", err)
		}
		following.Wait()
		if err := views.Close(); err != nil {
			t.Errorf("close views: %v", err)
		}
	})
	t.Cleanup(l.stop)
}

// Append implements commands.Log.
func (l *ledger) Append(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	position, err := l.store.Append(ctx, c, expected)
	if _, ok := errors.AsType[*eventstore.ConflictError](err); ok {
		return 0, fmt.Errorf("%w: %w", commands.ErrConflict, err)
	}
	return position, err
}

// change is a change of the shop, with everything that a change says of itself.
func change(all ...commands.Command) commands.Change {
	return commands.Change{
		Project: "shop", Commands: all, Source: domain.SourceAPI, Reason: "because", Ticket: "SHOP-1", CorrelationID: "undertaking",
		Actor:  domain.Actor{Kind: "token", ID: "t1", Name: "Ana", Token: "t1", OnBehalfOf: "Ben"},
		Client: domain.Client{IP: "192.0.2.1", UserAgent: "test", RequestID: "r1"},
	}
}

// must carries a change of the shop out.
func (l *ledger) must(t *testing.T, all ...commands.Command) commands.Result {
	t.Helper()
	result, err := l.Do(t.Context(), change(all...))
	if err != nil {
		t.Fatal(err)
	}
	if !result.Recorded || !result.Visible {
		t.Fatalf("recorded %t, visible %t", result.Recorded, result.Visible)
	}
	return result
}

// project is the shop as the views show it.
func (l *ledger) project() *domain.Project { return l.views.Project(domain.ProjectID("shop")) }

func (l *ledger) environment(key string) projections.EnvironmentID {
	return projections.EnvironmentID{Project: l.project().ID, ID: l.project().Environments.Get(key).ID}
}

// digest is that of an environment of the shop now.
func (l *ledger) digest(t *testing.T, key string) string {
	t.Helper()
	id := l.environment(key)
	v, err := l.views.Version(id, l.views.CurrentVersion(id))
	if err != nil {
		t.Fatal(err)
	}
	return v.Digest
}

// last is the position of the last commit of the log.
func (l *ledger) last(t *testing.T) uint64 {
	t.Helper()
	position, err := l.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return position
}
