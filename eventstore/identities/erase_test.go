package identities_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/identities"
)

// filesWith returns the files under dir that hold the bytes.
func filesWith(t *testing.T, dir string, wanted []byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(content, wanted) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func stream(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onlyMessage returns the message of the stream under the subjects; there must be one.
func onlyMessage(t *testing.T, js jetstream.JetStream, name, subjects string) *jetstream.RawStreamMsg {
	t.Helper()
	msg, err := stream(t, js, name).GetMsg(t.Context(), 1, jetstream.WithGetMsgSubject(subjects))
	if err != nil {
		t.Fatalf("%s %s: %v", name, subjects, err)
	}
	return msg
}

func count(t *testing.T, js jetstream.JetStream, name, subjects string) int {
	t.Helper()
	info, err := stream(t, js, name).Info(t.Context(), jetstream.WithSubjectFilter(subjects))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n
}

const (
	personsOf = "flagledger.person.*.*.*"
	erasedOf  = "flagledger.erased.*.*"
	traitsOf  = "flagledger.traits.*.*.*"
)

// Where the seed is in the payload of a person.
func seedOf(payload []byte) []byte { return payload[17:49] }

func TestErase(t *testing.T) {
	dir := t.TempDir()
	srv := natsServer(t, dir)
	js := connect(t, srv)
	s := open(t, js, identities.Options{})
	other := open(t, connect(t, srv), identities.Options{})

	s.Identify(production, "ada@example.com", traits("city", "Canaryville"))
	s.Identify(production, "grace", traits("a", 1))
	flush(t, s)
	s.Identify(production, "ada@example.com", traits("city", "Canarytown", "more", 1))
	flush(t, s)
	surrogate := s.Get(production, "ada@example.com").Surrogate
	eventually(t, "grace a=1", func() string { return show(other.Get(production, "grace")) })

	for _, personal := range []string{"ada@example.com", "Canaryville", "Canarytown"} {
		if files := filesWith(t, dir, []byte(personal)); len(files) > 0 {
			t.Errorf("%q can be read in %v", personal, files)
		}
	}
	var record *jetstream.RawStreamMsg // that of ada
	for seq := uint64(1); record == nil; seq++ {
		msg, err := stream(t, js, identities.PersonsStream).GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(msg.Data[1:17]) == strings.ReplaceAll(surrogate, "-", "") {
			record = msg
		}
	}
	if files := filesWith(t, dir, seedOf(record.Data)); len(files) == 0 {
		t.Fatal("the seed is not found even before the erasure: the test looks for the wrong thing")
	}

	got, existed, err := s.Erase(t.Context(), production, "ada@example.com")
	if got != surrogate || !existed || err != nil {
		t.Fatalf("erased %s, %t, %v; want %s", got, existed, err, surrogate)
	}
	if files := filesWith(t, dir, seedOf(record.Data)); len(files) > 0 {
		t.Errorf("the seed is still in %v", files)
	}
	if n := count(t, js, identities.TraitsStream, traitsOf); n != 0 {
		t.Errorf("%d records of traits are left, want that of nobody", n)
	}
	for i, store := range []*identities.Store{s, other} {
		eventually(t, "nobody", func() string { return show(store.Get(production, "ada@example.com")) })
		if who, ok := store.Identifier(production, surrogate); ok {
			t.Errorf("in process %d the surrogate still leads to %q", i, who)
		}
		if got := show(store.Get(production, "grace")); got != "grace a=1" {
			t.Errorf("in process %d another person became %s", i, got)
		}
	}

	// Again, here and elsewhere.
	for _, store := range []*identities.Store{s, other} {
		if got, existed, err := store.Erase(t.Context(), production, "ada@example.com"); got != "" || existed || err != nil {
			t.Errorf("erased again: %s, %t, %v", got, existed, err)
		}
		if got, existed, err := store.Erase(t.Context(), "unknown.1", "ada@example.com"); got != "" || existed || err != nil {
			t.Errorf("erased in an unknown environment: %s, %t, %v", got, existed, err)
		}
	}

	// Who comes back is someone else.
	if got := show(other.Identify(production, "ada@example.com", traits("new", true))); got != "ada@example.com new=true" {
		t.Errorf("after the erasure identified as %s", got)
	}
	flush(t, other)
	eventually(t, "ada@example.com new=true", func() string { return show(s.Get(production, "ada@example.com")) })
	if s.Get(production, "ada@example.com").Surrogate == surrogate {
		t.Error("the new person has the old surrogate")
	}

	// A server that brings the record back brings nobody back.
	if _, _, err := s.Erase(t.Context(), production, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), record.Subject, record.Data); err != nil {
		t.Fatal(err)
	}
	eventually(t, "1", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) }) // grace
	if got := show(s.Get(production, "ada@example.com")); got != "nobody" {
		t.Errorf("back is %s", got)
	}
	closeStore(t, s)
	closeStore(t, other)
	if _, err := js.Publish(t.Context(), record.Subject, record.Data); err != nil {
		t.Fatal(err)
	}
	s = open(t, js, identities.Options{})
	if got := show(s.Get(production, "ada@example.com")); got != "nobody" {
		t.Errorf("back after a restart is %s", got)
	}
	eventually(t, "1", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) }) // grace only
	if files := filesWith(t, dir, seedOf(record.Data)); len(files) > 0 {
		t.Errorf("after the restart the seed is in %v", files)
	}
	if stats := s.Stats(); stats.Persons != 1 || stats.Unreadable > 0 {
		t.Errorf("%+v", stats)
	}
}

