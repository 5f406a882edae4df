package transparency

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// A Frontier is what must be known of a tree to add leaves to it and to compute
// its root: the roots of the complete subtrees it consists of, the largest first.
// The zero value is the empty tree. It is a few hundred bytes at any size.
type Frontier struct {
	size  uint64
	roots []tlog.Hash // one for each bit that is set in size
}

// NewFrontier makes one of the roots of complete subtrees, the largest first.
func NewFrontier(size uint64, roots []tlog.Hash) (Frontier, error) {
	if want := bits.OnesCount64(size); len(roots) != want {
		return Frontier{}, fmt.Errorf("a tree of %d leaves has %d complete subtrees, not %d", size, want, len(roots))
	}
	return Frontier{size, slices.Clone(roots)}, nil
}

// FrontierIndexes are where the roots of a tree's complete subtrees stand among
// the stored hashes, as tlog numbers them: the largest subtree first.
func FrontierIndexes(size uint64) []int64 {
	var indexes []int64
	for level, before := bits.Len64(size)-1, uint64(0); level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, int64(before>>level)))
			before += 1 << level
		}
	}
	return indexes
}

// Size is the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Roots are those of the complete subtrees, the largest first.
func (f *Frontier) Roots() []tlog.Hash { return slices.Clone(f.roots) }

// Clone returns one that goes its own way.
func (f *Frontier) Clone() Frontier { return Frontier{f.size, slices.Clone(f.roots)} }

// Append adds a leaf, and returns the hashes that a store of the whole tree gets
// with it: the leaf's, and those of the subtrees that it completes.
func (f *Frontier) Append(leaf tlog.Hash) []tlog.Hash {
	stored := []tlog.Hash{leaf}
	for level := 0; f.size>>level&1 == 1; level++ {
		last := len(f.roots) - 1
		leaf = tlog.NodeHash(f.roots[last], leaf)
		f.roots = f.roots[:last]
		stored = append(stored, leaf)
	}
	f.roots = append(f.roots, leaf)
	f.size++
	return stored
}

// Root is the root of the tree (RFC 6962, section 2.1).
func (f *Frontier) Root() tlog.Hash {
	if f.size == 0 {
		return emptyRoot
	}
	root := f.roots[len(f.roots)-1]
	for _, left := range slices.Backward(f.roots[:len(f.roots)-1]) {
		root = tlog.NodeHash(left, root)
	}
	return root
}
