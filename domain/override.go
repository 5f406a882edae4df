package domain

import (
	"cmp"
	"maps"
	"slices"

	"flagledger/domain/evaluation"
)

// SegmentOverrides are the overrides of one feature in one environment,
// strongest first.
type SegmentOverrides struct {
	Feature string            `json:"feature"`
	List    []SegmentOverride `json:"list"`
	// Seeds remembers the hash salt of every override the feature ever had
	// here, so that one that comes back splits identities as it did before.
	Seeds   map[string]int32 `json:"seeds"` // by segment
	Changed Stamp            `json:"changed"`
}

// A SegmentOverride is the state of a feature for the identities of a segment.
type SegmentOverride struct {
	Segment string             `json:"segment"`
	Seed    int32              `json:"seed"`
	Enabled bool               `json:"enabled"`
	Value   evaluation.Value   `json:"value"`
	Weights map[string]float64 `json:"weights,omitempty"` // percent by variant; absent: 0
	Changed Stamp              `json:"changed"`
}

// Find returns the override for the segment and its place, or -1.
func (o *SegmentOverrides) Find(segment string) (int, SegmentOverride) {
	if o == nil {
		return -1, SegmentOverride{}
	}
	for i := range o.List {
		if o.List[i].Segment == segment {
			return i, o.List[i]
		}
	}
	return -1, SegmentOverride{}
}

// Has tells whether there is an override for the segment.
func (o *SegmentOverrides) Has(segment string) bool {
	i, _ := o.Find(segment)
	return i >= 0
}

// Order returns the segments of the overrides, strongest first.
func (o *SegmentOverrides) Order() []string {
	if o == nil {
		return nil
	}
	order := make([]string, len(o.List))
	for i, s := range o.List {
		order[i] = s.Segment
	}
	return order
}

// IdentityOverrides are the overrides of one identity in one environment.
type IdentityOverrides struct {
	Identity string             `json:"identity"` // surrogate
	List     []IdentityOverride `json:"list"`     // by feature
	Changed  Stamp              `json:"changed"`
}

// An IdentityOverride is the state of a feature for one identity. In a
// multivariate feature it may name the variant whose value is served.
type IdentityOverride struct {
	Feature string           `json:"feature"`
	Enabled bool             `json:"enabled"`
	Value   evaluation.Value `json:"value"`
	Variant string           `json:"variant,omitempty"`
	Changed Stamp            `json:"changed"`
}

// Sort brings the list into its order.
func (o *IdentityOverrides) Sort() {
	slices.SortFunc(o.List, func(a, b IdentityOverride) int { return cmp.Compare(a.Feature, b.Feature) })
}

// Find returns the override of the feature and its place, or -1.
func (o *IdentityOverrides) Find(feature string) (int, IdentityOverride) {
	if o == nil {
		return -1, IdentityOverride{}
	}
	i, ok := slices.BinarySearchFunc(o.List, feature, func(s IdentityOverride, f string) int { return cmp.Compare(s.Feature, f) })
	if !ok {
		return -1, IdentityOverride{}
	}
	return i, o.List[i]
}

// SegmentOverrideSet adds or replaces an override. A new one is put at Place
// (0 is strongest); one that was there keeps its place.
type SegmentOverrideSet struct {
	Environment string             `json:"environment"`
	Feature     string             `json:"feature"`
	Segment     string             `json:"segment"`
	Seed        int32              `json:"seed"`
	Place       int                `json:"place"`
	Enabled     bool               `json:"enabled"`
	Value       evaluation.Value   `json:"value"`
	Weights     map[string]float64 `json:"weights,omitempty"`
}

// SegmentOverrideRemoved takes an override away.
type SegmentOverrideRemoved struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	Segment     string `json:"segment"`
}

// SegmentOverridesReordered gives the overrides of a feature a new order.
type SegmentOverridesReordered struct {
	Environment string   `json:"environment"`
	Feature     string   `json:"feature"`
	Order       []string `json:"order"` // segments, strongest first; all of them
}

// IdentityOverrideSet adds or replaces an identity's override.
type IdentityOverrideSet struct {
	Environment string           `json:"environment"`
	Identity    string           `json:"identity"` // surrogate
	Feature     string           `json:"feature"`
	Enabled     bool             `json:"enabled"`
	Value       evaluation.Value `json:"value"`
	Variant     string           `json:"variant,omitempty"`
}

// IdentityOverrideRemoved takes an identity's override away.
type IdentityOverrideRemoved struct {
	Environment string `json:"environment"`
	Identity    string `json:"identity"`
	Feature     string `json:"feature"`
}

// IdentityErased records that a person was erased, and takes away what the
// environment held for them.
type IdentityErased struct {
	Environment string `json:"environment"`
	Identity    string `json:"identity"`
}

// EventType implements Event.
func (SegmentOverrideSet) EventType() string { return "segment_override.set.v1" }

// EventType implements Event.
func (SegmentOverrideRemoved) EventType() string { return "segment_override.removed.v1" }

// EventType implements Event.
func (SegmentOverridesReordered) EventType() string { return "segment_overrides.reordered.v1" }

