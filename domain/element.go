package domain

import (
	"slices"

	"flagledger/domain/evaluation"
)

// An Element is something that decides what a feature is in an environment. It
// is the smallest thing of which it makes sense to ask who set it: a rename of
// a segment is not what its rules go back to.
type Element struct {
	Name string // such as "value" or "segment override western_users: enabled"
	// Objects are what the element is read from; what it is comes from the last.
	Objects []Object
	// Value is what the element is in a project that holds at least the objects.
	// id is the number of what it belongs to, 0 where there is no such thing: what
	// was deleted and made again is not the same.
	Value func(*Project) (id int32, value any)
	// Long says that the value is too long to be shown beside others.
	Long bool
}

// Object is the one whose history tells of the element.
func (el Element) Object() Object { return el.Objects[len(el.Objects)-1] }

// A Decision is what led to what somebody gets of a feature.
type Decision struct {
	Identity string   // surrogate, where the identity's own override decided
	Asked    []string // segments of overrides that were looked at, up to the one that decided
	Member   []string // segments of the feature's overrides that hold the identity
	Split    bool     // the identity was dealt one of the variants, or none
	Variant  string   // that is served
}

// Elements are those of a feature in the environment, the strongest first.
// Identity overrides are left out; there can be very many.
func (e *Environment) Elements(p *Project, feature string) []Element {
	f, list := p.Features.Get(feature), e.Overrides.Get(feature)
	split := len(e.VariantsIn(f)) > 0
	var all []Element
	for _, segment := range list.Order() {
		all = append(all, e.override(feature, segment, true, split)...)
		all = append(all, e.rules(segment))
	}
	if len(list.Order()) > 1 {
		all = append(all, e.order(feature, list.Order()))
	}
	all = append(all, e.state(feature, true, split)...)
	for _, v := range e.VariantsIn(f) {
		all = append(all, e.variant(feature, v.Key))
	}
	attribute := func(name string, value func(*Feature) any) {
		all = append(all, Element{Name: name, Objects: []Object{{Kind: KindFeature, Key: feature}}, Value: func(p *Project) (int32, any) {
			if f := p.Features.Get(feature); f != nil {
				return f.ID, value(f)
			}
			return 0, nil
		}})
	}
	attribute("archived", func(f *Feature) any { return f.Archived })
	attribute("server_key_only", func(f *Feature) any { return f.ServerKeyOnly })
	attribute("object_value", func(f *Feature) any { return f.ObjectValue })
	return all
}

// Deciding are the elements of a feature that led to a decision.
func (e *Environment) Deciding(p *Project, feature string, d Decision) []Element {
	variant := slices.ContainsFunc(e.VariantsIn(p.Features.Get(feature)), func(v Variant) bool { return v.Key == d.Variant })
	var all []Element
	switch {
	case d.Identity != "":
		all = e.identity(feature, d.Identity, variant)
	default:
		decided := ""
		for _, segment := range d.Asked {
			if slices.Contains(d.Member, segment) {
				decided = segment
			}
		}
		if decided != "" {
			all = e.override(feature, decided, !variant, d.Split)
		} else {
			all = e.state(feature, !variant, d.Split)
		}
		if decided != "" && len(d.Member) > 1 {
			all = append(all, e.order(feature, d.Member)) // among others the identity gets another override
		}
		for _, segment := range d.Asked {
			all = append(all, e.rules(segment))
		}
	}
	if variant {
		all = append(all, e.variant(feature, d.Variant))
	}
	return all
}

func (e *Environment) state(feature string, value, split bool) []Element {
	of := func(name string, value func(*FeatureState) any) Element {
		return Element{Name: name, Objects: []Object{{KindFeatureState, e.Key, feature}}, Value: func(p *Project) (int32, any) {
			if s := e.in(p).States.Get(feature); s != nil {
				return s.Seed, value(s)
			}
			return 0, nil
		}}
	}
	all := []Element{of("enabled", func(s *FeatureState) any { return s.Enabled })}
	if value {
		all = append(all, of("value", func(s *FeatureState) any { return s.Value }))
	}
	if split {
		all = append(all, of("weights", func(s *FeatureState) any { return withoutZeros(s.Weights) }))
	}
	return all
}

