package commands

import (
	"fmt"
	"slices"
	"strings"

	"flagledger/domain"
)

func (r *rollback) features() error {
	for key, f := range r.now.Features.All() {
		if !r.covers(key) {
			continue
		}
		if !r.survives(key) {
			restored, err := r.wasRestored(f)
			switch {
			case err != nil:
				return err
			case restored && r.command.RestoreDeleted:
				r.restored = append(r.restored, key)
			case restored:
				r.warn("feature %q was deleted then and has been restored since: it goes to its initial state; with restore_deleted it is deleted again", key)
			default:
				r.warn("feature %q was created later: it goes to its initial state", key)
			}
			r.variants(f, f.Variants)
			r.event(r.env.StateEvents(key, domain.FeatureState{Enabled: f.DefaultEnabled, Value: f.InitialValue, Weights: f.InitialWeights()})...)
			r.event(r.env.OverrideEvents(key, nil)...)
			continue
		}
		r.variants(f, r.was.VariantsIn(r.then.Features.Get(key)))
		r.event(r.env.StateEvents(key, *r.was.States.Get(key))...)
		r.event(r.env.OverrideEvents(key, r.overridesOfThen(key))...)
	}
	for key := range r.then.Features.All() {
		if r.covers(key) && !r.survives(key) {
			r.warn("%s: it is not restored", deletedSince("feature", key, r.now.Folded.Get(strings.ToLower(key))))
		}
	}
	return nil
}

func (r *rollback) variants(f *domain.Feature, want []domain.Variant) {
	switch {
	case sameVariants(r.env.VariantsIn(f), want):
	case sameVariants(f.Variants, want):
		r.event(domain.FeatureVariantsUnpinned{Environment: r.env.Key, Feature: f.Key})
	default:
		r.event(domain.FeatureVariantsPinned{Environment: r.env.Key, Feature: f.Key, Variants: want})
	}
}

// sameVariants leaves default weights aside, which concern new environments only.
func sameVariants(a, b []domain.Variant) bool {
	return slices.EqualFunc(a, b, func(x, y domain.Variant) bool { return x.ID == y.ID && x.Key == y.Key && x.Value == y.Value })
}

// overridesOfThen are the overrides of a feature then whose segments still exist.
func (r *rollback) overridesOfThen(feature string) []domain.SegmentOverride {
	then := r.was.Overrides.Get(feature)
	if then == nil {
		return nil
	}
	var want []domain.SegmentOverride
	for _, o := range then.List {
		if s, old := r.now.Segments.Get(o.Segment), r.then.Segments.Get(o.Segment); s == nil || s.ID != old.ID {
			r.warn("%s: its override of feature %q is not restored", deletedSince("segment", o.Segment, r.segmentNow(o.Segment)), feature)
			continue
		}
		want = append(want, o)
		r.used = append(r.used, o.Segment)
	}
	return want
}

// segments pins what has changed of the segments that the restored overrides
// use, and lets go of pins that hold them elsewhere.
func (r *rollback) segments() {
	wanted := r.command.Segments
	if len(r.command.Segments) == 0 {
		wanted = r.used
	}
	wanted = slices.Compact(slices.Sorted(slices.Values(wanted)))
	r.warnLeftAlone(wanted)
	for _, key := range wanted {
		s, old := r.now.Segments.Get(key), r.then.Segments.Get(key)
		if s == nil || s.ID != old.ID {
			r.warn("%s: it is not restored", deletedSince("segment", key, r.segmentNow(key)))
			continue
		}
		if s.Name != old.Name { // which all environments share
			r.warn("segment %q was called %q then and is called %q now, as the reasons of answers say", key, old.Name, s.Name)
		}
		want, revision := old.Rules, old.Revision
		if pin := r.was.SegmentPins.Get(key); pin != nil {
			want, revision = pin.Rules, pin.Revision
		}
		switch {
		case domain.SameRules(r.env.RulesIn(s), want):
			continue
		case domain.SameRules(s.Rules, want):
			r.event(domain.SegmentUnpinned{Environment: r.env.Key, Segment: key})
		default:
			r.event(domain.SegmentPinned{Environment: r.env.Key, Segment: key, Revision: revision, Rules: want})
			if err := r.now.CheckContexts(want); err != nil {
				r.warn("segment %q had rules that contradict what is declared now: %v", key, err)
			}
		}
		if !r.whole() {
			r.warnOthers(key)
		}
	}
}

