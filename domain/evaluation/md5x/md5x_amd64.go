package md5x

import (
	"math"

	"golang.org/x/sys/cpu"
)

// Fast tells whether this processor makes sixteen sums in about the time of one.
var Fast = cpu.X86.HasAVX2

// sines are the constants of the 64 steps: "4294967296 times abs(sin(i)), where i is in radians" (RFC 1321, 3.4).
var sines = func() (t [64]uint32) {
	for i := range t {
		t[i] = uint32(1 << 32 * math.Abs(math.Sin(float64(i+1))))
	}
	return t
}()

// sumBlocks sums sixteen messages that consist of the same blocks, apart from their first words, which are added to those
// of the blocks. The blocks have been padded.
func sumBlocks(sums, first *Words, blocks []byte) {
	sum16(sums, first, &sines, &blocks[0], len(blocks)/blockSize)
}

// sum16 is in md5x_amd64.s. It needs AVX2, and reads 64*n bytes of blocks; n is at least 1.
//
//go:noescape
func sum16(sums, first *Words, sines *[64]uint32, blocks *byte, n int)
