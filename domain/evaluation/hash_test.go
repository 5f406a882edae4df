package evaluation

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestMod9999(t *testing.T) {
	words := rapid.OneOf(rapid.Uint32(), rapid.SampledFrom([]uint32{0, 1, 9998, 9999, 10000, math.MaxUint32 - 1, math.MaxUint32}))
	rapid.Check(t, func(t *rapid.T) {
		n := new(big.Int)
		var w [4]uint32
		for i := range w {
			w[i] = words.Draw(t, "word")
			n.Add(n.Lsh(n, 32), new(big.Int).SetUint64(uint64(w[i])))
		}
		if got, want := mod9999(w[0], w[1], w[2], w[3]), n.Mod(n, big.NewInt(9999)).Uint64(); got != want {
			t.Fatalf("%x modulo 9999: %d, want %d", w, got, want)
		}
	})
}
