package domain

import (
	"maps"
	"slices"
)

// AffectedFeatures are the features whose evaluation in the environment the
// objects can decide, also through segments, sorted. It names rather too many
// than too few: a feature whose description alone was changed is among them.
func AffectedFeatures(before, after *Project, environment string, objects []Object) []string {
	found := map[string]bool{}
	users := func(segment string) {
		for _, p := range []*Project{before, after} {
			if env := p.Environments.Get(environment); env != nil {
				for feature := range env.Uses.Get(segment).All() {
					found[feature] = true
				}
			}
		}
	}
	for _, o := range objects {
		switch {
		case o.Kind == KindFeature:
			found[o.Key] = true
		case o.Kind == KindSegment:
			users(o.Key)
		case o.Environment != environment:
		case o.Kind == KindFeatureState || o.Kind == KindVariantsPin || o.Kind == KindSegmentOverrides:
			found[o.Key] = true
		case o.Kind == KindSegmentPin:
			users(o.Key)
		case o.Kind == KindIdentity:
			for _, p := range []*Project{before, after} {
				if env := p.Environments.Get(environment); env != nil {
					if own := env.Identities.Get(o.Key); own != nil {
						for _, s := range own.List {
							found[s.Feature] = true
						}
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
