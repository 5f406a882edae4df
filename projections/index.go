package projections

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"
	"strings"

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

// appendIndexKey appends the key of a term in a block.
func appendIndexKey(k []byte, term string, block uint64) []byte {
	k = binary.BigEndian.AppendUint32(k, uint32(block>>(partBits-blockBits)))
	return append(append(k, term...), 0, byte(block&(1<<(partBits-blockBits)-1)))
}

// noted are the terms that a batch brings to the index, and where they stand.
// There are a dozen for each commit, so that little is allocated for each.
type noted struct {
	numbers map[string]int32 // of terms
	newest  []uint64         // by number: the position noted last
	places  []place          // in the order in which they were noted
}

type place struct {
	position uint64
	term     int32
}

// add notes that the term stands at the position, behind all it is known to stand
// at, and tells whether that was not known.
func (n *noted) add(term []byte, position uint64) bool { return n.place(n.number(term), position) }

// number is the term's.
func (n *noted) number(term []byte) int32 {
	number, known := n.numbers[string(term)]
	if !known {
		if n.numbers == nil {
			n.numbers = map[string]int32{}
		}
		number = int32(len(n.newest))
		n.numbers[string(term)] = number
		n.newest = append(n.newest, 0)
	}
	return number
}

func (n *noted) place(term int32, position uint64) bool {
	if n.newest[term] == position {
		return false
	}
	n.newest[term] = position
	n.places = append(n.places, place{position, term})
	return true
}

// byTerm are the positions, those of each term together and in their order: the
// ones of a term begin where its number's do, and end where the next one's begin.
func (n *noted) byTerm() (positions []uint64, begin []int32) {
	begin = make([]int32, len(n.newest)+2)
	for _, p := range n.places {
		begin[p.term+2]++
	}
	for i := 2; i < len(begin); i++ {
		begin[i] += begin[i-1]
	}
	positions = make([]uint64, len(n.places))
	for _, p := range n.places { // moves each beginning to its end, which is the next one's beginning
		positions[begin[p.term+1]] = p.position
		begin[p.term+1]++
	}
	return positions, begin
}

// addAll notes what others noted later.
func (n *noted) addAll(later *noted) {
	numbers := make([]int32, len(later.newest))
	for term, number := range later.numbers {
		numbers[number] = n.number([]byte(term))
	}
	for _, p := range later.places {
		n.place(numbers[p.term], p.position)
	}
}

// note adds a term (see appendTerm) to what the batch brings to the index, and
// tells whether the commit at the position did not have it yet.
func (b *batch) note(position uint64, kind string, values ...string) bool {
	b.term = appendTerm(b.term[:0], kind, values...)
	before := len(b.terms.numbers)
	added := b.terms.add(b.term, position)
	if len(b.terms.numbers) > before {
		b.size += len(b.term)
	}
	return added
}

// writeTerms writes what was noted, in the order of terms, which within a part of
// the index is that of the keys.
func (b *batch) writeTerms(s *summer) error {
	index := s.tx.Bucket(bucketIndex)
	type entry struct {
		term   string
		number int32
	}
	entries := make([]entry, 0, len(b.terms.numbers))
	for term, number := range b.terms.numbers {
		entries = append(entries, entry{term, number})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.term, b.term) })
	begun := b.base.position >> blockBits // the only block that may be there already
	values := make([]byte, 0, len(b.terms.places))
	var key []byte
	positions, begin := b.terms.byTerm()
	for _, e := range entries {
		for left := positions[begin[e.number]:begin[e.number+1]]; len(left) > 0; {
			block, first := left[0]>>blockBits, len(values)
			key = appendIndexKey(key[:0], e.term, block)
			put := s.add
			if block == begun {
				put = s.put
				values = append(values, index.Get(key)...)
			}
			for len(left) > 0 && left[0]>>blockBits == block {
				values, left = append(values, byte(left[0])), left[1:]
			}
			if err := put(bucketIndex, key, values[first:len(values):len(values)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// intersect ranges over the positions below the given one that have a term of
// each list, newest first: each union leaps to the block where the others are.
func intersect(tx *bbolt.Tx, terms [][]string, below uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		unions := make([]union, len(terms))
		for i, list := range terms {
			for _, term := range list {
				unions[i] = append(unions[i], termCursor{term: term, cursor: tx.Bucket(bucketIndex).Cursor()})
			}
		}
		for end := below; end > 0; {
			block := (end - 1) >> blockBits
			common := fullBlock
			for i := 0; i < len(unions); i++ {
				found, positions := unions[i].last(block)
				if positions == (blockSet{}) {
					return
				}
				if found < block {
					end = (found + 1) << blockBits
					block, common, i = found, fullBlock, -1
					continue
				}
				common.intersect(&positions)
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

// A union is of the positions of its terms.
type union []termCursor

// last is the highest block of any of the terms that is not above the given one,
// and what it holds, nothing if there is none. The blocks it is asked for descend.
func (u union) last(block uint64) (highest uint64, set blockSet) {
	for i := range u {
		c := &u[i]
		if !c.sought || c.found > block {
			c.found, c.positions = c.last(block)
			c.sought = true
		}
		if c.positions == nil || c.found < highest {
			continue
		}
		if c.found > highest {
			highest, set = c.found, blockSet{}
		}
		set.add(c.positions)
	}
	return highest, set
}

type termCursor struct {
	term   string
	cursor *bbolt.Cursor

	sought    bool // what was found last, and holds for all blocks from there up to the one asked for
	found     uint64
	positions []byte
}

// last is the highest block of the term that is not above the given one, and
// what it holds, nil if there is none.
func (c *termCursor) last(block uint64) (found uint64, positions []byte) {
	for {
		key := appendIndexKey(nil, c.term, block)
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

func (s *blockSet) add(positions []byte) {
	for _, p := range positions {
		s[p>>6] |= 1 << (p & 63)
	}
}

func (s *blockSet) intersect(other *blockSet) {
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
