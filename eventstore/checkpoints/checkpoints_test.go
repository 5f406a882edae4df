package checkpoints_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/storetest"
)

// A tree is a transparency log in memory.
type tree struct {
	mu     sync.Mutex
	leaves []tlog.Hash
	more   chan struct{}
}

func newTree(leaves ...string) *tree {
	t := &tree{more: make(chan struct{})}
	t.add(leaves...)
	return t
}

func (t *tree) add(leaves ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leaves {
		t.leaves = append(t.leaves, tlog.RecordHash([]byte(l)))
	}
	close(t.more)
	t.more = make(chan struct{})
}

func (t *tree) Position() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(len(t.leaves))
}

func (t *tree) Wait(ctx context.Context, position uint64) error {
	for {
		t.mu.Lock()
		n, more := len(t.leaves), t.more
		t.mu.Unlock()
		if uint64(n) >= position {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *tree) TreeRoot(size uint64) (tlog.Hash, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if size > uint64(len(t.leaves)) {
		return tlog.Hash{}, errors.New("not so many leaves")
	}
	var f transparency.Frontier
	for _, l := range t.leaves[:size] {
		f.Append(l)
	}
	return f.Root(), nil
}

func (t *tree) LeafHashes(from uint64, n int) ([]tlog.Hash, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leaves[from-1 : min(len(t.leaves), int(from)-1+n)], nil
}

// process is a Log as one process runs it.
type process struct {
	*checkpoints.Log
	t         *testing.T
	stop      func()
	published chan transparency.Signed
}

// start runs one whose log has as many commits as the tree, unless end is given.
func start(t *testing.T, js jetstream.JetStream, tree *tree, o checkpoints.Options, end ...uint64) *process {
	t.Helper()
	p := &process{t: t, published: make(chan transparency.Signed, 100)}
	o.Published = func(s transparency.Signed) { p.published <- s }
	o.Interval = time.Millisecond
	if o.Lag == 0 {
		o.Lag = 50 * time.Millisecond
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	p.Log = checkpoints.New(tree, o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		p.Run(ctx, js, 1, func(context.Context) (uint64, error) {
			if len(end) > 0 {
				return end[0], nil
			}
			return tree.Position(), nil
		})
	})
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(p.stop)
	return p
}

// signs waits for the checkpoint of the size that the process publishes by itself, and verifies it with its keys.
func (p *process) signs(size uint64) transparency.Signed {
	p.t.Helper()
	for {
		select {
		case s := <-p.published:
			if s.Size < size {
				continue
			}
			for _, k := range p.Keys() {
				if !k.Own {
					continue
				}
				keys, err := transparency.Verifiers(k.Vkey)
				if err != nil {
					p.t.Fatal(err)
				}
				if got, err := transparency.OpenCheckpoint(s.Note, keys); err != nil || got != s || s.Size != size {
					p.t.Fatalf("%s is checkpoint %v, error %v, want size %d", s.Note, got, err, size)
				}
			}
			return s
		case <-time.After(time.Minute):
			p.t.Fatalf("no checkpoint of %d; failure: %v", size, p.Failure())
		}
	}
}

// fails waits until the process signs no more, and returns why.
func (p *process) fails() string {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err := p.Failure(); err != nil {
			if _, again := p.Checkpoint(p.t.Context()); again == nil || again.Error() != err.Error() {
				p.t.Errorf("after %v it answers %v", err, again)
			}
			return err.Error()
		}
		<-time.After(time.Millisecond)
	}
	p.t.Fatal("nothing failed")
	return ""
}

func keyFile(t *testing.T) checkpoints.Options {
	return checkpoints.Options{KeyFile: filepath.Join(t.TempDir(), "signing.key")}
}

// stored are the checkpoints in the stream.
func (p *process) stored() (all []string) {
	p.t.Helper()
	for signed, err := range p.All(p.t.Context()) {
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, signed)
	}
	return all
}

