package domain_test

import (
	"slices"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// contentShop is a project with a feature of each sort, two segments and an
// override, for the tests of the digest.
func contentShop() *domain.Project {
	return after(empty(),
		domain.ProjectCreated{Key: "shop"},
		domain.EnvironmentCreated{ID: 2, Key: "prod", ClientKey: "key_prod"},
		domain.EnvironmentCreated{ID: 3, Key: "dev", ClientKey: "key_dev"},
		domain.FeatureCreated{ID: 4, Key: "plain", InitialValue: evaluation.String("x"), Seeds: map[string]int32{"prod": 5, "dev": 6}},
		domain.FeatureCreated{ID: 7, Key: "split", Seeds: map[string]int32{"prod": 8, "dev": 9}, Variants: []domain.Variant{
			{ID: 10, Key: "a", Value: evaluation.String("a"), Weight: 10}, {ID: 11, Key: "b", Value: evaluation.String("b")},
		}},
		domain.SegmentCreated{ID: 12, Key: "used", Revision: 1, Rules: onCountry("US"), LastNode: 2},
		domain.SegmentCreated{ID: 13, Key: "idle", Revision: 1, Rules: onCountry("US"), LastNode: 2},
		domain.SegmentOverrideSet{Environment: "prod", Feature: "plain", Segment: "used", Seed: 14},
	)
}

func onCountry(value string) []evaluation.Rule {
	return []evaluation.Rule{{ID: "r2", Type: evaluation.All, Conditions: []evaluation.Condition{
		{ID: "c1", Property: "country", Operator: evaluation.Equal, Value: value},
	}}}
}

func digestOf(p *domain.Project, env string) string {
	return p.ContentDigest(p.Environments.Get(env)).String()
}

// What the digest sees: what is evaluated, and nothing else; and that where the
// events lead back, so does it.
func TestContentDigest(t *testing.T) {
	plain := func(value string) domain.Event {
		return domain.FeatureStateSet{Environment: "prod", Feature: "plain", Value: evaluation.String(value)}
	}
	split := func(enabled bool, weights map[string]float64) domain.Event {
		return domain.FeatureStateSet{Environment: "prod", Feature: "split", Enabled: enabled, Weights: weights}
	}
	variants := func(weight float64, value string) domain.Event {
		return domain.FeatureVariantsSet{Feature: "split", Variants: []domain.Variant{
			{ID: 10, Key: "a", Value: evaluation.String(value), Weight: weight}, {ID: 11, Key: "b", Value: evaluation.String("b")},
		}}
	}
	override := func(env, segment string, seed int32) domain.Event {
		return domain.SegmentOverrideSet{Environment: env, Feature: "split", Segment: segment, Seed: seed}
	}
	removed := func(env, segment string) domain.Event {
		return domain.SegmentOverrideRemoved{Environment: env, Feature: "split", Segment: segment}
	}
	identity := func(value string) domain.Event {
		return domain.IdentityOverrideSet{Environment: "prod", Identity: "i1", Feature: "plain", Value: evaluation.String(value)}
	}
	for name, test := range map[string]struct {
		events    []domain.Event
		prod, dev bool // whether its digest is another afterwards
	}{
		"a state":                           {[]domain.Event{plain("y")}, true, false},
		"a state and back":                  {[]domain.Event{plain("y"), plain("x")}, false, false},
		"a weight":                          {[]domain.Event{split(false, map[string]float64{"a": 20})}, true, false},
		"a weight of 0 is none":             {[]domain.Event{split(false, map[string]float64{"a": 10})}, false, false},
		"names and descriptions":            {[]domain.Event{domain.ProjectUpdated{Name: "n"}, domain.SegmentUpdated{Segment: "used", Name: "n"}, domain.FeatureUpdated{Feature: "plain", FeatureAttributes: domain.FeatureAttributes{Description: "d", Tags: []string{"t"}, Archived: true}}}, false, false},
		"settings":                          {[]domain.Event{domain.EnvironmentUpdated{Environment: "prod", Name: "n"}}, false, false},
		"keys":                              {[]domain.Event{domain.SDKKeyCreated{Environment: "prod", ID: "k"}}, false, false},
		"contexts":                          {[]domain.Event{domain.ContextSet{Key: "country", Type: domain.StringContext}}, false, false},
		"a new feature":                     {[]domain.Event{domain.FeatureCreated{ID: 20, Key: "new"}}, true, true},
		"a new feature, deleted":            {[]domain.Event{domain.FeatureCreated{ID: 20, Key: "new"}, domain.FeatureDeleted{Feature: "new"}}, false, false},
		"a value of a variant":              {[]domain.Event{variants(10, "c")}, true, true},
		"a default weight of a variant":     {[]domain.Event{variants(30, "a")}, false, false},
		"variants, pinned before":           {[]domain.Event{domain.FeatureVariantsPinned{Environment: "prod", Feature: "split", Variants: variants(0, "a").(domain.FeatureVariantsSet).Variants}, variants(10, "c")}, false, true},
		"the rules of a segment in use":     {[]domain.Event{domain.SegmentRulesSet{Segment: "used", Revision: 2, Rules: onCountry("CA"), LastNode: 2}}, true, false},
		"the same rules again":              {[]domain.Event{domain.SegmentRulesSet{Segment: "used", Revision: 2, Rules: onCountry("US"), LastNode: 2}}, false, false},
		"the rules of a segment, pinned":    {[]domain.Event{domain.SegmentPinned{Environment: "prod", Segment: "used", Revision: 1, Rules: onCountry("US")}, domain.SegmentRulesSet{Segment: "used", Revision: 2, Rules: onCountry("CA"), LastNode: 2}}, false, false},
		"the rules of a segment not in use": {[]domain.Event{domain.SegmentRulesSet{Segment: "idle", Revision: 2, Rules: onCountry("CA"), LastNode: 2}}, false, false},
		"a pin of a segment not in use":     {[]domain.Event{domain.SegmentPinned{Environment: "dev", Segment: "idle", Revision: 1, Rules: onCountry("CA")}}, false, false},
		"an override":                       {[]domain.Event{override("dev", "idle", 20)}, false, true},
		"an override and its removal":       {[]domain.Event{override("dev", "idle", 20), removed("dev", "idle")}, false, false},
		"the order of overrides":            {[]domain.Event{override("prod", "used", 20), override("prod", "idle", 21), domain.SegmentOverridesReordered{Environment: "prod", Feature: "split", Order: []string{"idle", "used"}}}, true, false},
		"an identity":                       {[]domain.Event{identity("y")}, true, false},
		"an identity and its removal":       {[]domain.Event{identity("y"), domain.IdentityOverrideRemoved{Environment: "prod", Identity: "i1", Feature: "plain"}}, false, false},
		"an identity, erased":               {[]domain.Event{identity("y"), domain.IdentityErased{Environment: "prod", Identity: "i1"}}, false, false},
	} {
		before := contentShop()
		p := after(before, test.events...)
		for env, want := range map[string]bool{"prod": test.prod, "dev": test.dev} {
			if changed := digestOf(p, env) != digestOf(before, env); changed != want {
				t.Errorf("%s: the digest of %s changed %t, want %t", name, env, changed, want)
			}
		}
	}
}

// The order of an environment's overrides is content, the order in which they
// came is not.
func TestContentDigestOfOrder(t *testing.T) {
	at := func(segment string, seed int32, place int) domain.Event {
		return domain.SegmentOverrideSet{Environment: "prod", Feature: "split", Segment: segment, Seed: seed, Place: place}
	}
	ab := digestOf(after(contentShop(), at("used", 20, 0), at("idle", 21, 1)), "prod")
	ba := digestOf(after(contentShop(), at("idle", 21, 0), at("used", 20, 0)), "prod")
	other := digestOf(after(contentShop(), at("used", 20, 0), at("idle", 21, 0)), "prod")
	if ab != ba || ab == other {
		t.Errorf("one order has the digests %s and %s, the other one %s", ab, ba, other)
	}
}

// Digests brought along from commit to commit are those computed from nothing.
func TestContentChanges(t *testing.T) {
	begin, end := story()
	digests := map[int32]*domain.Digest{}
	digest := func(env *domain.Environment) *domain.Digest {
		if digests[env.ID] == nil {
			digests[env.ID] = new(domain.Digest)
		}
		return digests[env.ID]
	}
	var contents domain.Contents
	p := empty()
	for i, events := range append(slices.Collect(slices.Chunk(begin, 3)), slices.Collect(slices.Chunk(end, 2))...) {
		next, objects := p.Evolve(events, domain.Stamp{Position: uint64(i + 1)})
		var changed []string
		for _, c := range contents.Changes(p, next, objects) {
			c.Update(digest(c.Environment))
			changed = append(changed, c.Environment.Key)
		}
		for key, env := range next.Environments.All() {
			want := next.ContentDigest(env)
			if got := digest(env); got.String() != want.String() {
				t.Errorf("after commit %d the digest of %s is wrong", i, key)
			}
			old := p.Environments.Get(key)
			if moved := old == nil || p.ContentDigest(old).String() != want.String(); moved != slices.Contains(changed, key) {
				t.Errorf("after commit %d the content of %s is said to be changed: %v; it is %t", i, key, changed, moved)
			}
		}
		p = next
	}
	if p.Exists() {
		t.Error("the story does not end")
	}
}

// An environment made again under its key in the commit that deletes it begins anew.
func TestContentChangesOfAnEnvironmentMadeAgain(t *testing.T) {
	p := contentShop()
	next, objects := p.Evolve([]domain.Event{
		domain.EnvironmentDeleted{Environment: "prod"},
		domain.EnvironmentCreated{ID: 30, Key: "prod", Seeds: map[string]int32{"plain": 31, "split": 32}},
	}, domain.Stamp{})
	var digest domain.Digest
	changes := new(domain.Contents).Changes(p, next, objects)
	if len(changes) != 1 || changes[0].Environment.Key != "prod" {
		t.Fatalf("changed are %v, want prod", changes)
	}
	changes[0].Update(&digest)
	if got, want := digest.String(), digestOf(next, "prod"); got != want {
		t.Errorf("the digest is %s, want %s", got, want)
	}
}

func TestIdentityValue(t *testing.T) {
	p := after(contentShop(), domain.FeatureVariantsPinned{Environment: "dev", Feature: "split", Variants: []domain.Variant{{ID: 10, Key: "a", Value: evaluation.String("pinned")}}})
	f := p.Features.Get("split")
	for name, test := range map[string]struct {
		env, variant string
		want         evaluation.Value
	}{
		"of a variant":               {"prod", "b", evaluation.String("b")},
		"of a pinned variant":        {"dev", "a", evaluation.String("pinned")},
		"its own":                    {"prod", "", evaluation.Int(1)},
		"a variant there is not any": {"dev", "b", evaluation.Int(1)},
	} {
		o := domain.IdentityOverride{Feature: "split", Value: evaluation.Int(1), Variant: test.variant}
		if got := p.Environments.Get(test.env).IdentityValue(f, o); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
