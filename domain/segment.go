package domain

import "flagledger/domain/evaluation"

// A Segment is a set of identities given by rules. It belongs to the project,
// so a change of its rules is felt in every environment that does not pin it.
type Segment struct {
	ID          int32  `json:"id"`
	Key         string `json:"key"`
	Name        string `json:"name"` // what reasons and SDKs show
	Description string `json:"description"`
	// Feature is the only feature whose overrides may use the segment; empty: any.
	Feature  string            `json:"feature,omitempty"`
	Revision int               `json:"revision"` // of the rules: 1, 2, 3 ...
	Rules    []evaluation.Rule `json:"rules"`
	// LastNode is the number last used in an id of a rule or condition.
	LastNode int   `json:"last_node"`
	Created  Stamp `json:"created"`
	Changed  Stamp `json:"changed"`
}

// A SegmentPin holds a segment at an old revision in one environment.
type SegmentPin struct {
	Segment  string            `json:"segment"`
	Revision int               `json:"revision"`
	Rules    []evaluation.Rule `json:"rules"`
	Changed  Stamp             `json:"changed"`
}

// A VariantsPin holds the variants of a feature as they were, in one environment.
type VariantsPin struct {
	Feature  string    `json:"feature"`
	Variants []Variant `json:"variants"`
	Changed  Stamp     `json:"changed"`
}

// SegmentCreated adds a segment, or brings one back. Version 1 had no revision:
// a segment that came back began at 1 again, so that one number named two sets
// of rules.
type SegmentCreated struct {
	ID          int32             `json:"id"`
	Key         string            `json:"key"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Feature     string            `json:"feature,omitempty"`
	Revision    int               `json:"revision"` // 1, or what it was
	Rules       []evaluation.Rule `json:"rules"`
	LastNode    int               `json:"last_node"`
}

// SegmentUpdated replaces what can be changed of a segment beside its rules.
type SegmentUpdated struct {
	Segment     string `json:"segment"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// SegmentRulesSet replaces the rules of a segment. Rules and conditions that
// stayed keep their ids.
type SegmentRulesSet struct {
	Segment  string            `json:"segment"`
	Revision int               `json:"revision"`
	Rules    []evaluation.Rule `json:"rules"`
	LastNode int               `json:"last_node"`
}

// SegmentDeleted removes a segment that nothing uses.
type SegmentDeleted struct {
	Segment string `json:"segment"`
}

// SegmentPinned holds a segment at a revision in one environment.
type SegmentPinned struct {
	Environment string            `json:"environment"`
	Segment     string            `json:"segment"`
	Revision    int               `json:"revision"`
	Rules       []evaluation.Rule `json:"rules"`
}

// SegmentUnpinned lets an environment follow the segment again.
type SegmentUnpinned struct {
	Environment string `json:"environment"`
	Segment     string `json:"segment"`
}

// FeatureVariantsPinned holds the variants of a feature in one environment.
type FeatureVariantsPinned struct {
	Environment string    `json:"environment"`
	Feature     string    `json:"feature"`
	Variants    []Variant `json:"variants"`
}

// FeatureVariantsUnpinned lets an environment follow the feature again.
type FeatureVariantsUnpinned struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
}

// EventType implements Event.
func (SegmentCreated) EventType() string { return "segment.created.v2" }

// EventType implements Event.
func (SegmentUpdated) EventType() string { return "segment.updated.v1" }

// EventType implements Event.
func (SegmentRulesSet) EventType() string { return "segment.rules_set.v1" }

// EventType implements Event.
func (SegmentDeleted) EventType() string { return "segment.deleted.v1" }

// EventType implements Event.
func (SegmentPinned) EventType() string { return "segment.pinned.v1" }

// EventType implements Event.
func (SegmentUnpinned) EventType() string { return "segment.unpinned.v1" }

// EventType implements Event.
func (FeatureVariantsPinned) EventType() string { return "feature.variants_pinned.v1" }