func TestSigning(t *testing.T) {
	js := storetest.New(t).JetStream()
	tree, o := newTree("a", "b"), keyFile(t)
	p := start(t, js, tree, o)
	first := p.signs(2)
	if want := transparency.Origin(tlog.RecordHash([]byte("a"))); first.Origin != want {
		t.Errorf("origin %s, want %s", first.Origin, want)
	}
	info, err := os.Stat(o.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys: %v, %v", info, err)
	}
	tree.add("c")
	if second := p.signs(3); !strings.Contains(second.Note, "\n3\n") {
		t.Errorf("got %q", second.Note)
	}
	tree.add("d")
	on, err := p.Checkpoint(t.Context())
	if err != nil || on.Size != 4 {
		t.Errorf("asked for: %v, %v", on, err)
	}
	again, err := p.Checkpoint(t.Context())
	if err != nil || again != on {
		t.Errorf("asked for twice: %v, %v, want %v", again, err, on)
	}
	p.stop()

	// Another start has the key, goes on behind what it signed, and signs nothing twice.
	p = start(t, js, tree, o)
	tree.add("e")
	p.signs(5)
	if all := p.stored(); len(all) != 4 || all[0] != first.Note {
		t.Errorf("in the stream stand %q", all)
	}
	stream, err := js.Stream(t.Context(), checkpoints.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("a checkpoint could be deleted")
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the checkpoints could be purged")
	}
}

// A stop signs what came since the last checkpoint.
func TestLastWords(t *testing.T) {
	js := storetest.New(t).JetStream()
	tree := newTree("a")
	o := keyFile(t)
	p := start(t, js, tree, o)
	p.signs(1)
	tree.add("b")
	p.stop()
	p = start(t, js, tree, o)
	tree.add("c")
	p.signs(3)
	if all := p.stored(); len(all) != 3 {
		t.Errorf("in the stream stand %q", all)
	}
}

// Processes with keys of their own sign the same roots and know each other's keys; with one key, one signature is enough.
func TestTwoProcesses(t *testing.T) {
	js := storetest.New(t).JetStream()
	tree := newTree("a", "b")
	shared := keyFile(t)
	one, other := start(t, js, tree, shared), start(t, js, tree, keyFile(t))
	first, second := one.signs(2), other.signs(2)
	if first.Checkpoint != second.Checkpoint || first.Note == second.Note {
		t.Errorf("they signed %q and %q", first.Note, second.Note)
	}
	third := start(t, js, tree, shared)
	for len(third.Keys()) < 2 {
		<-time.After(time.Millisecond)
	}
	got, err := third.Checkpoint(t.Context())
	for errors.Is(err, checkpoints.ErrNotYet) {
		<-time.After(time.Millisecond)
		got, err = third.Checkpoint(t.Context())
	}
	if err != nil || got.Note != first.Note {
		t.Errorf("with the same key: %q, %v, want %q", got.Note, err, first.Note)
	}
	if keys := third.Keys(); !keys[0].Own || keys[1].Own || keys[0].Size != 2 || keys[1].Size != 2 {
		t.Errorf("keys %+v", keys)
	}
	for _, p := range []*process{one, other, third} {
		if p.Failure() != nil {
			t.Error(p.Failure())
		}
	}
}

// publish puts a checkpoint into the stream that somebody else signed.
func publish(t *testing.T, js jetstream.JetStream, c transparency.Checkpoint) {
	t.Helper()
	private, vkey, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := c.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	send(t, js, signed.Note, vkey)
}

