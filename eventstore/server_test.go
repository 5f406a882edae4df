package eventstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/blocks"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/storetest"
)

// A server that was killed while it tried whether it can write leaves a file, which the next one does not stumble over.
func TestStartCutShort(t *testing.T) {
	dir := t.TempDir()
	accounts := filepath.Join(dir, "nats", "jetstream")
	if err := errors.Join(os.MkdirAll(accounts, 0o700), os.WriteFile(filepath.Join(accounts, "_test_4116563819"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	store := storetest.Open(t, eventstore.Options{Dir: dir})
	if err := store.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

// damage flips a bit in the first file of a stream, where it holds the text.
func damage(t *testing.T, dir, stream, text string) (repair func()) {
	t.Helper()
	path := filepath.Join(blocks.Dir(filepath.Join(dir, "nats"), stream), "msgs", "1.blk")
	whole, err := os.ReadFile(path)
	at := bytes.Index(whole, []byte(text))
	if err != nil || at < 0 {
		t.Fatalf("%q is at %d, %v", text, at, err)
	}
	damaged := bytes.Clone(whole)
	damaged[at] ^= 1
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(damaged)
	return func() { write(whole) }
}

// A flipped bit in a file of the log is found while the server runs; and no server is started on it, which might cut off all that follows.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	options := eventstore.Options{Dir: dir, CheckInterval: 10 * time.Millisecond}
	store, err := eventstore.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for i := range 5 {
		commit := domain.Commit{
			ID: fmt.Sprint("commit-", i), Project: "p", Time: time.Now(), Actor: domain.Actor{Kind: "user", ID: "u"}, Source: domain.SourceAPI,
			Events: []domain.Event{domain.ProjectCreated{Key: fmt.Sprint("canary-", i)}},
		}
		if last, err = store.Append(t.Context(), commit, last); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	repair := damage(t, dir, eventstore.Stream, "canary-2")
	isDamage := func(err error) bool {
		d, ok := errors.AsType[*blocks.Damage](err)
		return ok && d.Stream == eventstore.Stream && d.Position == 3
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err := error(nil); !isDamage(err); err = store.Health(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("a damage is not noticed while the server runs: %v", err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(blocks.Dir(filepath.Join(dir, "nats"), eventstore.Stream), "msgs", "index.db")
	for _, killed := range []bool{false, true} {
		if killed { // then there is no index, and NATS reads the files
			if err := os.Remove(index); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := eventstore.Open(t.Context(), options); !isDamage(err) || !strings.Contains(err.Error(), "1.blk") {
			t.Errorf("killed %t: opened with %v", killed, err)
		}
	}
	repair() // nothing was changed, or cut off
	store = storetest.Open(t, options)
	if end, err := store.LastPosition(t.Context()); err != nil || end != last {
		t.Errorf("the log ends at %d, want %d; %v", end, last, err)
	}
}

// A person who was deleted and not yet overwritten when the process was killed is overwritten by the next start.
func TestUnfinishedErasure(t *testing.T) {
	dir := t.TempDir()
	store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	persons, err := identities.Open(t.Context(), store.JetStream(), identities.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := persons.Surrogate(t.Context(), "p.1", fmt.Sprint("person-", i)); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := store.JetStream().Stream(t.Context(), identities.PersonsStream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 2); err != nil { // notes it, and no more
		t.Fatal(err)
	}
	seed := msg.Data[17:49]
	path := filepath.Join(blocks.Dir(filepath.Join(dir, "nats"), identities.PersonsStream), "msgs", "1.blk")
	holds := func() bool {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(data, seed)
	}
	if err := errors.Join(persons.Close(t.Context()), store.Close()); err != nil {
		t.Fatal(err)
	}
	if !holds() {
		t.Fatal("the seed is gone already: the test shows nothing")
	}
	store = storetest.Open(t, eventstore.Options{Dir: dir})
	if holds() {
		t.Error("the seed is still in the file")
	}
	persons, err = identities.Open(t.Context(), store.JetStream(), identities.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if stats := persons.Stats(); stats.Persons != 2 || stats.Unreadable > 0 {
		t.Errorf("after that: %+v, want the other two persons", stats)
	}
	if err := persons.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
