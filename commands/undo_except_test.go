package commands_test

import (
	"errors"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// A field that somebody else has set since is theirs, also where it is again what
// it was made at first. What leads to the same is none.
func TestUndoOfWhatWasSetAgain(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	set := func(v string) uint64 {
		return l.must(t, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value(v)}).Position
	}
	a := l.must(t, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: commands.StateInput{Enabled: new(true), Value: commands.Some(evaluation.String("a"))}}).Position
	b := set("b")
	again := set("a")
	described := l.must(t, commands.UpdateFeature{Feature: "search", Description: new("a")}).Position
	tagged := l.must(t, commands.UpdateFeature{Feature: "search", Tags: &[]string{"t"}}).Position
	l.must(t, commands.UpdateFeature{Feature: "search", Tags: &[]string{}})
	last := l.last(t)
	_, err := l.Do(t.Context(), change(undo(a)))
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Kind != domain.Conflict || len(e.Errors) != 1 || e.Errors[0].Field != "state:prod/checkout/value" ||
		!strings.Contains(e.Errors[0].Detail, `changed at position 2, and again at position 4: it should become "v1" again, but is "a" now`) || l.last(t) != last {
		t.Errorf("got %v", err)
	}
	for position, want := range map[uint64]int{
		b:      0, // it is so already
		tagged: 0,
		again:  1,
	} {
		plan, err := l.Preview(t.Context(), l.project(), undo(position))
		if err != nil || len(plan.Events) != want {
			t.Errorf("undo of %d: events %v, error %v, want %d", position, told(t, plan.Events), err, want)
		}
	}
	l.must(t, undo(described)) // others have set other fields
	// All of them together are nobody else's.
	l.must(t, commands.Undo{Selection: domain.Selection{Actor: "t1"}, Manage: true, Except: []string{"position:1"}})
	if s := l.project().Environments.Get("prod").States.Get("checkout"); s.Enabled || s.Value != evaluation.String("v1") {
		t.Errorf("the state is %+v", s)
	}
}

// Who puts something in another place sets its place, and nothing else of it.
func TestUndoOfWhatWasMoved(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	order := func(all ...string) uint64 {
		return l.must(t, commands.OrderSegmentOverrides{Environment: "prod", Feature: "checkout", Order: all}).Position
	}
	added := l.must(t, override("checkout", "us", value("new"))).Position
	moved := order("beta", "us")
	order("us", "beta")
	order("beta", "us")
	if _, err := l.Preview(t.Context(), l.project(), undo(moved)); !refuses(err, "conflict : again at position 5: it should become at place") {
		t.Error(refusal(err))
	}
	l.must(t, undo(added))
}

// Everything by one actor can be undone without what cannot be: that is said of
// each, and left out when it is named.
func TestUndoExcept(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, commands.CreateEnvironment{Key: "old"})
	l.must(t, commands.SetFeatureState{Environment: "old", Feature: "checkout", StateInput: enabled(true)})
	evil := func(all ...commands.Command) uint64 {
		c := change(all...)
		c.Actor.ID = "evil"
		result, err := l.Do(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return result.Position
	}
	before := contentsOf(t, l.project())
	evil(commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("evil")}, commands.UpdateEnvironment{Environment: "prod", Name: new("evil"), Description: new("evil")})
	evil(commands.CreateSDKKey{Environment: "prod", ID: "k", Kind: domain.ServerKey, Name: "k", Hash: "h"}, commands.CreateFeature{Key: "evil"}, commands.CreateEnvironment{Key: "evil"})
	evil(commands.SetFeatureState{Environment: "evil", Feature: "evil", StateInput: enabled(true)}, commands.CreateEnvironment{Key: "short"})
	evil(commands.SetFeatureState{Environment: "short", Feature: "evil", StateInput: enabled(true)})
	evil(commands.DeleteEnvironment{Environment: "short"})
	evil(commands.SetFeatureState{Environment: "old", Feature: "checkout", StateInput: value("evil")})
	deleted := evil(commands.DeleteEnvironment{Environment: "old"}, commands.UpdateProject{Name: new("evil")})
	last := l.last(t)
	by := commands.Undo{Selection: domain.Selection{Actor: "evil"}, Manage: true}
	refused := func(c commands.Undo, wants ...string) {
		t.Helper()
		_, err := l.Do(t.Context(), change(c))
		for _, want := range wants {
			if err == nil || !refuses(err, want) || l.last(t) != last {
				t.Errorf("%s, want %s", refusal(err), want)
			}
		}
	}
	refused(by, `conflict : 1 of the changes cannot be undone, and nothing was done: environment:old: it was deleted at position 10, and its SDK keys`)
	except := func(all ...string) commands.Undo {
		c := by
		c.Except = all
		return c
	}
	refused(except("segment:us"), `invalid except[0]: nothing of "segment:us" is to be undone`)
	refused(except("environment:old", "position:1"), `invalid except[1]: nothing of "position:1" is to be undone`)
	for _, wrong := range []string{"position:x", "position:0", "10", "", "feature:f*", "planet:earth"} {
		refused(except(wrong), "malformed except[0]: ")
	}
	single := undo(deleted)
	single.Except = []string{"position:10"}
	refused(single, "invalid except: nothing is left to undo")
	editor := except("environment:old")
	editor.Manage = false
	refused(editor, `forbidden : to undo what was done to project:shop at position 10 needs the right to manage the project; "except": ["project:shop"] leaves it`)

	result := l.must(t, except("environment:old"))
	delete(before, "environment:old")
	for o, now := range contentsOf(t, l.project()) {
		if before[o] != now {
			t.Errorf("%s is %s, was %s", o, now, before[o])
		}
		delete(before, o)
	}
	for o := range before {
		if !strings.Contains(o, ":old/") {
			t.Errorf("%s is gone; events %v", o, told(t, result.Events))
		}
	}
}

