package domain

import (
	"iter"
	"strings"

	"github.com/benbjohnson/immutable"
)

// Map is a persistent map with string keys in order: Set and Delete return a
// new map and leave the old one as it was, so that a state, once published,
// can be read without a lock while the next one is being made.
// The zero Map is empty.
type Map[V any] struct {
	m *immutable.SortedMap[string, V]
}

// byBytes is the order of keys, found in one comparison where that of the library
// takes two.
type byBytes struct{}

func (byBytes) Compare(a, b string) int { return strings.Compare(a, b) }

// Get returns the value for the key, or the zero value.
func (m Map[V]) Get(key string) V {
	if m.m == nil {
		var zero V
		return zero
	}
	v, _ := m.m.Get(key)
	return v
}

// Set returns the map with the key's value replaced.
func (m Map[V]) Set(key string, v V) Map[V] {
	if m.m == nil {
		m.m = immutable.NewSortedMap[string, V](byBytes{})
	}
	return Map[V]{m.m.Set(key, v)}
}

// Delete returns the map without the key.
func (m Map[V]) Delete(key string) Map[V] {
	if m.m == nil {
		return m
	}
	return Map[V]{m.m.Delete(key)}
}

// Len is the number of keys.
func (m Map[V]) Len() int {
	if m.m == nil {
		return 0
	}
	return m.m.Len()
}

// All ranges over the map in the order of its keys.
func (m Map[V]) All() iter.Seq2[string, V] { return m.From("") }

// Keys are the keys, in their order.
func (m Map[V]) Keys() []string {
	keys := make([]string, 0, m.Len())
	for key := range m.All() {
		keys = append(keys, key)
	}
	return keys
}

// From ranges over the map in the order of its keys, from the first key that
// is not less than start.
func (m Map[V]) From(start string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m.m == nil {
			return
		}
		it := m.m.Iterator()
		it.Seek(start)
		for !it.Done() {
			k, v, _ := it.Next()
			if !yield(k, v) {
				return
			}
		}
	}
}
