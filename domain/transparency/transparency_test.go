package transparency_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"flagledger/domain/transparency"
)

// root is the Merkle tree hash as RFC 6962, section 2.1, defines it, word for word and with nothing of the product in it.
func root(leaves [][]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1 // the largest power of two smaller than n
		for 2*k < n {
			k *= 2
		}
		left, right := root(leaves[:k]), root(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

// leafOf is the commit of docs/transparency.md.
func leafOf(position uint64) transparency.Leaf {
	return transparency.Leaf{
		Position: position, RecordedAt: time.Date(2026, 5, 3, 14, 2, 11, 262740000, time.UTC).Add(time.Duration(position)), Subject: "flagledger.log.p",
		Header:  map[string][]string{"ce-type": {"flagledger.commit.v1"}, "Nats-Msg-Id": {"c1"}, "x": {"b", "a"}},
		Payload: []byte(`{"id":"c1"}`),
	}
}

func TestLeaf(t *testing.T) {
	const want = "flagledger.leaf.v1\nposition: 42\nrecorded: 2026-05-03T14:02:11.262740042Z\nsubject: flagledger.log.p\n" +
		"Nats-Msg-Id: c1\nce-type: flagledger.commit.v1\nx: b\nx: a\n\n" + `{"id":"c1"}`
	leaf := leafOf(42)
	if got := string(leaf.Bytes()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	sum := sha256.Sum256([]byte("\x00" + want))
	if got := leaf.Hash(); got != tlog.Hash(sum) {
		t.Errorf("got hash %x, want %x", got, sum)
	}
	// Made once with sha256sum: the example of the documentation.
	if got := hex.EncodeToString(sum[:]); got != "97a4ec6297d4830293d3330c5a4095e0d3d9b6386e7343b213fd175db074bda9" {
		t.Errorf("got %s", got)
	}
	leaf.RecordedAt = time.Date(2026, 5, 3, 16, 2, 11, 0, time.FixedZone("", 7200))
	if !bytes.Contains(leaf.Bytes(), []byte("recorded: 2026-05-03T14:02:11.000000000Z\n")) {
		t.Errorf("a time without fraction, of another zone: %q", leaf.Bytes())
	}
}

// Whatever of a commit is another one makes it another leaf.
func TestLeavesDiffer(t *testing.T) {
	seen := map[tlog.Hash]string{}
	for name, change := range map[string]func(*transparency.Leaf){
		"nothing":         func(*transparency.Leaf) {},
		"position":        func(l *transparency.Leaf) { l.Position++ },
		"time":            func(l *transparency.Leaf) { l.RecordedAt = l.RecordedAt.Add(1) },
		"subject":         func(l *transparency.Leaf) { l.Subject = "flagledger.log.q" },
		"header":          func(l *transparency.Leaf) { l.Header["ce-type"] = []string{"flagledger.commit.v2"} },
		"another header":  func(l *transparency.Leaf) { l.Header["y"] = []string{""} },
		"order of values": func(l *transparency.Leaf) { l.Header["x"] = []string{"a", "b"} },
		"no header":       func(l *transparency.Leaf) { l.Header = nil },
		"payload":         func(l *transparency.Leaf) { l.Payload = []byte(`{"id":"c1"} `) },
		"header in payload": func(l *transparency.Leaf) {
			l.Header, l.Payload = map[string][]string{}, []byte("Nats-Msg-Id: c1\n\n"+string(l.Payload))
		},
	} {
		leaf := leafOf(1)
		change(&leaf)
		if other, twice := seen[leaf.Hash()]; twice {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[leaf.Hash()] = name
	}
}

// A frontier has the root that the RFC defines, at every size, and gives the hashes that tlog stores.
func TestFrontier(t *testing.T) {
	var f transparency.Frontier
	var leaves [][]byte
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = stored[index]
		}
		return hashes, nil
	})
	for size := range 300 {
		if got, want := f.Root(), root(leaves); got != tlog.Hash(want) {
			t.Fatalf("size %d: got root %x, want %x", size, got, want)
		}
		roots, err := reader.ReadHashes(transparency.FrontierIndexes(uint64(size)))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := transparency.NewFrontier(uint64(size), roots); err != nil || again.Root() != f.Root() {
			t.Fatalf("size %d: read again: %v, root %v, want %v", size, err, again.Root(), f.Root())
		}
		leaf := fmt.Append(nil, "leaf ", size)
		want, err := tlog.StoredHashes(int64(size), leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := f.Append(tlog.RecordHash(leaf))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("size %d: got hashes %v, want %v", size, got, want)
		}
		leaves, stored = append(leaves, leaf), append(stored, got...)
	}
	if _, err := transparency.NewFrontier(3, make([]tlog.Hash, 1)); err == nil {
		t.Error("a tree of 3 leaves with one complete subtree was accepted")
	}
}

// keys makes a signer and what verifies it.
func keys(t testing.TB, name string, seed byte) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 64)), name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

