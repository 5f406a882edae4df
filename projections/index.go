package projections

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"

	"go.etcd.io/bbolt"
)

// The index tells at which positions a term stands. A value holds the positions
// of a term in one block of 256, as their last bytes, in their order. So a term
// that every commit has takes little more than a byte each time, and terms are
// intersected a block at a time.
//
// The keys begin with a part of the history, 8,192 positions, so that what is
// new comes in at the end of the file's tree, in the few pages of the newest
// part. Were all that a term ever had kept together, each rare term of a commit
// would cost the writing of a page. Reading a rare term looks into each part.
const (
	blockBits = 8
	partBits  = 13
)

// indexKey is the key of a term in a block.
func indexKey(term string, block uint64) []byte {
	k := make([]byte, 0, 4+len(term)+3)
	k = binary.BigEndian.AppendUint32(k, uint32(block>>(partBits-blockBits)))
	return append(append(k, term...), 0, byte(block&(1<<(partBits-blockBits)-1)))
}

// note adds a term (see appendTerm) to what the batch brings to the index, and
// tells whether the commit at the position did not have it yet.
func (b *batch) note(position uint64, kind string, values ...string) bool {
	b.term = appendTerm(b.term[:0], kind, values...)
	known := b.terms[string(b.term)]
	if known == nil {
		known = new([]uint64)
		b.terms[string(b.term)] = known
		b.size += len(b.term)
	} else if (*known)[len(*known)-1] == position {
		return false
	}
	*known = append(*known, position)
	return true
}

// writeTerms writes what was noted.
func (b *batch) writeTerms(s *summer) error {
	index := s.tx.Bucket(bucketIndex)
	type entry struct {
		key       []byte
		positions []uint64
	}
	entries := make([]entry, 0, len(b.terms))
	for term, noted := range b.terms {
		positions := *noted
		for len(positions) > 0 {
			block, n := positions[0]>>blockBits, 1
			for n < len(positions) && positions[n]>>blockBits == block {
				n++
			}
			entries = append(entries, entry{indexKey(term, block), positions[:n]})
			positions = positions[n:]
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	begun := b.base.position >> blockBits // the only block that may be there already
	for _, e := range entries {
		var before []byte
		put := s.add
		if e.positions[0]>>blockBits == begun {
			before, put = index.Get(e.key), s.put
		}
		value := append(make([]byte, 0, len(before)+len(e.positions)), before...)
		for _, p := range e.positions {
			value = append(value, byte(p))
		}
		if err := put(bucketIndex, e.key, value); err != nil {
			return err
		}
	}
	return nil
}

// intersect ranges over the positions below the given one that all terms have,
// newest first: each cursor leaps to the block where the others are.
func intersect(tx *bbolt.Tx, terms []string, below uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		cursors := make([]termCursor, len(terms))
		for i, term := range terms {
			cursors[i] = termCursor{term, tx.Bucket(bucketIndex).Cursor()}
		}
		for end := below; end > 0; {
			block := (end - 1) >> blockBits
			common := fullBlock
			for i := 0; i < len(cursors); i++ {
				found, positions := cursors[i].last(block)
				if positions == nil {
					return
				}
				if found < block {
					end = (found + 1) << blockBits
					block, common, i = found, fullBlock, -1
					continue
				}
				common.intersect(positions)
			}
			for low := range common.newestFirst {
				if p := block<<blockBits | low; p < end && p > 0 && !yield(p) {
					return
				}
			}
			end = block << blockBits
		}
	}
}

type termCursor struct {
	term   string
	cursor *bbolt.Cursor
}

// last is the highest block of the term that is not above the given one, and
// what it holds, nil if there is none.
func (c termCursor) last(block uint64) (found uint64, positions []byte) {
	for {
		key := indexKey(c.term, block)
		prefix := key[:len(key)-1]
		k, positions := c.cursor.Seek(key)
		if !bytes.Equal(k, key) {
			if k == nil {
				k, positions = c.cursor.Last()
			} else {
				k, positions = c.cursor.Prev()
			}
		}
		if len(k) == len(key) && bytes.HasPrefix(k, prefix) {
			const within = 1<<(partBits-blockBits) - 1
			return block&^within | uint64(k[len(k)-1]), positions
		}
		part := block >> (partBits - blockBits)
		if part == 0 {
			return 0, nil
		}
		block = part<<(partBits-blockBits) - 1
	}
}

// A blockSet is a set of positions in a block.
type blockSet [1 << blockBits / 64]uint64

var fullBlock = blockSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

func (s *blockSet) intersect(positions []byte) {
	var other blockSet
	for _, p := range positions {
		other[p>>6] |= 1 << (p & 63)
	}
	for i := range s {
		s[i] &= other[i]
	}
}

// newestFirst ranges over the set from the highest position on.
func (s *blockSet) newestFirst(yield func(low uint64) bool) {
	for i := len(s) - 1; i >= 0; i-- {
		for word := s[i]; word != 0; {
			bit := bits.Len64(word) - 1
			word &^= 1 << bit
			if !yield(uint64(i*64 + bit)) {
				return
			}
		}
	}
}
