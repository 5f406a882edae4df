package domain_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// organisation is the life of the organisation's tokens.
func organisation() []domain.Event {
	return []domain.Event{
		domain.TokenCreated{ID: "t1", Name: "CI", Hash: "aa", Grants: []domain.Grant{{Role: domain.Editor, Project: "shop"}}, ExpiresAt: time.Unix(2e9, 0).UTC()},
		domain.TokenCreated{ID: "t2", Name: "Ana", Hash: "bb", Grants: []domain.Grant{{Role: domain.Admin}}},
		domain.TokenRevoked{ID: "t1"},
	}
}

// story is the life of a project, in which all its events happen; what is
// deleted is deleted at the end.
func story() (begin, end []domain.Event) {
	text, on := evaluation.String, true
	rules := func(value string) []evaluation.Rule {
		return []evaluation.Rule{{ID: "r2", Type: evaluation.All, Conditions: []evaluation.Condition{
			{ID: "c1", Property: "country", Operator: evaluation.Equal, Value: value},
		}}}
	}
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	begin = []domain.Event{
		domain.ProjectCreated{Key: "shop", Name: "Shop", ProjectSettings: domain.ProjectSettings{PersistTraits: true}},
		domain.ProjectUpdated{Name: "The shop", Description: "of things"},
		domain.EnvironmentCreated{ID: 2, Key: "prod", Name: "Production", ClientKey: "key_prod", EnvironmentSettings: domain.DefaultEnvironmentSettings()},
		domain.EnvironmentCreated{ID: 3, Key: "dev", Name: "Development", ClientKey: "key_dev"},
		domain.EnvironmentUpdated{Environment: "dev", Name: "Dev", EnvironmentSettings: domain.EnvironmentSettings{HideDisabledFlags: &on}},
		domain.SDKKeyCreated{Environment: "prod", ID: "k1", Kind: domain.ServerKey, Name: "backend", Hash: "cc"},
		domain.SDKKeyCreated{Environment: "prod", ID: "k2", Kind: domain.ClientKey, Name: "web", Key: "key_web"},
		domain.SDKKeyUpdated{Environment: "prod", ID: "k1", Name: "backend", Active: false, ExpiresAt: expires},
		domain.ContextSet{Key: "country", Type: domain.StringContext, Allowed: []evaluation.Value{text("US"), text("CA")}, Privacy: domain.Personal},
		domain.ContextSet{Key: "plan", Type: domain.StringContext, Privacy: domain.Public, Required: true},
		domain.FeatureCreated{
			ID: 4, Key: "Search", FeatureAttributes: domain.FeatureAttributes{Kind: domain.Experiment, Owners: []string{"ana"}, Tags: []string{"web"}},
			DefaultEnabled: true, InitialValue: text("classic"), Seeds: map[string]int32{"dev": 7, "prod": 8},
			Variants: []domain.Variant{{ID: 5, Key: "semantic", Value: text("semantic"), Weight: 10}, {ID: 6, Key: "hybrid", Value: evaluation.Int(2)}},
		},
		domain.FeatureCreated{ID: 9, Key: "checkout", FeatureAttributes: domain.FeatureAttributes{Kind: domain.Release}, Seeds: map[string]int32{"dev": 10, "prod": 11}},
		domain.FeatureUpdated{Feature: "checkout", FeatureAttributes: domain.FeatureAttributes{Kind: domain.Ops, Archived: true}},
		domain.FeatureVariantsSet{Feature: "Search", Variants: []domain.Variant{{ID: 5, Key: "semantic", Value: text("semantic 2"), Weight: 20}}},
		domain.FeatureStateSet{Environment: "prod", Feature: "Search", Value: text("modern"), Weights: map[string]float64{"semantic": 12.5}},
		domain.SegmentCreated{ID: 12, Key: "us", Revision: 1, Name: "US", Rules: rules("US"), LastNode: 2},
		domain.SegmentCreated{ID: 13, Key: "beta", Revision: 1, Name: "Beta", Feature: "Search", Rules: rules("CA"), LastNode: 2},
		domain.SegmentUpdated{Segment: "us", Name: "Americans"},
		domain.SegmentRulesSet{Segment: "us", Revision: 2, Rules: rules("US,CA"), LastNode: 2},
		domain.SegmentOverrideSet{Environment: "prod", Feature: "Search", Segment: "us", Seed: 14, Enabled: true, Value: text("for the US"), Weights: map[string]float64{"semantic": 50}},
		domain.SegmentOverrideSet{Environment: "prod", Feature: "Search", Segment: "beta", Seed: 15, Enabled: true},
		domain.SegmentOverrideSet{Environment: "prod", Feature: "checkout", Segment: "us", Seed: 16, Enabled: true},
		domain.SegmentOverridesReordered{Environment: "prod", Feature: "Search", Order: []string{"beta", "us"}},
		domain.SegmentOverrideRemoved{Environment: "prod", Feature: "checkout", Segment: "us"},
		domain.IdentityOverrideSet{Environment: "prod", Identity: "i1", Feature: "Search", Enabled: true, Variant: "semantic"},
		domain.IdentityOverrideSet{Environment: "prod", Identity: "i1", Feature: "checkout", Enabled: true, Value: evaluation.Bool(true)},
		domain.IdentityOverrideSet{Environment: "prod", Identity: "i2", Feature: "checkout", Value: evaluation.Int(1)},
		domain.SegmentTestsSet{Segment: "us", Cases: []domain.SegmentCase{{Name: "Americans", Traits: map[string]evaluation.Value{"country": text("US")}, Member: true}}},
		domain.FeatureTestsSet{Feature: "Search", Cases: []domain.FeatureCase{{Name: "anybody", Environment: "prod", Enabled: &on}}},
		domain.FeatureTestsSet{Feature: "checkout", Cases: []domain.FeatureCase{{Name: "anybody", Environment: "prod"}}},
		domain.SegmentPinned{Environment: "prod", Segment: "us", Revision: 1, Rules: rules("US")},
		domain.SegmentPinned{Environment: "dev", Segment: "us", Revision: 1, Rules: rules("US")},
		domain.FeatureVariantsPinned{Environment: "prod", Feature: "Search", Variants: []domain.Variant{{ID: 5, Key: "semantic", Value: text("semantic")}}},
		domain.FeatureVariantsPinned{Environment: "dev", Feature: "Search"},
	}
	end = []domain.Event{
		domain.FeatureVariantsUnpinned{Environment: "dev", Feature: "Search"},
		domain.SegmentUnpinned{Environment: "dev", Segment: "us"},
		domain.IdentityOverrideRemoved{Environment: "prod", Identity: "i1", Feature: "checkout"},
		domain.IdentityErased{Environment: "prod", Identity: "i2"},
		domain.SegmentOverrideRemoved{Environment: "prod", Feature: "Search", Segment: "us"},
		domain.SegmentDeleted{Segment: "us"},
		domain.FeatureDeleted{Feature: "checkout"},
		domain.ContextRemoved{Key: "plan"},
		domain.SDKKeyRevoked{Environment: "prod", ID: "k1"},
		domain.EnvironmentDeleted{Environment: "dev"},
		domain.EnvironmentDeleted{Environment: "prod"},
		domain.ProjectDeleted{Key: "shop"},
	}
	return begin, end
}

