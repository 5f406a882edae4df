package commands_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// prod is the shop's production with an override of each sort, at version 2.
func prod() []commands.Command {
	return []commands.Command{
		override("checkout", "us", value("us")), override("checkout", "beta", enabled(true)),
		commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new("a")},
		commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 50, "b": 50})},
	}
}

func rollback(version uint64) commands.Rollback {
	return commands.Rollback{Environment: "prod", Version: version}
}

// TestRollback goes back to version 2 after some changes. A digest that is again
// that of version 2 says that all of it is back.
func TestRollback(t *testing.T) {
	rules := func(value string) *commands.Rules { return new(when("country", evaluation.Equal, value)) }
	variants := func(v string) commands.SetVariants {
		return commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Value: evaluation.String(v)}, {Key: "b", Value: evaluation.String("B")}}}
	}
	identity := func(who, variant string) commands.SetIdentityOverride {
		return commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: who, Variant: &variant}
	}
	remove := func(segment string) commands.RemoveSegmentOverride {
		return commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: segment}
	}
	for name, test := range map[string]struct {
		since []commands.Command
		// want are the types of the events that lead back.
		want     []string
		warnings []string // parts of each
		partly   bool     // not all can come back
	}{
		"the present":                 {},
		"the name of a segment":       {since: []commands.Command{commands.UpdateSegment{Segment: "us", Name: new("Americans")}}, warnings: []string{`segment "us" was called "us" then and is called "Americans" now`}},
		"another environment":         {since: []commands.Command{commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: enabled(true)}}},
		"there and back":              {since: []commands.Command{override("checkout", "us", value("v9")), override("checkout", "us", value("us"))}},
		"a state":                     {since: []commands.Command{commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("v2")}}, want: []string{"feature_state.set.v1"}},
		"weights":                     {since: []commands.Command{commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(nil)}}, want: []string{"feature_state.set.v1"}},
		"an override":                 {since: []commands.Command{override("checkout", "us", enabled(true))}, want: []string{"segment_override.set.v1"}},
		"an override that came":       {since: []commands.Command{override("search", "us", enabled(true))}, want: []string{"segment_override.removed.v1"}},
		"an override that went":       {since: []commands.Command{remove("us")}, want: []string{"segment_override.set.v1"}},
		"an override that came again": {since: []commands.Command{remove("us"), override("checkout", "us", value("us"))}, want: []string{"segment_overrides.reordered.v1"}},
		"an order":                    {since: []commands.Command{commands.OrderSegmentOverrides{Environment: "prod", Feature: "checkout", Order: []string{"beta", "us"}}}, want: []string{"segment_overrides.reordered.v1"}},
		"the rules of a segment":      {since: []commands.Command{commands.UpdateSegment{Segment: "us", Rules: rules("CA")}}, want: []string{"segment.pinned.v1"}},
		"rules that are no more used": {since: []commands.Command{commands.UpdateSegment{Segment: "us", Rules: rules("CA")}, remove("us")}, want: []string{"segment_override.set.v1", "segment.pinned.v1"}},
		"variants":                    {since: []commands.Command{variants("new")}, want: []string{"feature.variants_pinned.v1"}},
		"default weights of variants": {since: []commands.Command{variants("A")}},
		"an identity":                 {since: []commands.Command{identity("ana", "b")}, want: []string{"identity_override.set.v1"}},
		"an identity that came":       {since: []commands.Command{identity("ben", "b")}, want: []string{"identity_override.removed.v1"}},
		"an identity that went":       {since: []commands.Command{commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}}, want: []string{"identity_override.set.v1"}},
		"a feature that came": {
			since:  []commands.Command{commands.CreateFeature{Key: "new"}, override("new", "us", enabled(true)), commands.SetFeatureState{Environment: "prod", Feature: "new", StateInput: enabled(true)}},
			want:   []string{"feature_state.set.v1", "segment_override.removed.v1"},
			partly: true, warnings: []string{`feature "new" was created later: it goes to its initial state`},
		},
		"a feature that went": {
			since:  []commands.Command{remove("us"), remove("beta"), commands.DeleteFeature{Feature: "checkout"}},
			partly: true, warnings: []string{`feature "checkout" was deleted since: it is not restored`},
		},
		"a feature that is another": {
			since: []commands.Command{remove("us"), remove("beta"), commands.DeleteFeature{Feature: "checkout"}, commands.CreateFeature{Key: "checkout"}, override("checkout", "us", value("x"))},
			want:  []string{"segment_override.removed.v1"}, partly: true, warnings: []string{`"checkout" was created later`, `feature "checkout" was deleted since, and another of that key exists now: it is not restored`},
		},
		"a segment that went": {
			since: []commands.Command{remove("us"), remove("beta"), commands.DeleteSegment{Segment: "us"}},
			want:  []string{"segment_override.set.v1"}, partly: true, warnings: []string{`segment "us" was deleted since: its override of feature "checkout" is not restored`},
		},
		"a segment that is another": {
			since:  []commands.Command{remove("us"), commands.DeleteSegment{Segment: "us"}, commands.CreateSegment{Key: "us", Rules: *rules("US")}},
			partly: true, warnings: []string{`segment "us" was deleted since, and another of that key exists now: its override of feature "checkout" is not restored`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.must(t, shop()...)
			l.must(t, prod()...)
			then, dev := l.digest(t, "prod"), ""
			if test.since != nil {
				l.must(t, test.since...)
			}
			dev = l.digest(t, "dev")
			plan, err := l.Preview(t.Context(), l.project(), rollback(2))
			if err != nil {
				t.Fatal(err)
			}
			matches := slices.EqualFunc(plan.Warnings, test.warnings, strings.Contains)
			if !matches {
				t.Errorf("warnings %q, want %q", plan.Warnings, test.warnings)
			}
			result, err := l.Do(t.Context(), change(rollback(2)))
			if err != nil {
				t.Fatal(err)
			}
			var types []string
			for _, e := range result.Events {
				types = append(types, e.EventType())
			}
			if !slices.Equal(types, test.want) || result.Recorded != (test.want != nil) {
				t.Errorf("recorded %t: %v\nwant %v", result.Recorded, types, test.want)
			}
			if got := l.digest(t, "prod"); (got == then) == test.partly {
				t.Errorf("digest %s, at version 2 it was %s", got, then)
			}
			if got := l.digest(t, "dev"); got != dev {
				t.Errorf("the digest of dev moved from %s to %s", dev, got)
			}
			if again, err := l.Do(t.Context(), change(rollback(2))); err != nil || again.Recorded {
				t.Errorf("the second time: %v, error %v", told(t, again.Events), err)
			}
		})
	}
}

