package identities_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/blocks"
	"flagledger/eventstore/identities"
)

// Files lead to what the server tells, whatever happened to the persons, also
// where they are of no use.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	srv := natsServer(t, dir)
	js := connect(t, srv)
	files := filepath.Join(dir, "nats")
	staging := identities.EnvironmentToken("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11", 4)
	gone := identities.EnvironmentToken("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11", 5)

	s := open(t, js, identities.Options{})
	const many, erased = 500, 150
	for round := range 3 {
		for i := range many {
			s.Identify(production, user(i), eight(i))
			if i%3 == 0 {
				s.Identify(production, user(i), traits("round", round))
			}
		}
		s.Identify(staging, user(1), traits("stage", round))
		s.Identify(gone, user(1), traits("gone", round))
		flush(t, s)
	}
	erase := func(who string) {
		if _, existed, err := s.Erase(t.Context(), production, who); !existed || err != nil {
			t.Fatalf("erase %s: %t, %v", who, existed, err)
		}
	}
	for i := range erased {
		erase(user(i))
	}
	s.Identify(production, user(3), traits("back", true)) // as someone else
	flush(t, s)
	erase(user(3))
	s.Identify(production, user(3), traits("back", "again"))
	flush(t, s)
	if err := s.Drop(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	marked := s.Get(production, user(200)).Surrogate // an erasure that ended with its mark
	closeStore(t, s)
	whom := uuid.MustParse(marked)
	if _, err := js.Publish(t.Context(), "flagledger.erased."+string(production), whom[:]); err != nil {
		t.Fatal(err)
	}

	everyone := func(s *identities.Store) (all []*identities.Identity) {
		for _, e := range []identities.Environment{production, staging, gone} {
			all = append(all, s.List(e, "", many+1)...)
		}
		return all
	}
	later := func() time.Time { return time.Now().Add(time.Hour) } // when traits of nobody are of an erased person
	want := []*identities.Identity(nil)
	for i, test := range []struct {
		what, files string
		change      func(path string) // of a copy of the files
		sent        bool              // by the server, each
	}{
		{"the server", "", nil, true},
		{"files", files, nil, false},
		{"files, once more", files, nil, false},
		{"files that are not there", t.TempDir(), nil, true},
		{"files that end too early", files, func(path string) { _ = os.Truncate(path, 50_000) }, true},
		{"files with a wrong byte", files, func(path string) {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				_, _ = f.WriteAt([]byte("x"), 60_000)
				_ = f.Close()
			}
		}, true},
		{"compressed files", files, func(path string) { _ = os.WriteFile(path, []byte("cmp"), 0o600) }, true},
	} {
		if test.change != nil {
			test.files = t.TempDir()
			for _, name := range []string{identities.PersonsStream, identities.TraitsStream} {
				from, to := blocks.Dir(files, name), blocks.Dir(test.files, name)
				if err := os.CopyFS(to, os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
				test.change(filepath.Join(to, "msgs", "1.blk"))
			}
		}
		js := connect(t, srv)
		orphan := "flagledger.traits." + string(production) + "." + uuid.NewString() // left by an erasure
		if _, err := js.Publish(t.Context(), orphan, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
		s := open(t, js, identities.Options{Files: test.files, Now: later})
		if _, err := stream(t, js, identities.TraitsStream).GetLastMsgForSubject(t.Context(), orphan); !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("%s: traits of nobody: %v", test.what, err)
		}
		if want == nil {
			want = everyone(s)
			if len(want) != many-erased+1-1+1 {
				t.Fatalf("%d persons", len(want))
			}
		}
		if got := everyone(s); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d persons, want %d, or they are others", test.what, len(got), len(want))
		}
		if stats := s.Stats(); stats.Unreadable > 0 || stats.Persons != len(want) {
			t.Errorf("%s: %+v", test.what, stats)
		}
		if received := js.Conn().Stats().InMsgs; received > many != test.sent {
			t.Errorf("%s: %d messages came from the server", test.what, received)
		}
		if asked := js.Conn().Stats().OutMsgs; asked > erased/3 { // not for each person whose traits are in the files
			t.Errorf("%s: the server was asked %d times", test.what, asked)
		}
		for _, p := range want {
			if who, ok := s.Identifier(production, p.Surrogate); ok && who != p.Identifier {
				t.Errorf("%s: the surrogate of %s leads to %s", test.what, p.Identifier, who)
			}
		}

		// From then on the streams are followed.
		other := open(t, connect(t, srv), identities.Options{})
		other.Identify(staging, user(1), traits("mark", i))
		eventually(t, fmt.Sprintf("%s mark=%d stage=2", user(1), i), func() string { return show(s.Get(staging, user(1))) })
		other.Identify(staging, user(1), traits("mark", nil))
		flush(t, other)
		want = everyone(other)
		closeStore(t, other)
		closeStore(t, s)
	}
}