// What was created goes again only if nothing was put into it.
func TestUndoOfAnEnvironmentInUse(t *testing.T) {
	for name, test := range map[string]struct {
		use  commands.Command
		want string // "": it goes
	}{
		"a state":                  {commands.SetFeatureState{Environment: "qa", Feature: "checkout", StateInput: enabled(true)}, "state:qa/checkout/enabled: it was created at position 2 and changed since"},
		"a name":                   {commands.UpdateEnvironment{Environment: "qa", Name: new("QA")}, "environment:qa/name: it was created at position 2 and changed since"},
		"an override":              {commands.SetSegmentOverride{Environment: "qa", Feature: "checkout", Segment: "us", StateInput: enabled(true)}, "overrides:qa/checkout is in it since"},
		"an identity":              {commands.SetIdentityOverride{Environment: "qa", Feature: "checkout", Identifier: "ana"}, "is in it since"},
		"a key":                    {commands.CreateSDKKey{Environment: "qa", ID: "k", Kind: domain.ClientKey, Name: "k", Key: "c"}, "sdk_key:qa/k is in it since"},
		"a feature, as it is made": {commands.CreateFeature{Key: "new"}, ""},
		"something elsewhere":      {commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: enabled(true)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.must(t, shop()...)
			created := l.must(t, commands.CreateEnvironment{Key: "qa"}).Position
			l.must(t, test.use)
			plan, err := l.Preview(t.Context(), l.project(), undo(created))
			if test.want != "" {
				if !refuses(err, "conflict : "+test.want) {
					t.Errorf("%s, want %s", refusal(err), test.want)
				}
				return
			}
			if err != nil || len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], `environment "qa" is deleted`) {
				t.Fatalf("warnings %q, error %v", plan.Warnings, err)
			}
			l.must(t, undo(created))
			if l.project().Environments.Get("qa") != nil {
				t.Error("it is still there")
			}
		})
	}
}

// What was done in an environment that is gone, or to a key that has ended, is
// past undoing, and so is the beginning of the project.
func TestUndoOfWhatIsGone(t *testing.T) {
	l := newLedger(t)
	first := l.must(t, shop()...).Position
	state := l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: enabled(true)}).Position
	l.must(t, commands.CreateSDKKey{Environment: "prod", ID: "k", Kind: domain.ClientKey, Name: "k", Key: "c"})
	revoked := l.must(t, commands.RevokeSDKKey{Environment: "prod", ID: "k"}).Position
	l.must(t, commands.DeleteEnvironment{Environment: "dev"})
	for _, again := range []bool{false, true} {
		if again { // another of that key is not the one
			l.must(t, commands.CreateEnvironment{Key: "dev"})
		}
		for position, want := range map[uint64]string{
			first:   "project:shop: it was created at position 1, and with it all that is in it: no undo deletes a project",
			state:   `state:dev/checkout: it was changed at position 2, and environment "dev" was deleted since`,
			revoked: "sdk_key:prod/k: it was revoked at position 4: a key that has ended stays so",
		} {
			if _, err := l.Preview(t.Context(), l.project(), undo(position)); !refuses(err, "conflict : "+want) {
				t.Errorf("%s, want %s", refusal(err), want)
			}
		}
	}
}