// What a rollback has pinned follows the project again when it is unpinned, or
// by rolling the rollback back.
func TestRollbackOfARollback(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t,
		commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))},
		commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Value: evaluation.String("new")}, {Key: "b", Value: evaluation.String("B")}}},
	)
	present := l.digest(t, "prod")
	l.must(t, rollback(2))
	env := l.project().Environments.Get("prod")
	if env.SegmentPins.Get("us").Revision != 1 || env.VariantsPins.Get("search") == nil || l.project().Environments.Get("dev").SegmentPins.Len() > 0 {
		t.Errorf("pinned are %d segments and %d variants", env.SegmentPins.Len(), env.VariantsPins.Len())
	}
	l.must(t, rollback(3))
	env = l.project().Environments.Get("prod")
	if got := l.digest(t, "prod"); got != present || env.SegmentPins.Len()+env.VariantsPins.Len() > 0 {
		t.Errorf("digest %s, want %s; %d pins are left", got, present, env.SegmentPins.Len()+env.VariantsPins.Len())
	}
	l.must(t, rollback(2))
	l.must(t, commands.UnpinSegment{Environment: "prod", Segment: "us"}, commands.UnpinVariants{Environment: "prod", Feature: "search"})
	if got := l.digest(t, "prod"); got != present {
		t.Errorf("unpinned: digest %s, want %s", got, present)
	}
}

// What was erased of a person does not come back.
func TestRollbackLeavesErasedPersonsAlone(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t, commands.EraseIdentity{Environment: "prod", Surrogate: "person-3-ana"})
	delete(l.persons.(persons), "person-3-ana")
	plan, err := l.Preview(t.Context(), l.project(), rollback(2))
	if err != nil || len(plan.Events) > 0 || len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "a person with overrides then was erased since") {
		t.Errorf("events %v, warnings %q, error %v", told(t, plan.Events), plan.Warnings, err)
	}
}