// EventType implements Event.
func (IdentityOverrideSet) EventType() string { return "identity_override.set.v1" }

// EventType implements Event.
func (IdentityOverrideRemoved) EventType() string { return "identity_override.removed.v1" }

// EventType implements Event.
func (IdentityErased) EventType() string { return "identity.erased.v1" }

// Objects implements Event.
func (e SegmentOverrideSet) Objects(*Project) []Object {
	return []Object{{KindSegmentOverrides, e.Environment, e.Feature}}
}

// Objects implements Event.
func (e SegmentOverrideRemoved) Objects(*Project) []Object {
	return []Object{{KindSegmentOverrides, e.Environment, e.Feature}}
}

// Objects implements Event.
func (e SegmentOverridesReordered) Objects(*Project) []Object {
	return []Object{{KindSegmentOverrides, e.Environment, e.Feature}}
}

// Objects implements Event.
func (e IdentityOverrideSet) Objects(*Project) []Object {
	return []Object{{KindIdentity, e.Environment, e.Identity}}
}

// Objects implements Event.
func (e IdentityOverrideRemoved) Objects(*Project) []Object {
	return []Object{{KindIdentity, e.Environment, e.Identity}}
}

// Objects implements Event.
func (e IdentityErased) Objects(*Project) []Object {
	return []Object{{KindIdentity, e.Environment, e.Identity}}
}

func (e SegmentOverrideSet) apply(p *Project, at Stamp) {
	p.used(e.Seed)
	p.changeOverrides(e.Environment, e.Feature, at, func(o *SegmentOverrides) {
		s := SegmentOverride{e.Segment, e.Seed, e.Enabled, e.Value, maps.Clone(e.Weights), at}
		if i, _ := o.Find(e.Segment); i >= 0 {
			o.List[i] = s
			return
		}
		o.List = slices.Insert(o.List, min(max(e.Place, 0), len(o.List)), s)
		o.Seeds = maps.Clone(o.Seeds)
		if o.Seeds == nil {
			o.Seeds = map[string]int32{}
		}
		o.Seeds[e.Segment] = e.Seed
	})
}

func (e SegmentOverrideRemoved) apply(p *Project, at Stamp) {
	p.changeOverrides(e.Environment, e.Feature, at, func(o *SegmentOverrides) {
		o.List = slices.DeleteFunc(o.List, func(s SegmentOverride) bool { return s.Segment == e.Segment })
	})
}

func (e SegmentOverridesReordered) apply(p *Project, at Stamp) {
	p.changeOverrides(e.Environment, e.Feature, at, func(o *SegmentOverrides) {
		slices.SortStableFunc(o.List, func(a, b SegmentOverride) int {
			return cmp.Compare(slices.Index(e.Order, a.Segment), slices.Index(e.Order, b.Segment))
		})
	})
}

// changeOverrides replaces a feature's overrides by a changed copy. They stay
// in the state when the list runs empty, for the seeds' sake.
func (p *Project) changeOverrides(env, feature string, at Stamp, change func(*SegmentOverrides)) {
	p.changeEnvironment(env, func(e *Environment) {
		before := e.Overrides.Get(feature)
		after := SegmentOverrides{Feature: feature}
		if before != nil {
			after = *before
			after.List = slices.Clone(before.List)
		}
		after.Changed = at
		change(&after)
		e.noteUses(feature, before, &after)
		e.Overrides = e.Overrides.Set(feature, &after)
	})
}

func (e IdentityOverrideSet) apply(p *Project, at Stamp) {
	p.changeIdentity(e.Environment, e.Identity, at, func(o *IdentityOverrides) {
		s := IdentityOverride{e.Feature, e.Enabled, e.Value, e.Variant, at}
		i, found := slices.BinarySearchFunc(o.List, e.Feature, func(s IdentityOverride, f string) int { return cmp.Compare(s.Feature, f) })
		if found {
			o.List[i] = s
		} else {
			o.List = slices.Insert(o.List, i, s)
		}
	})
}

func (e IdentityOverrideRemoved) apply(p *Project, at Stamp) {
	p.changeIdentity(e.Environment, e.Identity, at, func(o *IdentityOverrides) {
		o.List = slices.DeleteFunc(o.List, func(s IdentityOverride) bool { return s.Feature == e.Feature })
	})
}

func (e IdentityErased) apply(p *Project, at Stamp) {
	p.changeIdentity(e.Environment, e.Identity, at, func(o *IdentityOverrides) { o.List = nil })
}

// changeIdentity replaces an identity's overrides by a changed copy, and drops
// them when none are left.
func (p *Project) changeIdentity(env, identity string, at Stamp, change func(*IdentityOverrides)) {
	p.changeEnvironment(env, func(e *Environment) {
		after := IdentityOverrides{Identity: identity}
		if before := e.Identities.Get(identity); before != nil {
			after.List = slices.Clone(before.List)
		}
		after.Changed = at
		change(&after)
		if len(after.List) == 0 {
			e.Identities = e.Identities.Delete(identity)
		} else {
			e.Identities = e.Identities.Set(identity, &after)
		}
	})
}
