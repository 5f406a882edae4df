package evaluation

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestMod9999(t *testing.T) {
	words := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 9998, 9999, 10000, math.MaxUint64 - 1, math.MaxUint64}))
	rapid.Check(t, func(t *rapid.T) {
		high, low := words.Draw(t, "high"), words.Draw(t, "low")
		n := new(big.Int).Lsh(new(big.Int).SetUint64(high), 64)
		n.Add(n, new(big.Int).SetUint64(low))
		if got, want := mod9999(high, low), n.Mod(n, big.NewInt(9999)).Uint64(); got != want {
			t.Fatalf("%d and %d modulo 9999: %d, want %d", high, low, got, want)
		}
	})
}