func TestRollbackRefuses(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	stale := rollback(1)
	stale.PlanHash = "another"
	for want, c := range map[string]commands.Rollback{
		`not_found : there is no version 0 of this environment; the newest is 2`: rollback(0),
		`not_found : there is no version 3 of this environment; the newest is 2`: rollback(3),
		`not_found environment: there is no environment "qa" in project "shop"`:  {Environment: "qa", Version: 1},
		`conflict plan_hash: `: stale,
	} {
		if _, err := l.Do(t.Context(), change(c)); !refuses(err, want) {
			t.Errorf("%+v: %s, want %s", c, refusal(err), want)
		}
	}

	// The same key later is another environment, with versions of its own.
	l.must(t, commands.DeleteEnvironment{Environment: "prod"})
	l.must(t, commands.CreateEnvironment{Key: "prod"})
	if _, err := l.Do(t.Context(), change(rollback(2))); !refuses(err, "not_found : there is no version 2 of this environment; the newest is 1") {
		t.Errorf("to the version of an environment that is gone: %s", refusal(err))
	}
}

// A plan is carried out only as it was looked at.
func TestRollbackPlan(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	plan, err := l.Preview(t.Context(), l.project(), rollback(1))
	if err != nil || len(plan.Events) != 4 {
		t.Fatalf("plan %v, error %v", told(t, plan.Events), err)
	}
	seen := rollback(1)
	seen.PlanHash = plan.Hash
	l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: enabled(true)}) // elsewhere
	if again, err := l.Preview(t.Context(), l.project(), rollback(1)); err != nil || again.Hash != plan.Hash {
		t.Errorf("a change elsewhere changes the plan; error %v", err)
	}
	l.must(t, override("checkout", "us", value("later")))
	if _, err := l.Do(t.Context(), change(seen)); !refuses(err, "conflict plan_hash: look at it again") {
		t.Errorf("carried out after another change: %s", refusal(err))
	}
	l.must(t, override("checkout", "us", value("us")))
	if _, err := l.Do(t.Context(), change(seen)); !refuses(err, "conflict plan_hash: ") {
		t.Errorf("carried out after another change and back: %s", refusal(err))
	}
	if plan, err = l.Preview(t.Context(), l.project(), rollback(1)); err != nil {
		t.Fatal(err)
	}
	seen.PlanHash = plan.Hash
	if result := l.must(t, seen); len(result.Events) != 4 {
		t.Errorf("carried out %v", told(t, result.Events))
	}
}

// Deleted things come back when asked for, with their numbers, and disabled
// elsewhere.
func TestRollbackRestoresDeleted(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "search", StateInput: enabled(false)})
	then := l.digest(t, "prod")
	was := l.project()
	l.must(t,
		commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}, commands.DeleteSegment{Segment: "us"},
		commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}, commands.DeleteFeature{Feature: "search"},
	)
	restore := rollback(2)
	restore.RestoreDeleted = true
	if got := restore.Needs(); got.Environment != "" {
		t.Errorf("what comes back everywhere needs a right in %s alone", got.Environment)
	}
	l.must(t, restore)
	if got := l.digest(t, "prod"); got != then {
		t.Errorf("digest %s, want %s", got, then)
	}
	p := l.project()
	if p.Features.Get("search").ID != was.Features.Get("search").ID || p.Segments.Get("us").ID != was.Segments.Get("us").ID {
		t.Error("numbers have changed")
	}
	if p.Environments.Get("dev").States.Get("search").Enabled {
		t.Error("the feature is enabled in dev")
	}

	// Where a feature exists that differs only in case, it stays away.
	l.must(t, commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}, commands.DeleteFeature{Feature: "search"}, commands.CreateFeature{Key: "Search"})
	plan, err := l.Preview(t.Context(), l.project(), restore)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(plan.Events, func(e domain.Event) bool { return e.EventType() == "feature.created.v1" }) ||
		!slices.ContainsFunc(plan.Warnings, func(w string) bool {
			return strings.Contains(w, `feature "search" was deleted since, and "Search", which differs only in case, exists now: it is not restored`)
		}) {
		t.Errorf("plan %v\nwarnings %q", told(t, plan.Events), plan.Warnings)
	}
}

// What a plan would leave alone is part of it: a feature that came since the
// preview is one more that goes to its initial state, though nothing is recorded
// A segment of a feature comes back with it, and stays away where another has its key.
func TestRollbackRestoresSegmentsOfFeatures(t *testing.T) {
	for other, restored := range map[string]bool{"other": true, "own": false, "OWN": false} {
		l := newLedger(t)
		l.must(t, shop()...)
		l.must(t, commands.CreateFeature{Key: "own"}, commands.CreateSegment{Key: "few", Feature: "own", Rules: when("a", evaluation.Equal, "b")}, override("own", "few", value("x")))
		version := l.views.CurrentVersion(l.environment("prod"))
		l.must(t, commands.RemoveSegmentOverride{Environment: "prod", Feature: "own", Segment: "few"}, commands.DeleteSegment{Segment: "few"}, commands.DeleteFeature{Feature: "own"})
		l.must(t, commands.CreateFeature{Key: other})
		for _, c := range []commands.Rollback{{Environment: "prod", Version: version, RestoreDeleted: true}, {Environment: "prod", Version: version, RestoreDeleted: true, Segments: []string{"few"}, Features: []string{"own"}}} {
			ch := change(c)
			ch.DryRun = true
			result, err := l.Do(t.Context(), ch)
			if err != nil {
				t.Errorf("%s: %v", other, err)
				continue
			}
			if got := result.After.Segments.Get("few") != nil; got != restored {
				t.Errorf("%s: restored %t, want %t", other, got, restored)
			}
		}
	}
}