func verifiers(t testing.TB, vkeys ...string) note.Verifiers {
	t.Helper()
	v, err := transparency.Verifiers(vkeys...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCheckpoint(t *testing.T) {
	signer, vkey := keys(t, "flagledger/0102030405060708", 1)
	other, otherVkey := keys(t, "flagledger/0102030405060708", 2)
	stranger, strangerVkey := keys(t, "elsewhere", 3)
	want := transparency.Checkpoint{Origin: transparency.Origin(tlog.Hash{1, 2, 3, 4, 5, 6, 7, 8, 9}), Size: 7, Root: tlog.RecordHash(nil)}
	signed, err := want.Sign(signer, other)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(signed.Note, "flagledger/0102030405060708\n7\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n\n— flagledger/0102030405060708 ") {
		t.Errorf("got %q", signed.Note)
	}
	for _, known := range [][]string{{vkey}, {otherVkey}, {strangerVkey, otherVkey, vkey, vkey}} {
		if got, err := transparency.OpenCheckpoint(signed.Note, verifiers(t, known...)); got != signed || err != nil {
			t.Errorf("with %v: got %v and error %v, want %v", known, got, err, signed)
		}
	}
	byStranger, err := want.Sign(stranger)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ signed, vkey, want string }{
		"by nobody known":         {signed.Note, strangerVkey, "not signed by a key that is known here"},
		"by a key of another log": {byStranger.Note, strangerVkey, `of log "flagledger/0102030405060708", its key of "elsewhere"`},
		"altered":                 {strings.Replace(signed.Note, "\n7\n", "\n8\n", 1), vkey, "invalid signature"},
		"cut":                     {signed.Note[:60], vkey, "malformed note"},
		"no note":                 {"", vkey, "malformed note"},
	} {
		if _, err := transparency.OpenCheckpoint(test.signed, verifiers(t, test.vkey)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", name, err, test.want)
		}
	}
	if _, err := transparency.Verifiers("flagledger+00000000+AAAA"); err == nil || !strings.Contains(err.Error(), "flagledger+00000000+AAAA") {
		t.Errorf("a key that is none: %v", err)
	}
}

// What is written is read again; nothing else is.
func TestCheckpointText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := transparency.Checkpoint{
			Origin: rapid.StringMatching(`[a-z/]{1,20}`).Draw(t, "origin"), Size: uint64(rapid.Int64Min(0).Draw(t, "size")),
			Root: tlog.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "root")),
		}
		if got, err := transparency.ParseCheckpoint(want.Text() + "an extension\n"); got != want || err != nil {
			t.Errorf("got %v and %v, want %v", got, err, want)
		}
	})
	hash := tlog.RecordHash(nil).String()
	for _, bad := range []string{"", "a", "a\n1\n", "\n1\n" + hash + "\n", "a\n01\n" + hash + "\n", "a\n-1\n" + hash + "\n", "a\n1\nAAAA\n", "a\n1\n" + hash, "a\n9223372036854775808\n" + hash + "\n"} {
		if got, err := transparency.ParseCheckpoint(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

// What a commit costs on its way into the views: its leaf, and the tree.
func BenchmarkLeaf(b *testing.B) {
	leaf := leafOf(1)
	leaf.Payload = bytes.Repeat([]byte("x"), 1024)
	var f transparency.Frontier
	b.ReportAllocs()
	for b.Loop() {
		f.Append(leaf.Hash())
	}
}
