package identities_test

import (
	"fmt"
	"testing"

	"flagledger/eventstore/identities"
)

// What is not kept is deleted, of everybody, in one environment, for all processes and the next start; the rest stays.
func TestSweep(t *testing.T) {
	js := connect(t, natsServer(t, t.TempDir()))
	s := open(t, js, identities.Options{})
	env, other := identities.EnvironmentToken("p", 1), identities.EnvironmentToken("p", 2)
	const persons = 2500 // more than are swept at once
	for i := range persons {
		s.Identify(env, fmt.Sprintf("u%d", i), traits("plan", "pro", "diagnosis", fmt.Sprint(i), "shoe", i))
	}
	s.Identify(env, "healthy", traits("plan", "pro"))
	s.Identify(other, "ada", traits("diagnosis", "a"))
	kept := func(trait string) bool { return trait == "plan" }
	if swept, err := s.Sweep(t.Context(), env, kept); swept != persons || err != nil {
		t.Errorf("swept %d, %v", swept, err)
	}
	if swept, err := s.Sweep(t.Context(), env, kept); swept != 0 || err != nil {
		t.Errorf("swept %d again, %v", swept, err)
	}
	for _, s := range []*identities.Store{s, open(t, js, identities.Options{})} {
		for identifier, want := range map[string]string{"u0": `u0 plan="pro"`, "u2499": `u2499 plan="pro"`, "healthy": `healthy plan="pro"`} {
			if got := show(s.Get(env, identifier)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		if got := show(s.Get(other, "ada")); got != `ada diagnosis="a"` {
			t.Errorf("in another environment: %s", got)
		}
	}
}
