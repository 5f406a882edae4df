package commands_test

import (
	"maps"
	"slices"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// byEvil undoes all that somebody did, whatever it was.
var byEvil = commands.Undo{Selection: domain.Selection{Actor: "evil"}, Manage: true}

// evil carries out changes of somebody else than must, each by itself.
func (l *ledger) evil(t *testing.T, all ...commands.Command) {
	t.Helper()
	for _, one := range all {
		c := change(one)
		c.Actor.ID = "evil"
		if result, err := l.Do(t.Context(), c); err != nil || !result.Recorded {
			t.Fatalf("recorded %t, %v", result.Recorded, err)
		}
	}
}

// Commits that are undone together do not stand in each other's way, and what
// they took back themselves is left as it is.
func TestUndoOfCommitsTogether(t *testing.T) {
	rules := func(value string) *commands.Rules { return new(when("country", evaluation.Equal, value)) }
	for name, test := range map[string]struct {
		given, evil []commands.Command
		recorded    bool
	}{
		"a segment made and edited": {evil: []commands.Command{
			commands.CreateSegment{Key: "new", Rules: *rules("US")}, commands.UpdateSegment{Segment: "new", Rules: rules("CA")},
		}, recorded: true},
		"a segment edited and deleted": {evil: []commands.Command{
			commands.UpdateSegment{Segment: "us", Rules: rules("CA")}, commands.DeleteSegment{Segment: "us"},
		}, recorded: true},
		"a declaration to and fro": {
			given: []commands.Command{commands.SetContext{Key: "plan", Type: domain.StringContext}},
			evil:  []commands.Command{commands.SetContext{Key: "plan", Type: domain.StringContext, Description: "d"}, commands.SetContext{Key: "plan", Type: domain.StringContext}},
		},
		"cases of a segment set and removed": {evil: []commands.Command{americans, commands.SetSegmentTests{Segment: "us", Cases: []commands.SegmentCase{}}}},
		"a segment pinned and unpinned": {
			given: []commands.Command{override("checkout", "us", value("x")), commands.UpdateSegment{Segment: "us", Rules: rules("CA")}},
			evil:  []commands.Command{rollback(2), commands.UnpinSegment{Environment: "prod", Segment: "us"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.must(t, shop()...)
			for _, c := range test.given {
				l.must(t, c)
			}
			before := contentsOf(t, l.project())
			l.evil(t, test.evil...)
			result, err := l.Do(t.Context(), change(byEvil))
			if err != nil || result.Recorded != test.recorded {
				t.Fatalf("recorded %t: %v, error %v", result.Recorded, told(t, result.Events), err)
			}
			if got := contentsOf(t, l.project()); !maps.Equal(got, before) {
				t.Errorf("it is %v\nwas %v", got, before)
			}
		})
	}
}

// A revision of a segment names one set of rules, also of one that comes back as
// it was before it was edited.
func TestUndoGivesRevisionsOnce(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.evil(t, commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))}, commands.DeleteSegment{Segment: "us"})
	l.must(t, byEvil)
	if s := l.project().Segments.Get("us"); s.Revision != 3 || s.Rules[0].Conditions[0].Value != "US" {
		t.Errorf("the segment is %+v, want the rules of revision 1 as revision 3", s)
	}
}

// A declaration does not come back that others have made rules against since, and
// it does where those rules go with it.
func TestUndoOfDeclarations(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, commands.SetContext{Key: "plan", Type: domain.IntegerContext})
	l.evil(t, commands.SetContext{Key: "plan", Type: domain.StringContext}, commands.CreateSegment{Key: "pro", Rules: when("plan", evaluation.Contains, "pro")})
	if _, err := l.Preview(t.Context(), l.project(), byEvil); err != nil {
		t.Error(err)
	}
	l.must(t, commands.CreateSegment{Key: "team", Rules: when("plan", evaluation.Contains, "team")})
	if _, err := l.Preview(t.Context(), l.project(), byEvil); !refuses(err, "conflict : rules contradict this: segment team") {
		t.Error(refusal(err))
	}
}