func send(t *testing.T, js jetstream.JetStream, text, vkey string) {
	t.Helper()
	msg := &nats.Msg{Subject: "flagledger.checkpoints.other", Header: nats.Header{checkpoints.HeaderKey: {vkey}}, Data: []byte(text)}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// A checkpoint that contradicts the log ends the signing for good, and both roots are named.
func TestContradiction(t *testing.T) {
	js := storetest.New(t).JetStream()
	tree := newTree("a", "b", "c")
	p := start(t, js, tree, keyFile(t))
	signed := p.signs(3)
	forged := tlog.RecordHash([]byte("forged"))
	publish(t, js, transparency.Checkpoint{Origin: signed.Origin, Size: 2, Root: forged})
	own, err := tree.TreeRoot(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"at position 2", forged.String(), own.String()} {
		if got := p.fails(); !strings.Contains(got, want) {
			t.Errorf("failure %q, want %s", got, want)
		}
	}
	tree.add("d")
	p.stop()
	if all := p.stored(); len(all) != 2 {
		t.Errorf("it went on to sign: %q", all)
	}
}

// After a restart on another log nothing is signed.
func TestAnotherLog(t *testing.T) {
	for name, test := range map[string]struct {
		leaves []string
		end    uint64
		want   string
	}{
		"a commit altered":       {[]string{"a", "x", "c", "d"}, 4, "the log is not the one that was signed"},
		"the first altered":      {[]string{"x", "b", "c", "d"}, 4, "the log was replaced or altered from its first commit on"},
		"commits lost":           {[]string{"a", "b"}, 2, "the log has lost commits: it ends at position 2"},
		"the first alone is new": {[]string{"x"}, 1, "the log was replaced or altered"},
	} {
		t.Run(name, func(t *testing.T) {
			js := storetest.New(t).JetStream()
			o := keyFile(t)
			p := start(t, js, newTree("a", "b", "c"), o)
			p.signs(3)
			p.stop()
			p = start(t, js, newTree(test.leaves...), o, test.end)
			if got := p.fails(); !strings.Contains(got, test.want) {
				t.Errorf("failure %q, want %q", got, test.want)
			}
			p.stop()
			if len(p.published) > 0 {
				t.Errorf("it signed %v", <-p.published)
			}
		})
	}
	t.Run("with a new key", func(t *testing.T) {
		js := storetest.New(t).JetStream()
		start(t, js, newTree("a", "b"), keyFile(t)).signs(2)
		p := start(t, js, newTree("x", "b"), keyFile(t))
		if got := p.fails(); !strings.Contains(got, "is of another: the log was replaced") {
			t.Errorf("failure %q", got)
		}
	})
}

// Views that are behind the log are waited for.
func TestCatchingUp(t *testing.T) {
	js := storetest.New(t).JetStream()
	o := keyFile(t)
	p := start(t, js, newTree("a", "b", "c"), o)
	p.signs(3)
	p.stop()
	tree := newTree("a")
	o.Lag = time.Millisecond
	p = start(t, js, tree, o, 3)
	if _, err := p.Checkpoint(t.Context()); err == nil {
		t.Error("it signed before it had compared")
	}
	tree.add("b", "c")
	tree.add("d")
	if signed := p.signs(4); p.Failure() != nil {
		t.Errorf("signed %v, failure %v", signed, p.Failure())
	}
}

// What is no checkpoint is passed over and counted.
func TestUnreadable(t *testing.T) {
	js := storetest.New(t).JetStream()
	tree := newTree("a")
	p := start(t, js, tree, keyFile(t))
	signed := p.signs(1)
	send(t, js, "hello", "")
	send(t, js, signed.Note, "no key")
	send(t, js, signed.Note, "flagledger/1+798820f0+AcVvTUap3hDZwrowB5JBcC4DjivHE5+rk50ls8RrUN1s")
	tree.add("b")
	p.signs(2)
	for p.Position() < 5 {
		<-time.After(time.Millisecond)
	}
	if p.Stats().Unreadable != 3 || p.Failure() != nil {
		t.Errorf("%d unreadable, failure %v", p.Stats().Unreadable, p.Failure())
	}
}

// While the keys cannot be used, from the start or later, with something to sign or not, that is told; and it goes on by itself.
func TestKeysThatCannotBeUsed(t *testing.T) {
	js := storetest.New(t).JetStream()
	o := keyFile(t)
	now := time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)
	tree := newTree("a")
	p := start(t, js, tree, o)
	p.signs(1)
	aside := o.KeyFile + ".aside"
	for i, test := range []struct {
		what       string
		harm, mend func() error
		says       string
		busy, anew bool // something is to be signed; the process is started meanwhile
	}{
		{"open to others, busy", func() error { return os.Chmod(o.KeyFile, 0o644) }, func() error { return os.Chmod(o.KeyFile, 0o600) }, "others can read", true, false},
		{"open to others, quiet", func() error { return os.Chmod(o.KeyFile, 0o644) }, func() error { return os.Chmod(o.KeyFile, 0o600) }, "others can read", false, false},
		{"open to others, at a start", func() error { return os.Chmod(o.KeyFile, 0o644) }, func() error { return os.Chmod(o.KeyFile, 0o600) }, "others can read", true, true},
		{"gone, busy", func() error { return os.Rename(o.KeyFile, aside) }, func() error { return os.Rename(aside, o.KeyFile) }, "there is no key", true, false},
		{"gone, quiet", func() error { return os.Rename(o.KeyFile, aside) }, func() error { return os.Rename(aside, o.KeyFile) }, "there is no key", false, false},
	} {
		if test.anew {
			p.stop()
		}
		if err := test.harm(); err != nil {
			t.Fatal(err)
		}
		if test.busy {
			tree.add(fmt.Sprint(i))
		}
		if test.anew {
			p = start(t, js, tree, o)
		}
		if why := p.fails(); !strings.Contains(why, test.says) {
			t.Errorf("%s: it says %q, want %q", test.what, why, test.says)
		}
		if err := test.mend(); err != nil {
			t.Fatal(err)
		}
		if !test.busy {
			tree.add(fmt.Sprint(i))
		}
		p.signs(tree.Position())
		if err := p.Failure(); err != nil {
			t.Errorf("%s: mended, it says %v", test.what, err)
		}
		if keys, err := checkpoints.ReadKeys(o.KeyFile, now); err != nil || len(p.Keys()) != 1 || keys[0].Vkey != p.Keys()[0].Vkey {
			t.Errorf("%s: the keys have become others: %v, %v", test.what, p.Keys(), err)
		}
	}
}