// of it.
func TestPlanCoversItsWarnings(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	plan, err := l.Preview(t.Context(), l.project(), rollback(1))
	if err != nil {
		t.Fatal(err)
	}
	seen := rollback(1)
	seen.PlanHash = plan.Hash
	l.must(t, commands.CreateFeature{Key: "new"})
	last := l.last(t)
	if _, err := l.Do(t.Context(), change(seen)); !refuses(err, "conflict plan_hash: look at it again") || l.last(t) != last {
		t.Errorf("carried out after a feature was created: %s", refusal(err))
	}
	plan, err = l.Preview(t.Context(), l.project(), rollback(1))
	if err != nil {
		t.Fatal(err)
	}
	seen.PlanHash = plan.Hash
	l.must(t, commands.DeleteFeature{Feature: "new"})
	if _, err := l.Do(t.Context(), change(seen)); !refuses(err, "conflict plan_hash: look at it again") {
		t.Errorf("carried out after a feature was deleted: %s", refusal(err))
	}
}

func TestRollbackAndUndoAskForWhatTheyNeed(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	last := l.last(t)
	for want, c := range map[string]commands.Command{
		"invalid features: the list is empty":        commands.Rollback{Environment: "prod", Version: 1, Features: []string{}},
		"invalid segments: the list is empty":        commands.Rollback{Environment: "prod", Version: 1, Segments: []string{}},
		"malformed position: a position is one":      commands.Undo{Selection: domain.Selection{Position: last, Actor: "root"}},
		"malformed position: a position is one comm": commands.Undo{Selection: domain.Selection{Position: last, To: time.Now()}},
	} {
		if _, err := l.Do(t.Context(), change(c)); !refuses(err, want) {
			t.Errorf("%+v: %s, want %s", c, refusal(err), want)
		}
	}
	for _, c := range []commands.Command{rollback(1), undo(last)} {
		for _, reason := range []string{"", "   ", "\t\u200b \u00a0"} {
			ch := change(c)
			ch.Reason = reason
			if _, err := l.Do(t.Context(), ch); !refuses(err, "invalid reason: this needs a reason") {
				t.Errorf("%T for the reason %q: %s", c, reason, refusal(err))
			}
		}
	}
	if l.last(t) != last {
		t.Error("something was recorded")
	}
}

// What a rollback leaves as it is, though it decides on what apps are told, it
// says.
func TestRollbackSaysWhatItLeavesAlone(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, commands.CreateFeature{Key: "banner"})
	l.must(t, prod()...)
	l.must(t,
		commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))},
		commands.UpdateFeature{Feature: "search", ServerKeyOnly: new(true)}, commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(nil)},
		commands.UpdateEnvironment{Environment: "prod", Settings: commands.Settings{HideDisabledFlags: commands.Some(new(true))}},
	)
	hidden, server := "hide_disabled_flags was false then and is true now", `server_key_only of feature "search" was false then and is true now`
	for name, test := range map[string]struct {
		features, segments []string
		want               []string // parts of the warnings
		pins               int
	}{
		"everything":                    {nil, nil, []string{hidden, server}, 1},
		"a feature":                     {[]string{"checkout"}, nil, []string{hidden}, 1},
		"another":                       {[]string{"search"}, nil, []string{hidden, server}, 0},
		"one where nothing is to do":    {[]string{"banner"}, nil, nil, 0},
		"a feature and another segment": {[]string{"checkout"}, []string{"beta"}, []string{`segment "us", which overrides of these features use, had other rules then`}, 0},
		"a feature and its segment":     {[]string{"checkout"}, []string{"us"}, []string{hidden}, 1},
	} {
		c := rollback(3)
		c.Features, c.Segments = test.features, test.segments
		plan, err := l.Preview(t.Context(), l.project(), c)
		if err != nil {
			t.Fatal(err)
		}
		pins := 0
		for _, e := range plan.Events {
			if e.EventType() == "segment.pinned.v1" {
				pins++
			}
		}
		if !slices.EqualFunc(plan.Warnings, test.want, strings.Contains) || pins != test.pins {
			t.Errorf("%s: %d segments are pinned, want %d; warnings %q, want %q", name, pins, test.pins, plan.Warnings, test.want)
		}
	}
}

