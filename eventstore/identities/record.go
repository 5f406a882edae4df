package identities

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"

	"flagledger/domain/evaluation"
)

// contents is what changes of a person: the traits by key, and when they did.
type contents struct {
	created, updated int64 // Unix milliseconds
	traits           []Trait
}

// A record is the contents, encoded: in memory as it is, in the streams sealed.
//
//	uvarint created
//	uvarint updated, as the distance to created
//	uvarint number of traits, which follow by key:
//	    uvarint length, key, kind (one letter), value
//
// It is a string so that decoding copies no text: keys and texts of the traits
// handed out are parts of the record.
type record string

// The kinds of values, and what follows the letter.
const (
	kindFalse  = 'f' // nothing
	kindTrue   = 't' // nothing
	kindInt    = 'i' // varint
	kindFloat  = 'd' // 8 bytes, little endian
	kindString = 's' // uvarint length, text
)

// encode takes traits that are sorted by key and not null.
func (c contents) encode() record {
	var space [512]byte
	b := binary.AppendUvarint(space[:0], uint64(c.created))
	b = binary.AppendUvarint(b, uint64(max(c.updated-c.created, 0)))
	b = binary.AppendUvarint(b, uint64(len(c.traits)))
	for _, t := range c.traits {
		b = binary.AppendUvarint(b, uint64(len(t.Key)))
		b = append(b, t.Key...)
		switch t.Value.Kind() {
		case evaluation.KindBool:
			if v, _ := t.Value.AsBool(); v {
				b = append(b, kindTrue)
			} else {
				b = append(b, kindFalse)
			}
		case evaluation.KindInt:
			v, _ := t.Value.AsInt()
			b = binary.AppendVarint(append(b, kindInt), v)
		case evaluation.KindFloat:
			v, _ := t.Value.AsFloat()
			b = binary.LittleEndian.AppendUint64(append(b, kindFloat), math.Float64bits(v))
		case evaluation.KindString:
			v, _ := t.Value.AsString()
			b = binary.AppendUvarint(append(b, kindString), uint64(len(v)))
			b = append(b, v...)
		}
	}
	return record(b)
}

var errRecord = errors.New("not a record of traits")

func (r record) decode() (contents, error) {
	c := cursor{rest: string(r)}
	var d contents
	var count int
	d.created, d.updated, count = c.begin()
	if count > 0 {
		d.traits = make([]Trait, 0, count)
	}
	for t := range c.traits(count) {
		d.traits = append(d.traits, t)
	}
	return d, c.end()
}

// check finds what decode would fail on, and keys out of order, without
// allocating.
func (r record) check() error {
	c := cursor{rest: string(r)}
	_, _, count := c.begin()
	last := ""
	for t := range c.traits(count) {
		if t.Key <= last && last != "" {
			return errRecord
		}
		last = t.Key
	}
	return c.end()
}

// A cursor reads a record from its beginning. After a failure it reads zeros.
type cursor struct {
	rest   string
	failed bool
}

func (c *cursor) fail() {
	c.rest, c.failed = "", true
}

func (c *cursor) begin() (created, updated int64, count int) {
	created = int64(c.uvarint())
	updated = created + int64(c.uvarint())
	n := c.uvarint()
	if n > uint64(len(c.rest)/2) { // a trait takes two bytes at least
		c.fail()
		return 0, 0, 0
	}
	return created, updated, int(n)
}

func (c *cursor) traits(count int) iter.Seq[Trait] {
	return func(yield func(Trait) bool) {
		for range count {
			if t := (Trait{Key: c.text(), Value: c.value()}); c.failed || !yield(t) {
				return
			}
		}
	}
}

func (c *cursor) end() error {
	if c.failed || c.rest != "" {
		return errRecord
	}
	return nil
}

func (c *cursor) take(n uint64) string {
	if n > uint64(len(c.rest)) {
		c.fail()
		return ""
	}
	s := c.rest[:n]
	c.rest = c.rest[n:]
	return s
}

func (c *cursor) text() string { return c.take(c.uvarint()) }

// uvarint is binary.Uvarint, of a string.
func (c *cursor) uvarint() uint64 {
	if c.rest != "" && c.rest[0] < 0x80 { // nearly always
		v := c.rest[0]
		c.rest = c.rest[1:]
		return uint64(v)
	}
	var v uint64
	for i := range len(c.rest) {
		b := c.rest[i]
		if i == binary.MaxVarintLen64-1 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.rest = c.rest[i+1:]
			return v
		}
	}
	c.fail()
	return 0
}

func (c *cursor) value() evaluation.Value {
	switch c.take(1) {
	case string(kindFalse):
		return evaluation.Bool(false)
	case string(kindTrue):
		return evaluation.Bool(true)
	case string(kindInt):
		v := c.uvarint()
		return evaluation.Int(int64(v>>1) ^ -int64(v&1)) // as encoding/binary folds the sign in
	case string(kindFloat):
		var b [8]byte
		copy(b[:], c.take(8))
		return evaluation.Float(math.Float64frombits(binary.LittleEndian.Uint64(b[:])))
	case string(kindString):
		return evaluation.String(c.text())
	default:
		c.fail()
		return evaluation.Null()
	}
}

// find returns where the key is in the sorted traits, or would be.
func find(traits []Trait, key string) (int, bool) {
	return slices.BinarySearchFunc(traits, key, func(t Trait, key string) int { return strings.Compare(t.Key, key) })
}

// put sets a trait in a sorted list, which it may change.
func put(traits []Trait, t Trait) []Trait {
	i, found := find(traits, t.Key)
	if found {
		traits[i] = t
		return traits
	}
	return slices.Insert(traits, i, t)
}

// overlay puts later changes over earlier ones, which it may change. Nulls stay.
func overlay(earlier, later []Trait) []Trait {
	for _, t := range later {
		earlier = put(earlier, t)
	}
	return earlier
}

// merge makes the changes to a copy of the sorted traits; a null deletes. A new
// trait beyond the limit is refused. effective are the changes that made a
// difference; when there are none, merged is traits itself.
func merge(traits, changes []Trait, limit int) (merged, effective []Trait, refused int) {
	merged = traits
	for _, t := range changes {
		i, found := find(merged, t.Key)
		switch {
		case found && merged[i].Value == t.Value, !found && t.Value.IsNull():
			continue
		case !found && len(merged) >= limit:
			refused++
			continue
		case len(effective) == 0:
			merged = slices.Clone(merged)
		}
		if t.Value.IsNull() {
			merged = slices.Delete(merged, i, i+1)
		} else {
			merged = put(merged, t)
		}
		effective = append(effective, t)
	}
	return merged, effective, refused
}

// change makes the changes to a record, without a limit: they were allowed when
// they were made.
func (r record) change(changes []Trait, now int64) (changed record, different bool) {
	c, _ := r.decode()
	merged, effective, _ := merge(c.traits, changes, math.MaxInt)
	if len(effective) == 0 {
		return r, false
	}
	return contents{c.created, max(c.updated, now), merged}.encode(), true
}
