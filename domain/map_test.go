package domain_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain"
)

// A Map is a Go map in order, of which every old state stays as it was.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type state struct {
			m    domain.Map[int]
			want map[string]int
		}
		states := []state{{want: map[string]int{}}}
		key := rapid.SampledFrom([]string{"", "a", "b", "ba", "c", "é"})
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			next := state{states[len(states)-1].m, maps.Clone(states[len(states)-1].want)}
			k := key.Draw(t, "key")
			if rapid.Bool().Draw(t, "set") {
				v := rapid.Int().Draw(t, "value")
				next.m, next.want[k] = next.m.Set(k, v), v
			} else {
				next.m = next.m.Delete(k)
				delete(next.want, k)
			}
			states = append(states, next)
		}
		from := key.Draw(t, "from")
		for i, s := range states {
			keys := slices.Sorted(maps.Keys(s.want))
			if got := maps.Collect(s.m.All()); !maps.Equal(got, s.want) || s.m.Len() != len(s.want) {
				t.Fatalf("state %d is %v of length %d, want %v", i, got, s.m.Len(), s.want)
			}
			var got []string
			for k, v := range s.m.From(from) {
				got = append(got, k)
				if v != s.m.Get(k) {
					t.Fatalf("state %d has %d at %q and gets %d", i, v, k, s.m.Get(k))
				}
			}
			if want := slices.DeleteFunc(keys, func(k string) bool { return k < from }); !slices.Equal(got, want) {
				t.Fatalf("state %d from %q is %q, want %q", i, from, got, want)
			}
		}
		for range states[len(states)-1].m.All() {
			break // an iteration may end early
		}
	})
	if got := (domain.Map[*int]{}).Delete("a").Get("a"); got != nil {
		t.Errorf("an empty map has %v", got)
	}
}