// While both keys are valid both sign; a running process notices.
func TestRotation(t *testing.T) {
	js := storetest.New(t).JetStream()
	now := time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	o := keyFile(t)
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	tree := newTree("a")
	p := start(t, js, tree, o)
	before := p.signs(1)
	keys, err := checkpoints.RotateKey(o.KeyFile, time.Hour, now)
	if err != nil || len(keys) != 2 || !keys[0].Until.IsZero() || !keys[1].Until.Equal(now.Add(time.Hour)) {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	verifies := func(signed transparency.Signed, key checkpoints.Key) bool {
		verifiers, err := transparency.Verifiers(key.Vkey)
		if err != nil {
			t.Fatal(err)
		}
		_, err = transparency.OpenCheckpoint(signed.Note, verifiers)
		return err == nil
	}
	if verifies(before, keys[0]) || !verifies(before, keys[1]) {
		t.Error("the one before is not signed by the old key alone")
	}
	both, err := p.Checkpoint(t.Context())
	if err != nil || both.Size != 1 || !verifies(both, keys[0]) || !verifies(both, keys[1]) {
		t.Errorf("while both are valid: %q, %v", both.Note, err)
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	after, err := p.Checkpoint(t.Context())
	if err != nil || !verifies(after, keys[0]) || verifies(after, keys[1]) {
		t.Errorf("after the overlap: %q, %v", after.Note, err)
	}
	// One that may have been stolen ends at once, and leaves the file.
	if keys, err = checkpoints.RotateKey(o.KeyFile, 0, now); err != nil || len(keys) != 1 {
		t.Errorf("without overlap: %+v, %v", keys, err)
	}
	text, err := os.ReadFile(o.KeyFile)
	if err != nil || bytes.Count(text, []byte("PRIVATE")) != 1 {
		t.Errorf("the file has %q, %v", text, err)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "signing.key")
	private, _, err := note.GenerateKey(rand.Reader, "flagledger/1")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"a key":               {private, 0o600, ""},
		"others can read it":  {private, 0o640, "chmod 600"},
		"empty":               {"", 0o600, "no key that is still valid"},
		"only comments":       {"# a\n\n", 0o600, "no key that is still valid"},
		"run out":             {private + " until 2026-05-03T12:00:00Z", 0o600, "no key that is still valid"},
		"no time":             {private + " until noon", 0o600, "line 1: behind"},
		"no key":              {"# a\nsecret", 0o600, "line 2: it is not a private key"},
		"a key that was cut":  {private[:len(private)-3], 0o600, "line 1: it is not a private key"},
		"a key and something": {private + " and", 0o600, "line 1: it is not a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.WriteFile(path, []byte(test.text), test.mode), os.Chmod(path, test.mode)); err != nil {
				t.Fatal(err)
			}
			keys, err := checkpoints.ReadKeys(path, now)
			if test.want == "" {
				if err != nil || len(keys) != 1 || keys[0].Name() != "flagledger/1" {
					t.Errorf("keys %+v, %v", keys, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if secret := private[len(private)-20:]; strings.Contains(fmt.Sprint(err), secret[:10]) || strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
	if _, err := checkpoints.ReadKeys(filepath.Join(dir, "none"), now); !errors.Is(err, checkpoints.ErrNoKeys) {
		t.Errorf("no file: %v", err)
	}
}