// EventType implements Event.
func (FeatureVariantsUnpinned) EventType() string { return "feature.variants_unpinned.v1" }

// Objects implements Event.
func (e SegmentCreated) Objects(*Project) []Object { return []Object{{Kind: KindSegment, Key: e.Key}} }

// Objects implements Event.
func (e SegmentUpdated) Objects(*Project) []Object {
	return []Object{{Kind: KindSegment, Key: e.Segment}}
}

// Objects implements Event.
func (e SegmentRulesSet) Objects(*Project) []Object {
	return []Object{{Kind: KindSegment, Key: e.Segment}}
}

// Objects implements Event.
func (e SegmentDeleted) Objects(p *Project) []Object {
	objects := []Object{{Kind: KindSegment, Key: e.Segment}}
	if p.SegmentTests.Get(e.Segment) != nil {
		objects = append(objects, Object{Kind: KindSegmentTests, Key: e.Segment})
	}
	for key, env := range p.Environments.All() {
		if env.SegmentPins.Get(e.Segment) != nil {
			objects = append(objects, Object{KindSegmentPin, key, e.Segment})
		}
	}
	return objects
}

// Objects implements Event.
func (e SegmentPinned) Objects(*Project) []Object {
	return []Object{{KindSegmentPin, e.Environment, e.Segment}}
}

// Objects implements Event.
func (e SegmentUnpinned) Objects(*Project) []Object {
	return []Object{{KindSegmentPin, e.Environment, e.Segment}}
}

// Objects implements Event.
func (e FeatureVariantsPinned) Objects(*Project) []Object {
	return []Object{{KindVariantsPin, e.Environment, e.Feature}}
}

// Objects implements Event.
func (e FeatureVariantsUnpinned) Objects(*Project) []Object {
	return []Object{{KindVariantsPin, e.Environment, e.Feature}}
}

func (e SegmentCreated) apply(p *Project, at Stamp) {
	p.Segments = p.Segments.Set(e.Key, &Segment{
		ID: e.ID, Key: e.Key, Name: e.Name, Description: e.Description, Feature: e.Feature,
		Revision: e.Revision, Rules: e.Rules, LastNode: e.LastNode, Created: at, Changed: at,
	})
	p.used(e.ID)
}

func (e SegmentUpdated) apply(p *Project, at Stamp) {
	p.changeSegment(e.Segment, func(s *Segment) { s.Name, s.Description, s.Changed = e.Name, e.Description, at })
}

func (e SegmentRulesSet) apply(p *Project, at Stamp) {
	p.changeSegment(e.Segment, func(s *Segment) {
		s.Revision, s.Rules, s.LastNode, s.Changed = e.Revision, e.Rules, e.LastNode, at
	})
}

func (e SegmentDeleted) apply(p *Project, _ Stamp) {
	p.Segments = p.Segments.Delete(e.Segment)
	p.SegmentTests = p.SegmentTests.Delete(e.Segment)
	for key, env := range p.Environments.All() {
		if env.SegmentPins.Get(e.Segment) != nil {
			SegmentUnpinned{key, e.Segment}.apply(p, Stamp{})
		}
	}
}

func (e SegmentPinned) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		env.SegmentPins = env.SegmentPins.Set(e.Segment, &SegmentPin{e.Segment, e.Revision, e.Rules, at})
	})
}

func (e SegmentUnpinned) apply(p *Project, _ Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) { env.SegmentPins = env.SegmentPins.Delete(e.Segment) })
}

func (e FeatureVariantsPinned) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		env.VariantsPins = env.VariantsPins.Set(e.Feature, &VariantsPin{e.Feature, e.Variants, at})
	})
}

func (e FeatureVariantsUnpinned) apply(p *Project, _ Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) { env.VariantsPins = env.VariantsPins.Delete(e.Feature) })
}

func (p *Project) changeSegment(key string, change func(*Segment)) {
	s := *p.Segments.Get(key)
	change(&s)
	p.Segments = p.Segments.Set(key, &s)
}
