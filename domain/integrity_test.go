package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestCheckReferences(t *testing.T) {
	variants := func(keys ...string) []domain.Variant {
		var all []domain.Variant
		for i, key := range keys {
			all = append(all, domain.Variant{ID: int32(10 + i), Key: key})
		}
		return all
	}
	override := func(feature, segment string, weights map[string]float64) domain.Event {
		return domain.SegmentOverrideSet{Environment: "prod", Feature: feature, Segment: segment, Seed: 50, Weights: weights}
	}
	identity := func(feature, variant string) domain.Event {
		return domain.IdentityOverrideSet{Environment: "prod", Identity: "i", Feature: feature, Variant: variant}
	}
	for name, test := range map[string]struct {
		events []domain.Event
		want   string // part of the refusal; empty: none
	}{
		"nothing":                         {},
		"an override":                     {[]domain.Event{override("plain", "idle", nil)}, ""},
		"an override without its segment": {[]domain.Event{override("plain", "gone", nil)}, `override in prod for segment "gone", which does not exist`},
		"an override of another's segment": {
			[]domain.Event{domain.SegmentCreated{ID: 20, Key: "own", Revision: 1, Feature: "split"}, override("plain", "own", nil)}, `segment "own", which does not exist or is for another feature`,
		},
		"a segment without its override":     {[]domain.Event{domain.SegmentOverrideRemoved{Environment: "prod", Feature: "plain", Segment: "used"}, domain.SegmentDeleted{Segment: "used"}}, ""},
		"a segment deleted under it":         {[]domain.Event{domain.SegmentDeleted{Segment: "used"}}, `segment "used" would be gone and in use in prod`},
		"a segment of no feature":            {[]domain.Event{domain.SegmentCreated{ID: 20, Key: "own", Revision: 1, Feature: "gone"}}, `segment "own" would be for feature "gone" only`},
		"a segment whose feature goes":       {[]domain.Event{domain.SegmentCreated{ID: 20, Key: "own", Revision: 1, Feature: "split"}, domain.FeatureDeleted{Feature: "split"}}, `segment "own" would be for feature "split" only`},
		"a weight":                           {[]domain.Event{override("split", "used", map[string]float64{"a": 10})}, ""},
		"a weight of no variant":             {[]domain.Event{override("split", "used", map[string]float64{"z": 10})}, `weight in prod for its variant "z"`},
		"no weight of no variant":            {[]domain.Event{override("split", "used", map[string]float64{"z": 0})}, ""},
		"a variant that goes under a weight": {[]domain.Event{domain.FeatureVariantsSet{Feature: "split", Variants: variants("b")}}, `variant "a"`},
		"a variant that a pin holds": {
			[]domain.Event{
				domain.FeatureVariantsPinned{Environment: "prod", Feature: "split", Variants: variants("a")},
				domain.FeatureVariantsPinned{Environment: "dev", Feature: "split", Variants: variants("a")}, domain.FeatureVariantsSet{Feature: "split", Variants: variants("b")},
			}, "",
		},
		"a pin without the variant": {[]domain.Event{domain.FeatureVariantsPinned{Environment: "prod", Feature: "split", Variants: variants("b")}}, `variant "a"`},
		"a pin that goes under a weight": {
			[]domain.Event{
				domain.FeatureVariantsPinned{Environment: "dev", Feature: "split", Variants: variants("a")}, domain.FeatureVariantsPinned{Environment: "prod", Feature: "split", Variants: variants("a", "z")},
				override("split", "used", map[string]float64{"z": 10}), domain.FeatureVariantsUnpinned{Environment: "prod", Feature: "split"},
			}, `variant "z"`,
		},
		"a pin of no segment":                   {[]domain.Event{domain.SegmentPinned{Environment: "prod", Segment: "gone"}}, `would pin segment "gone"`},
		"an identity":                           {[]domain.Event{identity("split", "a"), identity("plain", "")}, ""},
		"an identity of no variant":             {[]domain.Event{identity("split", "z")}, `variant "z"`},
		"an identity of no feature":             {[]domain.Event{identity("gone", "")}, `feature "gone"`},
		"an identity whose variant goes":        {[]domain.Event{domain.FeatureStateSet{Environment: "prod", Feature: "split"}, domain.FeatureStateSet{Environment: "dev", Feature: "split"}, identity("split", "a"), domain.FeatureVariantsSet{Feature: "split"}}, `variant "a"`},
		"an identity whose feature goes":        {[]domain.Event{identity("split", ""), domain.FeatureDeleted{Feature: "split"}}, `feature "split"`},
		"an environment that goes with its own": {[]domain.Event{identity("split", "a"), domain.EnvironmentDeleted{Environment: "prod"}}, ""},
	} {
		p, objects := contentShop().Evolve(test.events, domain.Stamp{})
		err := p.CheckReferences(objects)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Kind != domain.Conflict || !strings.Contains(e.Detail, test.want) {
			t.Errorf("%s: error %v, want %s", name, err, test.want)
		}
	}

	// What is wrong is seen from whichever side was touched, also where that is gone.
	pinned, _ := contentShop().Evolve([]domain.Event{
		domain.FeatureVariantsPinned{Environment: "prod", Feature: "split", Variants: variants("a", "b", "z")}, identity("split", "z"),
	}, domain.Stamp{})
	unpinned, touched := pinned.Evolve([]domain.Event{domain.FeatureVariantsUnpinned{Environment: "prod", Feature: "split"}}, domain.Stamp{})
	if err := unpinned.CheckReferences(touched); err == nil || !strings.Contains(err.Error(), `variant "z"`) {
		t.Errorf("an identity with a variant of a pin that is gone: %v", err)
	}
	state := domain.FeatureStateSet{Environment: "prod", Feature: "split", Value: evaluation.Int(1), Weights: map[string]float64{"z": 1}}
	p, objects := contentShop().Evolve([]domain.Event{state}, domain.Stamp{})
	if err := p.CheckReferences(objects); err == nil || !slices.Equal(objects, []domain.Object{{Kind: domain.KindFeatureState, Environment: "prod", Key: "split"}}) {
		t.Errorf("a state with a weight of no variant: %v of %v", err, objects)
	}
}