// The plan for a project as it was takes no notice of what came later.
func TestUndoPlannedForThePast(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	set := func(v string) commands.Command {
		return commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value(v)}
	}
	l.evil(t, set("a"))
	past := l.project()
	want, err := l.Preview(t.Context(), past, byEvil)
	if err != nil {
		t.Fatal(err)
	}
	l.must(t, byEvil)
	l.evil(t, set("b"))
	if plan, err := l.Preview(t.Context(), past, byEvil); err != nil || plan.Hash != want.Hash {
		t.Errorf("the plan is %v, error %v, was %v", told(t, plan.Events), err, told(t, want.Events))
	}
}

// The overrides of a feature, and those of an identity, are undone one by one,
// also the first of them, with which the list of them came.
func TestUndoInLists(t *testing.T) {
	forAna := func(feature string) commands.Command {
		return commands.SetIdentityOverride{Environment: "prod", Feature: feature, Identifier: "ana", Enabled: new(true)}
	}
	for name, test := range map[string]struct {
		given       []commands.Command
		evil, later commands.Command
	}{
		"the first segment override": {nil, override("checkout", "us", value("x")), override("checkout", "beta", value("y"))},
		"an identity's first":        {nil, forAna("checkout"), forAna("search")},
		"an identity's last": {
			[]commands.Command{forAna("checkout")}, commands.RemoveIdentityOverride{Environment: "prod", Feature: "checkout", Identifier: "ana"}, forAna("search"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, want := newLedger(t), newLedger(t)
			for _, one := range []*ledger{l, want} {
				one.must(t, shop()...)
				one.must(t, append(test.given, commands.UpdateProject{Name: new("Mall")})...)
			}
			l.evil(t, test.evil)
			l.must(t, test.later)
			want.must(t, test.later)
			l.must(t, byEvil)
			got, expected := l.project().Environments.Get("prod"), want.project().Environments.Get("prod")
			if a, b := got.Overrides.Get("checkout").Order(), expected.Overrides.Get("checkout").Order(); !slices.Equal(a, b) {
				t.Errorf("the overrides are for %v, want %v", a, b)
			}
			for _, feature := range []string{"checkout", "search"} {
				a, _ := got.Identities.Get("person-3-ana").Find(feature)
				if b, _ := expected.Identities.Get("person-3-ana").Find(feature); a != b {
					t.Errorf("%s: override %d, want %d", feature, a, b)
				}
			}
		})
	}
}

// What others have made since is theirs: also where it has the key and the looks
// of what was there before, or was made again what it had been made.
func TestUndoLeavesWhatOthersMade(t *testing.T) {
	set := func(feature string, on bool) commands.Command {
		return commands.SetFeatureState{Environment: "prod", Feature: feature, StateInput: enabled(on)}
	}
	for name, test := range map[string]struct {
		evil, later []commands.Command
		want        string
	}{
		"another of the same key": {
			[]commands.Command{commands.UpdateFeature{Feature: "checkout", Description: new("e")}, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("e")}},
			[]commands.Command{commands.DeleteFeature{Feature: "checkout"}, commands.CreateFeature{Key: "checkout", Description: "e", InitialValue: evaluation.String("e")}},
			"conflict : state:prod/checkout: it was changed at position 3 and deleted at position 4; what has its key now is another",
		},
		"a state set to and fro": {
			[]commands.Command{commands.CreateFeature{Key: "new"}}, []commands.Command{set("new", true), set("new", false)},
			"conflict : state:prod/new/enabled: it was created at position 2 and changed since",
		},
		"rules set to and fro": {
			[]commands.Command{commands.CreateSegment{Key: "new", Rules: when("country", evaluation.Equal, "US")}},
			[]commands.Command{
				commands.UpdateSegment{Segment: "new", Rules: new(when("country", evaluation.Equal, "CA"))}, commands.UpdateSegment{Segment: "new", Rules: new(when("country", evaluation.Equal, "US"))},
			},
			"conflict : segment:new/rules/r2/conditions/c1/value: it was created at position 2 and changed since",
		},
		"an override set again": {
			[]commands.Command{override("checkout", "us", value("e"))},
			[]commands.Command{commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}, override("checkout", "us", value("e"))},
			"conflict : overrides:prod/checkout/list/us: it was changed at position 2, and again at position 4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.must(t, shop()...)
			l.evil(t, test.evil...)
			for _, c := range test.later {
				l.must(t, c)
			}
			if _, err := l.Do(t.Context(), change(byEvil)); !refuses(err, test.want) {
				t.Error(refusal(err))
			}
		})
	}
}
