package evaluation

import (
	"encoding/json"
	"hash/maphash"
	"io"
	"strings"
)

// in is IN: the value's text is one of a set, however large. Booleans and fractions never are, nor are texts that read
// like a fraction; a text that reads like an integer is looked up as that integer.
//
// It is a hash table with open addressing, at most half full. A value is hashed once for all the lists that ask for it,
// which a Go map cannot do, and where it is in none of them, the marks are all that is looked at.
type in struct {
	marks []uint32 // of the texts in the same places; 0 where there is none
	texts []string
}

// inSeed keeps those who send values from choosing ones that get in each other's way. What is found does not depend on it.
var inSeed = maphash.MakeSeed()

func compileIn(value string) predicate {
	elements := ListOf(value)
	size := 2
	for size < 2*len(elements) {
		size *= 2
	}
	set := &in{make([]uint32, size), make([]string, size)}
	for _, e := range elements {
		hash := maphash.String(inSeed, e)
		if at, found := set.find(hash, []byte(e)); !found {
			set.marks[at], set.texts[at] = mark(hash), e
		}
	}
	return set
}

func mark(hash uint64) uint32 { return uint32(hash>>32) | 1 }

// find is the place of a text with its hash, or else the one where it would be.
func (set *in) find(hash uint64, text []byte) (at int, found bool) {
	for at = int(hash); ; at++ {
		at &= len(set.marks) - 1
		switch set.marks[at] {
		case 0:
			return at, false
		case mark(hash):
			if set.texts[at] == string(text) {
				return at, true
			}
		}
	}
}

func (set *in) holds(v *operand, ev *evaluator) bool {
	switch v.kind {
	case KindInt, KindString, kindBig:
		ev.text = appendPython(ev.text[:0], v.Value)
		if !v.hashed { // many lists ask for one trait
			v.hash, v.hashed = maphash.Bytes(inSeed, ev.text), true
		}
		_, found := set.find(v.hash, ev.text)
		return found
	default:
		return false
	}
}

// ListOf are the elements of an IN condition's value, as the server reads it: those of a JSON array, or else the texts
// between commas, blanks and all.
func ListOf(value string) []string {
	if strings.HasPrefix(value, "[") {
		if elements, ok := jsonList(value); ok {
			texts := make([]string, 0, len(elements))
			for _, e := range elements {
				if text, ok := elementText(e); ok {
					texts = append(texts, text)
				}
			}
			return texts
		}
	}
	return strings.Split(value, ",")
}

// jsonList decodes an array; numbers stay as they are written.
func jsonList(value string) (elements []any, ok bool) {
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&elements); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return elements, err == io.EOF
}

// elementText is Python's str() of a JSON value. Arrays and objects inside a list equal no value and are left out.
func elementText(e any) (text string, ok bool) {
	var v Value
	switch e := e.(type) {
	case nil:
		return "None", true
	case string:
		return e, true
	case bool:
		v = Bool(e)
	case json.Number:
		if i, ok := castInt(e.String()); ok {
			v = i
		} else if f, ok := castFloat(e.String()); ok {
			v = Float(f)
		}
	}
	return string(appendPython(nil, v)), v.kind != KindNull
}
