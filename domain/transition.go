package domain

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Transition returns the events that bring one object from what it is to an
// image of it (nil: it is to be gone), as it was at another time. seed gives the
// hash salt of a feature's state in an environment, for a feature that is to
// come back. What has secrets, and environments and projects as a whole, are
// refused.
func (p *Project) Transition(o Object, image json.RawMessage, seed func(environment string) int32) ([]Event, error) {
	if there, err := p.isAlready(o, image); there || err != nil {
		return nil, err
	}
	switch o.Kind {
	case KindFeature:
		return p.featureTransition(o, image, seed)
	case KindSegment:
		return p.segmentTransition(o, image)
	case KindSegmentTests:
		want, err := imageOf[SegmentTests](image)
		if err != nil || want == nil {
			return []Event{SegmentTestsSet{Segment: o.Key}}, err
		}
		return []Event{SegmentTestsSet{o.Key, want.Cases}}, nil
	case KindFeatureTests:
		want, err := imageOf[FeatureTests](image)
		if err != nil || want == nil {
			return []Event{FeatureTestsSet{Feature: o.Key}}, err
		}
		return []Event{FeatureTestsSet{o.Key, want.Cases}}, nil
	case KindContext:
		want, err := imageOf[Context](image)
		switch {
		case err != nil:
			return nil, err
		case want == nil:
			return []Event{ContextRemoved{o.Key}}, nil
		}
		return []Event{ContextSet{want.Key, want.Type, want.Description, want.Owner, want.Allowed, want.Privacy, want.Required}}, nil
	case KindFeatureState, KindSegmentOverrides, KindIdentity, KindSegmentPin, KindVariantsPin:
		env := p.Environments.Get(o.Environment)
		if env == nil {
			return nil, Refuse(Conflict, "environment %q is gone", o.Environment)
		}
		return p.environmentTransition(env, o, image)
	}
	return nil, Refuse(Conflict, "what was done to %s cannot be undone; change it yourself", o)
}

// isAlready tells whether an object is as an image of it says.
func (p *Project) isAlready(o Object, image json.RawMessage) (bool, error) {
	object := p.Get(o)
	if object == nil || absent(image) {
		return object == nil && absent(image), nil
	}
	now, err := json.Marshal(object)
	if err != nil {
		return false, fmt.Errorf("encode %s: %w", o, err)
	}
	differences, err := Diff(now, image)
	return len(differences) == 0, err
}

