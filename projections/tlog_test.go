package projections_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain"
)

// rfc6962 is the Merkle tree hash of leaf hashes as section 2.1 of the RFC defines it.
func rfc6962(leaves [][32]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := rfc6962(leaves[:k]), rfc6962(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

// The views have the root of every size, and proofs that hold, after single commits, after a restart, and after catching up.
func TestTree(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	var leaves [][32]byte
	record := func() {
		n := len(l.log) + 1
		c := domain.Commit{ID: fmt.Sprint("c", n), Project: domain.OrganisationID, Events: []domain.Event{domain.TokenRevoked{ID: "none"}}}
		rec, err := recorded(c, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		rec.LeafHash = sha256.Sum256(rec.Raw)
		l.log, leaves = append(l.log, rec), append(leaves, rec.LeafHash)
	}
	const size = 101
	for range 40 { // one by one
		record()
		if err := l.Apply(l.log[len(l.log)-1], 0); err != nil {
			t.Fatal(err)
		}
	}
	l.close(t)
	l.open(t)
	for len(l.log) < size { // together
		record()
		if err := l.Apply(l.log[len(l.log)-1], uint64(size-len(l.log))); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for n := range uint64(size + 1) {
			if got, err := l.TreeRoot(n); err != nil || got != tlog.Hash(rfc6962(leaves[:n])) {
				t.Fatalf("%s: root at %d: got %v and %v, want %x", when, n, got, err, rfc6962(leaves[:n]))
			}
		}
		for position := uint64(1); position <= size; position++ {
			for _, of := range []uint64{position, (position + size) / 2, size} {
				root := tlog.Hash(rfc6962(leaves[:of]))
				inclusion, err := l.ProveInclusion(position, of)
				if err == nil {
					err = tlog.CheckRecord(inclusion, int64(of), root, int64(position-1), leaves[position-1])
				}
				if err != nil {
					t.Fatalf("%s: inclusion of %d in %d: %v", when, position, of, err)
				}
				consistency, err := l.ProveConsistency(position, of)
				if err == nil {
					err = tlog.CheckTree(consistency, int64(of), root, int64(position), tlog.Hash(rfc6962(leaves[:position])))
				}
				if err != nil {
					t.Fatalf("%s: consistency of %d with %d: %v", when, position, of, err)
				}
			}
		}
		hashes, err := l.LeafHashes(98, 50)
		if err != nil || fmt.Sprint(hashes) != fmt.Sprint([]tlog.Hash{leaves[97], leaves[98], leaves[99], leaves[100]}) {
			t.Errorf("%s: got leaf hashes %v and %v", when, hashes, err)
		}
	}
	check("written in two ways")
	l.close(t)
	l.open(t)
	check("opened again")

	for name, ask := range map[string]func() error{
		"a root of the future":      func() error { _, err := l.TreeRoot(size + 1); return err },
		"position 0":                func() error { _, err := l.ProveInclusion(0, size); return err },
		"a position behind the end": func() error { _, err := l.ProveInclusion(6, 5); return err },
		"inclusion in the future":   func() error { _, err := l.ProveInclusion(1, size+1); return err },
		"consistency of nothing":    func() error { _, err := l.ProveConsistency(0, 5); return err },
		"consistency backwards":     func() error { _, err := l.ProveConsistency(6, 5); return err },
		"consistency with future":   func() error { _, err := l.ProveConsistency(6, 1<<63); return err },
		"a subtree of the future":   func() error { _, err := l.Frontier(size + 1); return err },
	} {
		if _, refused := errors.AsType[*domain.Error](ask()); !refused {
			t.Errorf("%s: got %v, want a refusal", name, ask())
		}
	}
}
