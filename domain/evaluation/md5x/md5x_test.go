package md5x

import (
	"crypto/md5"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// sumOf is the sum in a lane, as bytes.
func sumOf(w *Words, lane int) (sum [md5.Size]byte) {
	for i := range w {
		binary.LittleEndian.PutUint32(sum[4*i:], w[i][lane])
	}
	return sum
}

// check compares the sums of sixteen messages with those that crypto/md5 makes, on both ways.
func check(t *testing.T, prefixes [Lanes]string, suffix string) {
	t.Helper()
	var p Prefixes
	for lane, prefix := range prefixes {
		p.Put(lane, []byte(prefix))
	}
	// The suffix ends where its memory does, and the scratch space has something in it.
	exact := make([]byte, len(suffix))
	copy(exact, suffix)
	dirty := make([]byte, 300)
	for i := range dirty {
		dirty[i] = 0xa5
	}
	var together, oneByOne Words
	p.Sum(&together, exact, dirty)
	p.sumOneByOne(&oneByOne, exact, nil)
	for lane, prefix := range prefixes {
		want := md5.Sum([]byte(prefix + suffix))
		if got := sumOf(&together, lane); got != want {
			t.Fatalf("lane %d, %q + %q: %x, want %x", lane, prefix, suffix, got, want)
		}
		if got := sumOf(&oneByOne, lane); got != want {
			t.Fatalf("one by one, lane %d, %q + %q: %x, want %x", lane, prefix, suffix, got, want)
		}
	}
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// Every length of message up to four blocks, with every length of prefix.
func TestSum(t *testing.T) {
	t.Logf("Fast: %v", Fast)
	r := rand.New(rand.NewPCG(1, 2))
	for length := 1; length <= MaxPrefix; length++ {
		for suffix := range 4*blockSize + 1 {
			var prefixes [Lanes]string
			for lane := range prefixes {
				prefixes[lane] = randomText(r, length)
			}
			check(t, prefixes, randomText(r, suffix))
		}
	}
}

// Lanes that nobody put do not disturb the others.
func TestSomeLanes(t *testing.T) {
	var p Prefixes
	p.Put(3, []byte("17,"))
	p.Put(15, []byte("23,"))
	var sums Words
	p.Sum(&sums, []byte("ada"), nil)
	for lane, message := range map[int]string{3: "17,ada", 15: "23,ada"} {
		if got, want := sumOf(&sums, lane), md5.Sum([]byte(message)); got != want {
			t.Errorf("%s: %x, want %x", message, got, want)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	for _, prefix := range []string{"", "ab", "12345678901234567"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q beside prefixes of 3 bytes is taken", prefix)
				}
			}()
			p := new(Prefixes)
			p.Put(0, []byte("abc"))
			p.Put(1, []byte(prefix))
		}()
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,"), "env_user-1", uint8(3))
	f.Add([]byte{}, "", uint8(16))
	f.Fuzz(func(t *testing.T, beginnings []byte, suffix string, length uint8) {
		n := 1 + int(length)%MaxPrefix
		padded := append(beginnings, make([]byte, Lanes*n)...)
		var prefixes [Lanes]string
		for lane := range prefixes {
			prefixes[lane] = string(padded[lane*n:][:n])
		}
		check(t, prefixes, suffix)
	})
}

// Sixteen sums of the length that evaluation needs, and one of crypto/md5 beside them.
func BenchmarkSum(b *testing.B) {
	key := []byte("8AYnz4q3KEfT5DFtnramnP_user-1234")
	b.Run("16", func(b *testing.B) {
		var p Prefixes
		for lane := range Lanes {
			p.Put(lane, []byte("123456,"))
		}
		var sums Words
		var scratch []byte
		for b.Loop() {
			scratch = p.Sum(&sums, key, scratch)
		}
	})
	b.Run("1", func(b *testing.B) {
		message := append([]byte("123456,"), key...)
		for b.Loop() {
			md5.Sum(message)
		}
	})
}
