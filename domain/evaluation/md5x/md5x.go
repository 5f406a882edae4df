// Package md5x computes MD5 sums of sixteen messages at once, where the messages differ in nothing but how they begin.
//
// Evaluation hashes the texts "<salt>,<key>" of one identity with the salts of many flags: the beginnings are known when
// an environment is compiled, and the rest is the same for all. One MD5 sum is a chain of operations, each of which waits
// for the one before; a processor with vectors does the same chain for sixteen messages in little more time.
//
//	var begin md5x.Prefixes
//	begin.Put(0, []byte("17,"))
//	begin.Put(1, []byte("23,")) // as long as the first
//	scratch = begin.Sum(&sums, []byte("identity"), scratch)
//	// sums[0] to sums[3] have the words of the sixteen sums, in the first place those of "17,identity"
//
// Where Fast is false the sums are made one by one by crypto/md5, all sixteen of them.
package md5x

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	// Lanes is how many messages are hashed together.
	Lanes = 16
	// MaxPrefix is the number of bytes in which messages can differ.
	MaxPrefix = 16

	blockSize = md5.BlockSize
)

// Words are the four words of sixteen sums: word i of the sum in lane j is Words[i][j]. In a sum's bytes, the words follow
// each other, the lowest byte of each first (RFC 1321, 3.5).
type Words [4][Lanes]uint32

// Prefixes are the beginnings of sixteen messages. All have the same length.
type Prefixes struct {
	length int
	words  Words // the first 16 bytes of the messages; zero where the prefix has ended
}

// Put sets the beginning of the message in a lane. The first call says how long all of them are; lanes that are not put
// begin with as many zeros. It panics when the prefix has another length, or more than MaxPrefix bytes, or none.
func (p *Prefixes) Put(lane int, prefix []byte) {
	if p.length == 0 {
		p.length = len(prefix)
	}
	if len(prefix) == 0 || len(prefix) > MaxPrefix || len(prefix) != p.length {
		panic(fmt.Sprintf("md5x: a prefix of %d bytes beside others of %d; want as many, at least 1 and at most %d", len(prefix), p.length, MaxPrefix))
	}
	var b [MaxPrefix]byte
	copy(b[:], prefix)
	for i := range p.words {
		p.words[i][lane] = binary.LittleEndian.Uint32(b[4*i:])
	}
}

// Sum computes the sums of all prefixes with the suffix behind each. scratch is memory to work in and is returned grown.
func (p *Prefixes) Sum(sums *Words, suffix, scratch []byte) []byte {
	if !Fast {
		return p.sumOneByOne(sums, suffix, scratch)
	}
	// What follows the message is 0x80, zeros and the length of the message in bits (RFC 1321, 3.1 and 3.2).
	length := p.length + len(suffix)
	end := (length + 9 + blockSize - 1) / blockSize * blockSize
	scratch = slices.Grow(scratch[:0], end)[:end]
	clear(scratch[:p.length])
	copy(scratch[p.length:], suffix)
	clear(scratch[length:])
	scratch[length] = 0x80
	binary.LittleEndian.PutUint64(scratch[end-8:], 8*uint64(length))
	sumBlocks(sums, &p.words, scratch)
	return scratch
}

// sumOneByOne is Sum for processors without the instructions for it.
func (p *Prefixes) sumOneByOne(sums *Words, suffix, scratch []byte) []byte {
	for lane := range Lanes {
		scratch = slices.Grow(scratch[:0], MaxPrefix)
		for i := range p.words {
			scratch = binary.LittleEndian.AppendUint32(scratch, p.words[i][lane])
		}
		scratch = append(scratch[:p.length], suffix...)
		sum := md5.Sum(scratch)
		for i := range sums {
			sums[i][lane] = binary.LittleEndian.Uint32(sum[4*i:])
		}
	}
	return scratch
}
