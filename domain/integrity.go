package domain

import (
	"cmp"
	"slices"
)

// CheckReferences refuses a state in which one of the objects is left with
// something that does not exist: an override with a segment that is gone, a
// weight of a variant that the feature does not have. Commands do not lead
// there one by one, but what takes back others might; and such a state, once
// recorded, could not be evaluated.
func (p *Project) CheckReferences(objects []Object) error {
	for _, o := range objects {
		if err := p.checkReferences(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *Project) checkReferences(o Object) error {
	switch o.Kind {
	case KindFeature:
		return p.checkFeature(o.Key)
	case KindSegment:
		return p.checkSegment(o.Key)
	}
	env := p.Environments.Get(o.Environment)
	if env == nil {
		return nil
	}
	switch o.Kind {
	case KindFeatureState, KindSegmentOverrides:
		return p.checkFeatureIn(env, o.Key)
	case KindVariantsPin: // also one that is gone, which leaves the feature's own variants
		return cmp.Or(p.checkFeatureIn(env, o.Key), p.checkIdentitiesOf(env, o.Key))
	case KindSegmentPin:
		if env.SegmentPins.Get(o.Key) != nil && p.Segments.Get(o.Key) == nil {
			return Refuse(Conflict, "environment %s would pin segment %q, which does not exist", env.Key, o.Key)
		}
	case KindIdentity:
		if identity := env.Identities.Get(o.Key); identity != nil {
			for _, own := range identity.List {
				if err := p.checkIdentity(env, own); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkFeature checks what all environments have of a feature.
func (p *Project) checkFeature(key string) error {
	if p.Features.Get(key) == nil {
		for segment, s := range p.Segments.All() {
			if s.Feature == key {
				return Refuse(Conflict, "segment %q would be for feature %q only, which does not exist", segment, key)
			}
		}
	}
	for _, env := range p.Environments.All() {
		if err := cmp.Or(p.checkFeatureIn(env, key), p.checkIdentitiesOf(env, key)); err != nil {
			return err
		}
	}
	return nil
}

// checkIdentitiesOf checks the overrides that identities have of a feature.
func (p *Project) checkIdentitiesOf(env *Environment, feature string) error {
	for _, o := range env.Identities.All() {
		if i, own := o.Find(feature); i >= 0 {
			if err := p.checkIdentity(env, own); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkFeatureIn checks the state, the overrides and the pin of a feature in an environment.
func (p *Project) checkFeatureIn(env *Environment, key string) error {
	f := p.Features.Get(key)
	state, overrides := env.States.Get(key), env.Overrides.Get(key)
	if f == nil {
		if state != nil || len(overrides.Order()) > 0 || env.VariantsPins.Get(key) != nil {
			return Refuse(Conflict, "environment %s would have a state of feature %q, which does not exist", env.Key, key)
		}
		return nil
	}
	if state == nil {
		return Refuse(Conflict, "environment %s would have no state of feature %q", env.Key, key)
	}
	if err := env.checkWeights(f, state.Weights); err != nil || overrides == nil {
		return err
	}
	for _, o := range overrides.List {
		s := p.Segments.Get(o.Segment)
		if s == nil || s.Feature != "" && s.Feature != key {
			return Refuse(Conflict, "feature %q would have an override in %s for segment %q, which does not exist or is for another feature", key, env.Key, o.Segment)
		}
		if err := env.checkWeights(f, o.Weights); err != nil {
			return err
		}
	}
	return nil
}

func (e *Environment) checkWeights(f *Feature, weights map[string]float64) error {
	for variant, w := range weights {
		if w > 0 && !e.hasVariant(f, variant) {
			return Refuse(Conflict, "feature %q would have a weight in %s for its variant %q, which does not exist", f.Key, e.Key, variant)
		}
	}
	return nil
}

func (p *Project) checkIdentity(env *Environment, own IdentityOverride) error {
	f := p.Features.Get(own.Feature)
	if f == nil || own.Variant != "" && !env.hasVariant(f, own.Variant) {
		return Refuse(Conflict, "an identity in %s would have an override of feature %q or its variant %q, which does not exist", env.Key, own.Feature, own.Variant)
	}
	return nil
}

func (e *Environment) hasVariant(f *Feature, key string) bool {
	return slices.ContainsFunc(e.VariantsIn(f), func(v Variant) bool { return v.Key == key })
}

// checkSegment checks that a segment that is gone is not in use.
func (p *Project) checkSegment(key string) error {
	s := p.Segments.Get(key)
	if s != nil && s.Feature != "" && p.Features.Get(s.Feature) == nil {
		return Refuse(Conflict, "segment %q would be for feature %q only, which does not exist", key, s.Feature)
	}
	for name, env := range p.Environments.All() {
		if s == nil && env.UsesSegment(key) {
			return Refuse(Conflict, "segment %q would be gone and in use in %s", key, name)
		}
	}
	return nil
}
