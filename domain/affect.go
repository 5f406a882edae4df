package domain

import (
	"maps"
	"slices"
)

// AffectedFeatures are the features whose evaluation in the environment the
// objects can decide, also through segments, sorted. It names rather too many
// than too few: a feature whose description alone was changed is among them.
func AffectedFeatures(before, after *Project, environment string, objects []Object) []string {
	var found []string
	was, is := before.Environments.Get(environment), after.Environments.Get(environment)
	in := []*Environment{was, is}
	if was == is {
		in = in[:1]
	}
	users := func(segment string) {
		for _, env := range in {
			if env != nil {
				for feature := range env.Uses.Get(segment).All() {
					found = append(found, feature)
				}
			}
		}
	}
	for _, o := range objects {
		switch {
		case o.Kind == KindFeature:
			found = append(found, o.Key)
		case o.Kind == KindSegment:
			users(o.Key)
		case o.Environment != environment:
		case o.Kind == KindFeatureState || o.Kind == KindVariantsPin || o.Kind == KindSegmentOverrides:
			found = append(found, o.Key)
		case o.Kind == KindSegmentPin:
			users(o.Key)
		case o.Kind == KindIdentity:
			for _, env := range in {
				if env == nil {
					continue
				}
				if own := env.Identities.Get(o.Key); own != nil {
					for _, s := range own.List {
						found = append(found, s.Feature)
					}
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// AffectedByContexts are, by environment, the features that go another way for
// stored identities because of what the objects say of traits: those with an
// override for a segment that asks for a trait whose stored values the project
// used before and does not use after, or the other way round. Each list is sorted.
func AffectedByContexts(before, after *Project, objects []Object) map[string][]string {
	if !slices.ContainsFunc(objects, Object.Declares) {
		return nil
	}
	affected := map[string][]string{}
	for key, env := range after.Environments.All() {
		old := before.Environments.Get(key)
		if old == nil || old.ID != env.ID {
			continue // nobody was stored there
		}
		found := map[string]bool{}
		for _, at := range []struct {
			project     *Project
			environment *Environment
		}{{before, old}, {after, env}} {
			for segment, features := range at.environment.Uses.All() {
				for trait := range TraitsOf(at.environment.RulesIn(at.project.Segments.Get(segment))) {
					if before.Keeps(trait) == after.Keeps(trait) {
						continue
					}
					for feature := range features.All() {
						found[feature] = true
					}
				}
			}
		}
		if len(found) > 0 {
			affected[key] = slices.Sorted(maps.Keys(found))
		}
	}
	return affected
}

// Declares tells whether the object says which stored traits are used: it is the
// declaration of one, or the project, which may be strict.
func (o Object) Declares() bool { return o.Kind == KindContext || o.Kind == KindProject }
