package commands_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func undo(position uint64) commands.Undo {
	return commands.Undo{Selection: domain.Selection{Position: position}, Manage: true}
}

// contentsOf are all objects of the shop without when they were changed.
func contentsOf(t *testing.T, p *domain.Project) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, o := range (domain.ProjectDeleted{Key: "shop"}).Objects(p) {
		image, err := json.Marshal(p.Get(o))
		if err != nil {
			t.Fatal(err)
		}
		differences, err := domain.Diff(json.RawMessage(`{}`), image)
		if err != nil {
			t.Fatal(err)
		}
		clean, err := domain.Patch(json.RawMessage(`{}`), differences)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(clean, &members); err != nil {
			t.Fatal(err)
		}
		delete(members, "revision")
		if list, ok := members["list"].([]any); o.Kind == domain.KindSegmentOverrides && (!ok || len(list) == 0) {
			continue // overrides that are gone leave their seeds
		}
		all[o.String()] = written(t, members)
	}
	return all
}

// Undoing the last commit, whatever it did, leads back to where it began.
func TestUndo(t *testing.T) {
	for name, all := range map[string][]commands.Command{
		"a state":              {commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("v2")}},
		"weights":              {commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(nil)}},
		"a feature":            {commands.CreateFeature{Key: "new"}},
		"a feature in use":     {commands.CreateFeature{Key: "new"}, override("new", "us", value("x")), commands.SetIdentityOverride{Environment: "prod", Feature: "new", Identifier: "ben"}},
		"a feature away":       {commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}, commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "beta"}, commands.DeleteFeature{Feature: "checkout"}},
		"attributes":           {commands.UpdateFeature{Feature: "search", Tags: &[]string{"t"}, Archived: new(true)}},
		"variants":             {commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Weight: 10}, {Key: "b"}, {Key: "c"}}}},
		"a segment":            {commands.CreateSegment{Key: "new", Rules: when("a", evaluation.Equal, "b")}, override("search", "new", value("x"))},
		"a segment away":       {commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}, commands.DeleteSegment{Segment: "us"}},
		"rules":                {commands.UpdateSegment{Segment: "us", Name: new("n"), Rules: new(when("country", evaluation.In, "US,CA"))}},
		"an override":          {override("search", "us", value("x"))},
		"an override away":     {commands.RemoveSegmentOverride{Environment: "prod", Feature: "checkout", Segment: "us"}},
		"an order":             {commands.OrderSegmentOverrides{Environment: "prod", Feature: "checkout", Order: []string{"beta", "us"}}},
		"an identity":          {commands.SetIdentityOverride{Environment: "prod", Feature: "checkout", Identifier: "ben"}},
		"an identity away":     {commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}},
		"a context":            {commands.SetContext{Key: "plan", Type: domain.StringContext}},
		"the cases of a test":  {americans},
		"the project":          {commands.UpdateProject{Name: new("Mall"), Description: new("d"), HideDisabledFlags: new(true), StrictContexts: new(false)}},
		"an environment's":     {commands.UpdateEnvironment{Environment: "prod", Name: new("Live"), Description: new("d"), Settings: commands.Settings{HideSensitiveData: new(true), HideDisabledFlags: commands.Some(new(true))}}},
		"an environment":       {commands.CreateEnvironment{Key: "qa"}, commands.SetFeatureState{Environment: "qa", Feature: "checkout", StateInput: enabled(true)}, commands.CreateSDKKey{Environment: "qa", ID: "k2", Kind: domain.ServerKey, Name: "k", Hash: "h2"}},
		"a clone":              {commands.CloneEnvironment{Source: "prod", Key: "qa"}},
		"an SDK key":           {commands.CreateSDKKey{Environment: "prod", ID: "k2", Kind: domain.ClientKey, Name: "k", Key: "c2"}},
		"an SDK key's":         {commands.UpdateSDKKey{Environment: "prod", ID: "k1", Name: new("n"), Active: new(false), ExpiresAt: commands.Some(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))}},
		"a rollback with pins": {rollback(1)},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.must(t, shop()...)
			l.must(t, prod()...)
			l.must(t, commands.CreateSDKKey{Environment: "prod", ID: "k1", Kind: domain.ServerKey, Name: "k", Hash: "h1", ExpiresAt: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)})
			if name == "a rollback with pins" {
				l.must(t, commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))}, override("checkout", "us", value("later")))
				all = []commands.Command{rollback(2)}
			}
			before := contentsOf(t, l.project())
			digest := l.digest(t, "prod")
			position := l.must(t, all...).Position
			result := l.must(t, undo(position))
			if got := contentsOf(t, l.project()); !maps.Equal(got, before) {
				for object, now := range got {
					if before[object] != now {
						t.Errorf("%s is %s\nwas %s", object, now, before[object])
					}
				}
				t.Errorf("it was undone by %v; objects %d, were %d", told(t, result.Events), len(got), len(before))
			}
			if got := l.digest(t, "prod"); got != digest {
				t.Errorf("digest %s, was %s", got, digest)
			}
		})
	}
}

