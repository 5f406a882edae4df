package evaluation

import (
	"crypto/md5"
	"encoding/binary"
	"math/bits"

	"flagledger/domain/evaluation/md5x"
)

// bucket puts salt and key on the line [0, 100), in steps of 100/9998. All engines do it in this way, so that an identity
// is on the same side of a split wherever it is evaluated. Salt and key, joined by a comma, are hashed; on the 9999th
// step, which would be 100, they are hashed again with themselves repeated. buf is scratch space and is returned grown.
func bucket(buf []byte, salt string, key []byte) (float64, []byte) {
	buf = append(append(append(buf[:0], salt...), ','), key...)
	once := len(buf)
	for {
		step := md5Mod9999(buf)
		if step != lastStep {
			return position(step), buf
		}
		buf = append(append(buf, ','), buf[:once]...)
	}
}

// lastStep is the 9999th step, on which nobody stays.
const lastStep = 9998

// position is where a step is on the line.
func position(step uint64) float64 { return float64(step) / lastStep * 100 }

// md5Mod9999 is the MD5 sum, read as a big-endian number of 128 bits, modulo 9999.
func md5Mod9999(data []byte) uint64 {
	sum := md5.Sum(data)
	return mod9999(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:]))
}

// mod9999 is a number of 128 bits modulo 9999. The divisor is constant, so that
// the compiler needs no division, which would take a quarter of the time of the sum.
func mod9999(high, low uint64) uint64 {
	const wrap = (1 << 64) % 9999
	return (high%9999*wrap + low%9999) % 9999
}

// A batch is the salts of up to sixteen splits that hash the same text, all of the same length. Where the processor can
// (md5x.Fast), the first of them that an evaluation of all flags asks for brings the others with it.
type batch struct {
	property int32 // what is hashed, the place in Environment.properties, or theIdentityKey
	salts    int   // how many there are
	prefixes md5x.Prefixes
}

// theIdentityKey is what a batch hashes when it is not the value of a property.
const theIdentityKey = -1

// fewestSalts is for how many salts a batch takes less time than they do one by one.
const fewestSalts = 3

// A place is that of a split among all salts of all batches, or alone.
type place int32

// alone is the place of a split that is not in a batch.
const alone place = -1

func (p place) batch() int { return int(p) / md5x.Lanes }

// placeHashes puts the splits into batches: those of the environment's states first, which everybody meets who is in no
// override, then those of segments, then those of overrides. What is not asked together should not be in one batch.
func (e *Environment) placeHashes() {
	type kind struct {
		property int32
		length   int
	}
	unfilled := map[kind]int{}
	var prefix [md5x.MaxPrefix]byte
	placeOf := func(property int32, salt string) place {
		if !md5x.Fast || len(salt)+1 > md5x.MaxPrefix {
			return alone
		}
		k := kind{property, len(salt)}
		at, ok := unfilled[k]
		if !ok || e.batches[at].salts == md5x.Lanes {
			at = len(e.batches)
			unfilled[k] = at
			e.batches = append(e.batches, batch{property: property})
		}
		b := &e.batches[at]
		b.prefixes.Put(b.salts, append(append(prefix[:0], salt...), ','))
		b.salts++
		return place(at*md5x.Lanes + b.salts - 1)
	}
	used := make([]bool, len(e.segments))
	for i := range e.candidates {
		c := &e.candidates[i]
		switch {
		case c.segment != everybody:
			used[c.segment] = true
		case c.plain == nil:
			c.hash = placeOf(theIdentityKey, c.state.seed)
		}
	}
	e.firstSplit = make([]int32, len(e.segments))
	for i, s := range e.segments {
		e.firstSplit[i] = int32(len(e.splits))
		for _, property := range s.splits {
			at := alone
			if used[i] {
				slot := e.slots[e.firstSlot[i]+property]
				if e.properties[slot].source == fromSplitKey {
					slot = theIdentityKey
				}
				at = placeOf(slot, s.Key)
			}
			e.splits = append(e.splits, at)
		}
	}
	for i := range e.candidates {
		if c := &e.candidates[i]; c.segment != everybody && c.plain == nil {
			c.hash = placeOf(theIdentityKey, c.state.seed)
		}
	}
}

// bucket is where salt and text are on the line. The text is that of all splits in the batch of the place.
func (ev *evaluator) bucket(at place, salt string, text []byte) (b float64) {
	if at != alone && len(ev.steps) > 0 && ev.env.batches[at.batch()].salts >= fewestSalts {
		if ev.steps[at] == 0 {
			ev.hashBatch(at.batch(), text)
		}
		if step := uint64(ev.steps[at] - 1); step != lastStep {
			return position(step)
		}
	}
	b, ev.hash = bucket(ev.hash, salt, text)
	return b
}

// hashBatch finds the steps of all salts in a batch.
func (ev *evaluator) hashBatch(batch int, text []byte) {
	var sums md5x.Words
	ev.hash = ev.env.batches[batch].prefixes.Sum(&sums, text, ev.hash)
	steps := ev.steps[batch*md5x.Lanes:][:md5x.Lanes]
	for lane := range steps {
		high := uint64(bits.ReverseBytes32(sums[0][lane]))<<32 | uint64(bits.ReverseBytes32(sums[1][lane]))
		low := uint64(bits.ReverseBytes32(sums[2][lane]))<<32 | uint64(bits.ReverseBytes32(sums[3][lane]))
		steps[lane] = uint16(mod9999(high, low)) + 1
	}
}
