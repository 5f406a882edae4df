package domain_test

import (
	"maps"
	"slices"
	"testing"

	"flagledger/domain"
)

// A state, once there, stays as it is: readers hold on to it without a lock.
func TestEvolveLeavesTheOldStateAlone(t *testing.T) {
	begin, end := story()
	all := slices.Concat(begin, end)
	objects := objectsOf(empty(), all...)
	p, was := empty(), []map[string]string{}
	var states []*domain.Project
	for _, p = range tell(p, all...) {
		states = append(states, p)
		was = append(was, contents(t, p, objects))
	}
	for i, p := range states {
		if got := contents(t, p, objects); !maps.Equal(got, was[i]) {
			t.Errorf("state %d has changed since: %v, was %v", i, got, was[i])
		}
	}
}

// What an event changes is told by its Objects: the views write these and no others.
func TestObjectsAreAllThatChanges(t *testing.T) {
	begin, end := story()
	for _, all := range [][]domain.Event{slices.Concat(begin, end), organisation(), append(begin, domain.ProjectDeleted{Key: "shop"})} {
		every := objectsOf(empty(), all...)
		states := tell(empty(), all...)
		for i, e := range all {
			before, now := contents(t, states[i], every), contents(t, states[i+1], every)
			told := e.Objects(states[i])
			for _, o := range every {
				if before[o.String()] != now[o.String()] && !slices.Contains(told, o) {
					t.Errorf("%s changes %s and does not tell: from %s to %s", e.EventType(), o, before[o.String()], now[o.String()])
				}
			}
		}
	}
}

// Several events of one commit lead where they lead one by one.
func TestEvolveTogether(t *testing.T) {
	begin, _ := story()
	objects := objectsOf(empty(), begin...)
	together, _ := empty().Evolve(begin, domain.Stamp{})
	oneByOne := empty()
	for _, e := range begin {
		oneByOne, _ = oneByOne.Evolve([]domain.Event{e}, domain.Stamp{})
	}
	if got, want := contents(t, together, objects), contents(t, oneByOne, objects); !maps.Equal(got, want) {
		t.Errorf("together %v, one by one %v", got, want)
	}
}

// What is stored object by object and restored is the same project.
func TestRestore(t *testing.T) {
	begin, _ := story()
	p := after(empty(), begin...)
	restored := &domain.Project{ID: p.ID}
	objects := objectsOf(empty(), begin...)
	slices.SortStableFunc(objects, func(a, b domain.Object) int { // environments first, as the views do it
		return len(a.Environment) - len(b.Environment)
	})
	for _, o := range objects {
		if image := p.Get(o); image != nil {
			if err := restored.Restore(o, []byte(toJSON(t, image))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := contents(t, restored, objects), contents(t, p, objects); !maps.Equal(got, want) {
		t.Errorf("restored %v, was %v", got, want)
	}
	if got, want := restored.Folded.Get("search"), "Search"; got != want {
		t.Errorf("folded key %q, want %q", got, want)
	}
	for key, env := range p.Environments.All() {
		again := restored.Environments.Get(key)
		if got, want := usesOf(again), usesOf(env); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: restored uses %v, were %v", key, got, want)
		}
		if got, want := restored.ContentDigest(again).String(), p.ContentDigest(env).String(); got != want {
			t.Errorf("%s: the restored content has digest %s, was %s", key, got, want)
		}
	}

	for name, test := range map[string]struct {
		object domain.Object
		image  string
	}{
		"not JSON":                {domain.Object{Kind: domain.KindFeature, Key: "a"}, `{`},
		"part of no environment":  {domain.Object{Kind: domain.KindFeatureState, Environment: "nowhere", Key: "a"}, `{}`},
		"a kind that there isn't": {domain.Object{Kind: "planet", Key: "a"}, `{}`},
	} {
		if err := restored.Restore(test.object, []byte(test.image)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A new project under the key of a deleted one begins empty, its numbers behind
// those of the old one.
func TestProjectDeleted(t *testing.T) {
	begin, _ := story()
	p := after(empty(), append(begin, domain.ProjectDeleted{Key: "shop"})...)
	if p.Exists() || p.LastID != 16 || p.Features.Len()+p.Segments.Len()+p.Environments.Len()+p.Contexts.Len() > 0 {
		t.Errorf("after its deletion there is left of the project: %s", toJSON(t, p))
	}
	p = after(p, domain.ProjectCreated{Key: "shop", Name: "Again"})
	if p.LastID != 16 || p.SDKID() != 1 {
		t.Errorf("the new project has handed out %d and is %d, want 16 and 1", p.LastID, p.SDKID())
	}
}

func TestProjectID(t *testing.T) {
	if a, b := domain.ProjectID("shop"), domain.ProjectID("shop"); a != b || a == domain.ProjectID("Shop") {
		t.Error("a project's id is not that of its key alone")
	}
	if got, want := domain.ProjectID("shop"), "bc2e75c2-364e-56d4-b671-476f2a42e9d4"; got != want {
		t.Errorf("the id of project shop is %s, want %s: it names the project in all logs there are", got, want)
	}
}

// The last number used is that of anything in the state.
func TestLastID(t *testing.T) {
	begin, _ := story()
	for i, p := range tell(empty(), begin...) {
		highest := int32(0)
		for _, f := range p.Features.All() {
			highest = max(highest, f.ID)
			for _, v := range f.Variants {
				highest = max(highest, v.ID)
			}
		}
		for _, s := range p.Segments.All() {
			highest = max(highest, s.ID)
		}
		for _, env := range p.Environments.All() {
			highest = max(highest, env.ID)
			for _, s := range env.States.All() {
				highest = max(highest, s.Seed)
			}
			for _, o := range env.Overrides.All() {
				for _, seed := range o.Seeds {
					highest = max(highest, seed)
				}
			}
		}
		if p.LastID < highest {
			t.Errorf("after event %d number %d is in use and the last one handed out is %d", i, highest, p.LastID)
		}
	}
}

// usesOf are the features with overrides for each segment.
func usesOf(env *domain.Environment) map[string][]string {
	uses := map[string][]string{}
	for segment, features := range env.Uses.All() {
		uses[segment] = features.Keys()
	}
	return uses
}