func (e *Environment) override(feature, segment string, value, split bool) []Element {
	of := func(name string, value func(SegmentOverride) any) Element {
		return Element{
			Name: "segment override " + segment + ": " + name, Objects: []Object{{KindSegmentOverrides, e.Key, feature}},
			Value: func(p *Project) (int32, any) {
				i, o := e.in(p).Overrides.Get(feature).Find(segment)
				if i < 0 {
					return 0, nil
				}
				return o.Seed, value(o)
			},
		}
	}
	all := []Element{of("enabled", func(o SegmentOverride) any { return o.Enabled })}
	if value {
		all = append(all, of("value", func(o SegmentOverride) any { return o.Value }))
	}
	if split {
		all = append(all, of("weights", func(o SegmentOverride) any { return withoutZeros(o.Weights) }))
	}
	return all
}

func (e *Environment) identity(feature, surrogate string, variant bool) []Element {
	of := func(name string, value func(IdentityOverride) any) Element {
		return Element{
			Name: "identity override: " + name, Objects: []Object{{KindIdentity, e.Key, surrogate}},
			Value: func(p *Project) (int32, any) {
				i, o := e.in(p).Identities.Get(surrogate).Find(feature)
				if i < 0 {
					return 0, nil
				}
				return 1, value(o)
			},
		}
	}
	all := []Element{of("enabled", func(o IdentityOverride) any { return o.Enabled })}
	if variant {
		return append(all, of("variant", func(o IdentityOverride) any { return o.Variant }))
	}
	return append(all, of("value", func(o IdentityOverride) any { return o.Value }))
}

// order is that of some overrides of a feature among each other. Others that
// come and go do not change it.
func (e *Environment) order(feature string, segments []string) Element {
	return Element{
		Name: "order of segment overrides", Objects: []Object{{KindSegmentOverrides, e.Key, feature}},
		Value: func(p *Project) (int32, any) {
			order := slices.DeleteFunc(e.in(p).Overrides.Get(feature).Order(), func(segment string) bool { return !slices.Contains(segments, segment) })
			if len(order) < len(segments) {
				return 0, nil // one of them was not there yet
			}
			return 1, order
		},
	}
}

// rules are those of a segment as the environment sees them: where they are
// pinned or were, what pinned or unpinned them made them what they are.
func (e *Environment) rules(segment string) Element {
	el := Element{
		Name: "rules of segment " + segment, Long: true, Objects: []Object{{KindSegmentPin, e.Key, segment}, {Kind: KindSegment, Key: segment}},
		Value: func(p *Project) (int32, any) {
			s := p.Segments.Get(segment)
			if s == nil {
				return 0, nil
			}
			return s.ID, e.in(p).RulesIn(s)
		},
	}
	if e.SegmentPins.Get(segment) != nil {
		el.Name = "pinned " + el.Name
		slices.Reverse(el.Objects)
	}
	return el
}

// variant is one of a feature as the environment sees it.
func (e *Environment) variant(feature, key string) Element {
	el := Element{
		Name: "variant " + key, Objects: []Object{{KindVariantsPin, e.Key, feature}, {Kind: KindFeature, Key: feature}},
		Value: func(p *Project) (int32, any) {
			f := p.Features.Get(feature)
			if f == nil {
				return 0, nil
			}
			for _, v := range e.in(p).VariantsIn(f) {
				if v.Key == key {
					return v.ID, v.Value
				}
			}
			return 0, nil
		},
	}
	if e.VariantsPins.Get(feature) != nil {
		el.Name = "pinned " + el.Name
		slices.Reverse(el.Objects)
	}
	return el
}

// withoutZeros are weights as they split: one of 0 is none.
func withoutZeros(weights map[string]float64) map[string]float64 {
	some := make(map[string]float64, len(weights))
	for key, w := range weights {
		if w != 0 {
			some[key] = w
		}
	}
	return some
}

// in is the environment in another state of its project.
func (e *Environment) in(p *Project) *Environment { return p.Environments.Get(e.Key) }

// Same tells whether the element is there and the same in two states of its objects.
func (el Element) Same(p, q *Project) bool {
	id, a := el.Value(p)
	other, b := el.Value(q)
	if id == 0 || id != other {
		return false
	}
	switch a := a.(type) {
	case []evaluation.Rule:
		return SameRules(a, b.([]evaluation.Rule))
	case []string:
		return slices.Equal(a, b.([]string))
	case map[string]float64:
		return SameWeights(a, b.(map[string]float64))
	}
	return a == b
}