// An erasure is not undone, nor what was done to somebody before it.
func TestUndoLeavesErasedPersonsAlone(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	removed := l.must(t, commands.RemoveIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}).Position
	erased := l.must(t, commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana"}, commands.EraseIdentity{Environment: "prod", Surrogate: "person-3-ana"}).Position
	delete(l.persons.(persons), "person-3-ana")
	for _, position := range []uint64{removed, erased} {
		plan, err := l.Preview(t.Context(), l.project(), undo(position))
		if err != nil || len(plan.Events) > 0 || len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "a person with overrides then was erased since") {
			t.Errorf("events %v, warnings %q, error %v", told(t, plan.Events), plan.Warnings, err)
		}
	}
}

// Later edits of something else stay; of the same, nothing is done and all
// conflicts are named.
func TestUndoKeepsWhatCameLater(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	wrong := l.must(t, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: commands.StateInput{Enabled: new(true), Value: commands.Some(evaluation.String("wrong"))}},
		commands.UpdateFeature{Feature: "search", Description: new("wrong")}).Position
	l.must(t, commands.UpdateFeature{Feature: "search", Tags: &[]string{"later"}}, commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: value("later")})
	l.must(t, undo(wrong))
	p := l.project()
	if s := p.Environments.Get("prod").States.Get("checkout"); s.Enabled || s.Value != evaluation.String("v1") {
		t.Errorf("the state is %+v", s)
	}
	if f := p.Features.Get("search"); f.Description != "" || len(f.Tags) != 1 || p.Environments.Get("dev").States.Get("checkout").Value != evaluation.String("later") {
		t.Errorf("later edits are lost: %+v", f)
	}

	wrong = l.must(t, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("wrong")}, commands.UpdateFeature{Feature: "search", Description: new("wrong")}).Position
	l.must(t, commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("later")}, commands.UpdateFeature{Feature: "search", Description: new("later")})
	last := l.last(t)
	_, err := l.Do(t.Context(), change(undo(wrong)))
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Kind != domain.Conflict || len(e.Errors) != 2 || !strings.Contains(e.Detail, "nothing was done") || l.last(t) != last {
		t.Fatalf("got %#v", e)
	}
	for _, found := range e.Errors {
		if found.Field != "state:prod/checkout/value" && found.Field != "feature:search/description" {
			t.Errorf("a conflict in %s: %s", found.Field, found.Detail)
		}
	}
}

func TestUndoRefuses(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	bank := change(commands.CreateProject{Key: "bank"})
	bank.Project = "bank"
	if _, err := l.Do(t.Context(), bank); err != nil {
		t.Fatal(err)
	}
	feature := l.must(t, commands.CreateFeature{Key: "new"}).Position
	l.must(t, override("new", "us", value("x")))
	stale := undo(4)
	stale.PlanHash = "another"
	for name, test := range map[string]struct {
		undo commands.Undo
		want string
	}{
		"nothing":                     {commands.Undo{}, "invalid : say what to undo"},
		"no commit":                   {undo(99), "not_found : there is no commit at position 99"},
		"one of another project":      {undo(2), "not_found : the commit at position 2 is not one of this project"},
		"of nobody":                   {commands.Undo{Selection: domain.Selection{Actor: "nobody"}}, `not_found : no commit of project "shop" is selected`},
		"the beginning":               {undo(1), "conflict : "},
		"a feature that is in use":    {undo(feature), `conflict : feature "new" is in use by an override for segment us in prod`},
		"something else than planned": {stale, "conflict plan_hash: "},
	} {
		if _, err := l.Do(t.Context(), change(test.undo)); err == nil || !refuses(err, test.want) {
			t.Errorf("%s: %s, want %s", name, refusal(err), test.want)
		}
	}

	// Several commits at once, newest first: the feature and what uses it.
	if _, err := l.Do(t.Context(), change(commands.Undo{Selection: domain.Selection{From: l.project().Features.Get("new").Created.Time}})); err != nil {
		t.Error(refusal(err))
	}
	if l.project().Features.Get("new") != nil {
		t.Error("the feature is still there")
	}
}