// A person can be erased before being stored, and is not stored afterwards.
func TestEraseBeforeStored(t *testing.T) {
	js := connect(t, natsServer(t, t.TempDir()))
	s := open(t, js, identities.Options{})
	var wg sync.WaitGroup
	for i := range 50 {
		who := fmt.Sprint("p", i)
		want := s.Identify(production, who, traits("n", i)).Surrogate
		if i%2 == 0 {
			wg.Go(func() { flush(t, s) }) // so that some are on their way
		}
		got, existed, err := s.Erase(t.Context(), production, who)
		if got != want || !existed || err != nil {
			t.Errorf("erased %s, %t, %v; want %s", got, existed, err, want)
		}
	}
	wg.Wait()
	flush(t, s)
	eventually(t, "0", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) })
	if n := open(t, js, identities.Options{}).Stats().Persons + s.Stats().Persons; n > 0 {
		t.Errorf("%d persons are left", n)
	}
}

// The mark alone is enough: the rest is made good at the next start.
func TestInterruptedErasure(t *testing.T) {
	dir := t.TempDir()
	srv := natsServer(t, dir)
	js := connect(t, srv)
	s := open(t, js, identities.Options{})
	other := open(t, connect(t, srv), identities.Options{})
	id := s.Identify(production, "ada", traits("a", 1))
	flush(t, s)
	s.Identify(production, "ada", traits("a", 2))
	flush(t, s)
	record := onlyMessage(t, js, identities.PersonsStream, personsOf)
	eventually(t, "ada a=2", func() string { return show(other.Get(production, "ada")) })

	surrogate := uuid.MustParse(id.Surrogate)
	if _, err := js.Publish(t.Context(), "flagledger.erased."+string(production), surrogate[:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody", func() string { return show(other.Get(production, "ada")) })
	eventually(t, "nobody", func() string { return show(s.Get(production, "ada")) })

	// Whoever sees the mark completes the erasure, and so does a repetition.
	eventually(t, "0", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) })
	if got, existed, err := other.Erase(t.Context(), production, "ada"); got != "" || existed || err != nil {
		t.Errorf("erased again: %s, %t, %v", got, existed, err)
	}

	// Otherwise the next start does. An hour later it also clears up traits of
	// nobody; before, they might be of someone who is just being stored.
	closeStore(t, s)
	closeStore(t, other)
	if _, err := js.Publish(t.Context(), record.Subject, record.Data); err != nil {
		t.Fatal(err)
	}
	for _, nobody := range []string{id.Surrogate, "00000000-0000-4000-8000-000000000000"} {
		if _, err := js.Publish(t.Context(), "flagledger.traits."+string(production)+"."+nobody, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, js, identities.Options{})
	eventually(t, "0", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) })
	if files := filesWith(t, dir, seedOf(record.Data)); len(files) > 0 {
		t.Errorf("after the restart the seed is in %v", files)
	}
	if n := count(t, js, identities.TraitsStream, traitsOf); n != 2 {
		t.Errorf("after the restart %d records of traits are left, want 2", n)
	}
	closeStore(t, s)
	s = open(t, js, identities.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if n := count(t, js, identities.TraitsStream, traitsOf); n != 0 {
		t.Errorf("an hour later %d records of traits are left", n)
	}
	if stats := s.Stats(); stats.Persons > 0 || stats.Unreadable > 0 {
		t.Errorf("%+v", stats)
	}
}

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	srv := natsServer(t, dir)
	js := connect(t, srv)
	s := open(t, js, identities.Options{})
	other := open(t, connect(t, srv), identities.Options{})
	staging := identities.EnvironmentToken("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11", 33) // 3 is a prefix of it
	s.Identify(staging, "ada", traits("a", 1))
	for round := range 2 {
		for i := range 300 {
			s.Identify(production, fmt.Sprint("p", i), traits("n", i+round))
		}
		flush(t, s)
	}
	eventually(t, "301", func() string { return fmt.Sprint(other.Stats().Persons) })
	pepper := onlyMessage(t, js, identities.PeppersStream, "flagledger.pepper."+string(production))
	s.Identify(production, "p7", traits("n", 0)) // is on its way

	for range 2 { // it can be repeated
		if err := s.Drop(t.Context(), production); err != nil {
			t.Fatal(err)
		}
	}
	if files := filesWith(t, dir, pepper.Data); len(files) > 0 {
		t.Errorf("the pepper is still in %v", files)
	}
	check := func(when string, s *identities.Store) {
		t.Helper()
		eventually(t, "1", func() string { return fmt.Sprint(s.Stats().Persons) })
		if got := show(s.Get(staging, "ada")); got != "ada a=1" {
			t.Errorf("%s: the other environment has %s", when, got)
		}
		if got := show(s.Identify(production, "p1", traits("n", 5))); got != "p1 n=5" {
			t.Errorf("%s: answered %s", when, got)
		}
		if got := show(s.Get(production, "p1")); got != "nobody" {
			t.Errorf("%s: kept %s", when, got)
		}
		if _, err := s.Surrogate(t.Context(), production, "p1"); err == nil {
			t.Errorf("%s: promised a surrogate", when)
		}
		if _, existed, err := s.Erase(t.Context(), production, "p1"); existed || err != nil {
			t.Errorf("%s: erased: %t, %v", when, existed, err)
		}
		if stats := s.Stats(); stats.Unreadable > 0 {
			t.Errorf("%s: %+v", when, stats)
		}
		if n := count(t, js, identities.PersonsStream, personsOf) + count(t, js, identities.TraitsStream, traitsOf); n != 1 {
			t.Errorf("%s: %d records are left, want that of the other environment", when, n)
		}
	}
	check("here", s)
	check("in another process", other)
	closeStore(t, s)
	closeStore(t, other)
	check("after a restart", open(t, js, identities.Options{}))

	// A drop that was interrupted right after the mark.
	s = open(t, js, identities.Options{})
	if _, err := js.Publish(t.Context(), "flagledger.erased."+string(staging), []byte("everyone")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "0", func() string { return fmt.Sprint(s.Stats().Persons) })
	closeStore(t, s)
	s = open(t, js, identities.Options{})
	if n := s.Stats().Persons + count(t, js, identities.PersonsStream, personsOf) + count(t, js, identities.PeppersStream, ">"); n > 0 {
		t.Errorf("%d records are left of an interrupted drop", n)
	}
	if n := count(t, js, identities.PersonsStream, erasedOf); n != 2 {
		t.Errorf("%d marks, want those of two environments", n)
	}
}

// Many erasures that are to be completed do not hold up a start, which must not fail for them either; they are completed beside it.
func TestManyInterruptedErasures(t *testing.T) {
	const many = 100
	js := connect(t, natsServer(t, t.TempDir()))
	s := open(t, js, identities.Options{})
	var surrogates []uuid.UUID
	for i := range many {
		surrogates = append(surrogates, uuid.MustParse(s.Identify(production, fmt.Sprint("p", i), traits("a", strings.Repeat("x", 2000))).Surrogate))
	}
	flush(t, s)
	closeStore(t, s)
	for _, surrogate := range surrogates {
		if _, err := js.Publish(t.Context(), "flagledger.erased."+string(production), surrogate[:]); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, js, identities.Options{EraseAtStart: time.Microsecond})
	if stats := s.Stats(); stats.Persons > 0 {
		t.Errorf("%d persons are there", stats.Persons)
	}
	eventually(t, "0", func() string { return fmt.Sprint(count(t, js, identities.PersonsStream, personsOf)) })
}