func imageOf[T any](image json.RawMessage) (*T, error) {
	if absent(image) {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(image, v); err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return v, nil
}

func (p *Project) featureTransition(o Object, image json.RawMessage, seed func(string) int32) ([]Event, error) {
	want, err := imageOf[Feature](image)
	if err != nil {
		return nil, err
	}
	now := p.Features.Get(o.Key)
	switch {
	case want == nil && now == nil:
		return nil, nil
	case want == nil:
		return []Event{FeatureDeleted{o.Key}}, nil
	case now == nil:
		if other := p.Folded.Get(strings.ToLower(o.Key)); other != "" {
			return nil, Refuse(Conflict, "feature %q cannot come back: it differs from %q, which exists now, only in case", o.Key, other)
		}
		return []Event{want.Recreated(p, seed)}, nil
	case now.ID != want.ID:
		return nil, Refuse(Conflict, "feature %q was deleted and another of that key exists now", o.Key)
	}
	var events []Event
	if !reflect.DeepEqual(now.Attributes(), want.Attributes()) {
		events = append(events, FeatureUpdated{o.Key, want.Attributes()})
	}
	if !slices.Equal(now.Variants, want.Variants) {
		events = append(events, FeatureVariantsSet{o.Key, want.Variants})
	}
	return events, nil
}

// Recreated is the event that brings a deleted feature back, with the numbers it
// had, and the given seeds.
func (f *Feature) Recreated(p *Project, seed func(environment string) int32) FeatureCreated {
	e := FeatureCreated{
		ID: f.ID, Key: f.Key, FeatureAttributes: f.Attributes(), DefaultEnabled: f.DefaultEnabled, InitialValue: f.InitialValue,
		Variants: f.Variants, Seeds: map[string]int32{},
	}
	for env := range p.Environments.All() {
		e.Seeds[env] = seed(env)
	}
	return e
}

func (p *Project) segmentTransition(o Object, image json.RawMessage) ([]Event, error) {
	want, err := imageOf[Segment](image)
	if err != nil {
		return nil, err
	}
	now := p.Segments.Get(o.Key)
	switch {
	case want == nil && now == nil:
		return nil, nil
	case want == nil:
		return []Event{SegmentDeleted{o.Key}}, nil
	case now == nil:
		return []Event{want.Recreated()}, nil
	case now.ID != want.ID:
		return nil, Refuse(Conflict, "segment %q was deleted and another of that key exists now", o.Key)
	}
	var events []Event
	if now.Name != want.Name || now.Description != want.Description {
		events = append(events, SegmentUpdated{o.Key, want.Name, want.Description})
	}
	if !SameRules(now.Rules, want.Rules) {
		events = append(events, SegmentRulesSet{o.Key, now.Revision + 1, want.Rules, max(now.LastNode, want.LastNode)})
	}
	return events, nil
}

// Recreated is the event that brings a deleted segment back, with the number and
// the revision it had.
func (s *Segment) Recreated() SegmentCreated {
	return SegmentCreated{
		ID: s.ID, Key: s.Key, Name: s.Name, Description: s.Description, Feature: s.Feature,
		Revision: s.Revision, Rules: s.Rules, LastNode: s.LastNode,
	}
}

func (p *Project) environmentTransition(env *Environment, o Object, image json.RawMessage) ([]Event, error) {
	if o.Kind != KindIdentity && o.Kind != KindSegmentPin && p.Features.Get(o.Key) == nil {
		return nil, nil // went with its feature
	}
	switch o.Kind {
	case KindFeatureState:
		want, err := imageOf[FeatureState](image)
		if err != nil || want == nil {
			return nil, err
		}
		return env.StateEvents(o.Key, *want), nil
	case KindSegmentOverrides:
		want, err := imageOf[SegmentOverrides](image)
		if err != nil {
			return nil, err
		}
		var list []SegmentOverride
		if want != nil {
			list = want.List
		}
		return env.OverrideEvents(o.Key, list), nil
	case KindIdentity:
		want, err := imageOf[IdentityOverrides](image)
		if err != nil {
			return nil, err
		}
		return env.IdentityEvents(o.Key, want), nil
	case KindSegmentPin:
		want, err := imageOf[SegmentPin](image)
		if err != nil {
			return nil, err
		}
		if want == nil {
			return []Event{SegmentUnpinned{env.Key, o.Key}}, nil
		}
		return []Event{SegmentPinned{env.Key, o.Key, want.Revision, want.Rules}}, nil
	case KindVariantsPin:
		want, err := imageOf[VariantsPin](image)
		if err != nil {
			return nil, err
		}
		if want == nil {
			return []Event{FeatureVariantsUnpinned{env.Key, o.Key}}, nil
		}
		return []Event{FeatureVariantsPinned{env.Key, o.Key, want.Variants}}, nil
	}
	return nil, nil
}

// StateEvents lead to a state of a feature, by at most one event.
func (e *Environment) StateEvents(feature string, want FeatureState) []Event {
	now := e.States.Get(feature)
	if now != nil && now.Enabled == want.Enabled && now.Value == want.Value && SameWeights(now.Weights, want.Weights) {
		return nil
	}
	return []Event{FeatureStateSet{e.Key, feature, want.Enabled, want.Value, want.Weights}}
}

// OverrideEvents lead to a list of overrides of a feature: what is not in it is
// removed, what differs is set, and the order is put right.
func (e *Environment) OverrideEvents(feature string, want []SegmentOverride) []Event {
	var events []Event
	now := e.Overrides.Get(feature)
	var order, target []string
	for _, segment := range now.Order() {
		if slices.ContainsFunc(want, func(o SegmentOverride) bool { return o.Segment == segment }) {
			order = append(order, segment)
		} else {
			events = append(events, SegmentOverrideRemoved{e.Key, feature, segment})
		}
	}
	for place, o := range want {
		target = append(target, o.Segment)
		i, is := now.Find(o.Segment)
		if i < 0 {
			order = slices.Insert(order, min(place, len(order)), o.Segment)
		}
		if i < 0 || is.Seed != o.Seed || is.Enabled != o.Enabled || is.Value != o.Value || !SameWeights(is.Weights, o.Weights) {
			events = append(events, SegmentOverrideSet{e.Key, feature, o.Segment, o.Seed, place, o.Enabled, o.Value, o.Weights})
		}
	}
	if !slices.Equal(order, target) {
		events = append(events, SegmentOverridesReordered{e.Key, feature, target})
	}
	return events
}

// IdentityEvents lead to the overrides of an identity (nil: none).
func (e *Environment) IdentityEvents(surrogate string, want *IdentityOverrides) []Event {
	var events []Event
	now := e.Identities.Get(surrogate)
	if now != nil {
		for _, o := range now.List {
			if i, _ := want.Find(o.Feature); i < 0 {
				events = append(events, IdentityOverrideRemoved{e.Key, surrogate, o.Feature})
			}
		}
	}
	if want == nil {
		return events
	}
	for _, o := range want.List {
		if i, is := now.Find(o.Feature); i < 0 || is.Enabled != o.Enabled || is.Value != o.Value || is.Variant != o.Variant {
			events = append(events, IdentityOverrideSet{e.Key, surrogate, o.Feature, o.Enabled, o.Value, o.Variant})
		}
	}
	return events
}