// warnLeftAlone tells of segments that the restored overrides use, had other
// rules then, and are not among those to be rolled back.
func (r *rollback) warnLeftAlone(wanted []string) {
	for _, key := range slices.Compact(slices.Sorted(slices.Values(r.used))) {
		s, old := r.now.Segments.Get(key), r.then.Segments.Get(key)
		if !slices.Contains(wanted, key) && !domain.SameRules(r.env.RulesIn(s), r.was.RulesIn(old)) {
			r.warn("segment %q, which overrides of these features use, had other rules then and is not among the segments named: it stays as it is", key)
		}
	}
}

// settings warns of what decides on the answers of SDKs and is no part of a
// version (ADR 19), where it is another now: it stays as it is.
func (r *rollback) settings() {
	if r.was.Name != r.env.Name && (r.then.AsksName(r.was) || r.now.AsksName(r.env)) {
		r.warn("the environment was called %q then and is called %q now, which rules ask for: it stays so", r.was.Name, r.env.Name)
	}
	if len(r.events) == 0 {
		return // nothing is rolled back
	}
	differs := func(what string, then, now bool) {
		if then != now {
			r.warn("%s was %t then and is %t now: settings are no part of a version, and it stays as it is", what, then, now)
		}
	}
	hides := func(p *domain.Project, env *domain.Environment) bool {
		if env.HideDisabledFlags != nil {
			return *env.HideDisabledFlags
		}
		return p.HideDisabledFlags
	}
	differs("hide_disabled_flags", hides(r.then, r.was), hides(r.now, r.env))
	for key, f := range r.now.Features.All() {
		if r.covers(key) && r.survives(key) {
			old := r.then.Features.Get(key)
			differs(fmt.Sprintf("server_key_only of feature %q", key), old.ServerKeyOnly, f.ServerKeyOnly)
			differs(fmt.Sprintf("object_value of feature %q", key), old.ObjectValue, f.ObjectValue)
		}
	}
}

// warnOthers tells of features outside the selection that a segment decides too.
func (r *rollback) warnOthers(segment string) {
	var others []string
	for feature := range r.env.Uses.Get(segment).All() {
		if !slices.Contains(r.command.Features, feature) {
			others = append(others, feature)
		}
	}
	if len(others) > 0 {
		r.warn("segment %q is used here by %s too", segment, someOf(others))
	}
}

func (r *rollback) identities() {
	if len(r.command.Features) == 0 && !r.whole() {
		return
	}
	// target is what the identity should have: then, for what is rolled back,
	// and for the rest what it has now.
	misread := 0
	target := func(surrogate string) *domain.IdentityOverrides {
		current := r.env.Identities.Get(surrogate)
		// SDKs would give it to others; what they have already may stay
		leftOut := r.env.LocalIdentityOverrides && unlistable(r.persons.Name(r.now.ID, r.env.ID, surrogate)) != ""
		merged := &domain.IdentityOverrides{Identity: surrogate}
		if current != nil {
			merged.List = slices.DeleteFunc(slices.Clone(current.List), func(o domain.IdentityOverride) bool { return r.covers(o.Feature) })
		}
		if then := r.was.Identities.Get(surrogate); then != nil {
			for _, o := range then.List {
				if !r.covers(o.Feature) || !r.survives(o.Feature) {
					continue
				}
				if i, _ := current.Find(o.Feature); i < 0 && leftOut {
					misread++
					continue
				}
				merged.List = append(merged.List, o)
			}
		}
		merged.Sort()
		return merged
	}
	for surrogate := range r.env.Identities.All() {
		r.event(r.env.IdentityEvents(surrogate, target(surrogate))...)
	}
	erased := 0
	for surrogate := range r.was.Identities.All() {
		switch {
		case r.env.Identities.Get(surrogate) != nil: // dealt with above
		case r.persons.Name(r.now.ID, r.env.ID, surrogate) == "":
			erased++
		default:
			r.event(r.env.IdentityEvents(surrogate, target(surrogate))...)
		}
	}
	r.warnings = warnErased(r.warnings, erased)
	if misread > 0 {
		r.warn("%d identity overrides of then are not restored: SDKs in local evaluation, to which this environment gives identity overrides now, would take their identifiers for other ones", misread)
	}
}

// warnErased adds a warning of persons whose overrides do not come back.
func warnErased(warnings []string, erased int) []string {
	switch erased {
	case 0:
		return warnings
	case 1:
		return append(warnings, "a person with overrides then was erased since: they are not restored")
	}
	return append(warnings, fmt.Sprintf("%d persons with overrides then were erased since: they are not restored", erased))
}

// survives tells whether a feature of then is still the same one.
func (r *rollback) survives(feature string) bool {
	f, old := r.now.Features.Get(feature), r.then.Features.Get(feature)
	return f != nil && old != nil && f.ID == old.ID
}