// A rollback that brought deleted things back can be rolled back with them, and
// again, everywhere; but nothing that others use by then is taken from them.
func TestRollbackOfARestoringRollback(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t, commands.CreateSegment{Key: "own", Feature: "search", Rules: when("country", evaluation.Equal, "US")}, override("search", "own", enabled(true)))
	full := map[string]string{"prod": l.digest(t, "prod"), "dev": l.digest(t, "dev")}
	remove := func(segment string) commands.Command {
		return commands.RemoveSegmentOverride{Environment: "prod", Feature: "search", Segment: segment}
	}
	l.must(t,
		remove("own"), commands.DeleteSegment{Segment: "own"},
		commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}, commands.DeleteFeature{Feature: "search"},
	)
	gone := map[string]string{"prod": l.digest(t, "prod"), "dev": l.digest(t, "dev")}
	back := func(version uint64, restore bool) commands.Plan {
		t.Helper()
		c := rollback(version)
		c.RestoreDeleted = restore
		plan, err := l.Preview(t.Context(), l.project(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Do(t.Context(), change(c)); err != nil {
			t.Fatal(err)
		}
		return plan
	}
	check := func(what string, want map[string]string) {
		t.Helper()
		for env, want := range want {
			if got := l.digest(t, env); got != want {
				t.Errorf("%s: the digest of %s is %s, want %s", what, env, got, want)
			}
		}
	}
	for range 2 {
		back(3, true)
		check("restored", map[string]string{"prod": full["prod"]})
		plan := back(4, true)
		check("and deleted again", gone)
		if p := l.project(); p.Features.Get("search") != nil || p.Segments.Get("own") != nil ||
			!slices.ContainsFunc(plan.Warnings, func(w string) bool { return strings.Contains(w, `"search" was restored since: it is deleted again`) }) {
			t.Errorf("not all is gone again: %q", plan.Warnings)
		}
	}

	// Without being asked to it deletes nothing; nor what is in use elsewhere.
	back(3, true)
	if plan := back(4, false); l.project().Features.Get("search") == nil || !strings.Contains(strings.Join(plan.Warnings, "; "), "with restore_deleted it is deleted again") {
		t.Errorf("warnings %q", plan.Warnings)
	}
	l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "search", StateInput: enabled(true)})
	if plan := back(4, true); l.project().Features.Get("search") == nil || !strings.Contains(strings.Join(plan.Warnings, "; "), "instead of being deleted again: it is enabled in dev") {
		t.Errorf("warnings %q", plan.Warnings)
	}

	// What comes back is what the selection asks for.
	l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "search", StateInput: enabled(false)})
	back(4, true)
	c := rollback(3)
	c.RestoreDeleted, c.Features = true, []string{"checkout"}
	if result, err := l.Do(t.Context(), change(c)); err != nil || len(result.Events) > 0 {
		t.Errorf("a rollback of another feature restores %v, error %v", told(t, result.Events), err)
	}
}

// Where rules ask for the name of the environment, another name makes a version,
// and a rollback across it warns; elsewhere it is but a name.
func TestNameOfAnEnvironmentThatRulesAskFor(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	id := projections.EnvironmentID{Project: l.project().ID, ID: l.project().Environments.Get("prod").ID}
	rename := func(name string, versions uint64) {
		t.Helper()
		before := l.views.CurrentVersion(id)
		l.must(t, commands.UpdateEnvironment{Environment: "prod", Name: new(name)})
		if got := l.views.CurrentVersion(id) - before; got != versions {
			t.Errorf("the name %s makes %d versions, want %d", name, got, versions)
		}
	}
	rename("Live", 0)
	l.must(t, commands.UpdateSegment{Segment: "us", Rules: new(when("$.environment.name", evaluation.Equal, "Live"))})
	version := l.views.CurrentVersion(id)
	rename("Shop", 1)
	plan, err := l.Preview(t.Context(), l.project(), rollback(version))
	if err != nil || len(plan.Events) > 0 || !slices.EqualFunc(plan.Warnings, []string{`was called "Live" then and is called "Shop" now`}, strings.Contains) {
		t.Errorf("events %v, warnings %q, error %v", told(t, plan.Events), plan.Warnings, err)
	}
}