// tell evolves the project by one event after the other and returns what each
// led to, the first being the project itself.
func tell(p *domain.Project, events ...domain.Event) []*domain.Project {
	told := []*domain.Project{p}
	for _, e := range events {
		at := p.Position + 1
		p, _ = p.Evolve([]domain.Event{e}, domain.Stamp{Position: at, Time: time.Unix(int64(at), 0).UTC()})
		told = append(told, p)
	}
	return told
}

func after(p *domain.Project, events ...domain.Event) *domain.Project {
	told := tell(p, events...)
	return told[len(told)-1]
}

func empty() *domain.Project { return &domain.Project{ID: domain.ProjectID("shop")} }

// contents are the JSON of the objects as they stand in the project, those that
// do not exist left out.
func contents(t *testing.T, p *domain.Project, objects []domain.Object) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, o := range objects {
		if image := p.Get(o); image != nil {
			all[o.String()] = toJSON(t, image)
		}
	}
	return all
}

func toJSON(t *testing.T, x any) string {
	t.Helper()
	body, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// objectsOf are all objects that the events change.
func objectsOf(p *domain.Project, events ...domain.Event) []domain.Object {
	_, objects := p.Evolve(events, domain.Stamp{})
	return objects
}

func TestStoryHasEveryEvent(t *testing.T) {
	begin, end := story()
	var told []string
	for _, e := range slices.Concat(begin, end, organisation()) {
		told = append(told, e.EventType())
	}
	slices.Sort(told)
	if got, want := slices.Compact(told), domain.EventTypes(); !slices.Equal(got, want) {
		t.Errorf("the story has %v, the events are %v", got, want)
	}
}
