package domain

import (
	"maps"
	"strings"

	"flagledger/domain/evaluation"
)

// A Feature is a flag and, through its value, a piece of remote configuration.
// With variants it is multivariate.
type Feature struct {
	ID          int32       `json:"id"`
	Key         string      `json:"key"` // the name by which apps ask for it
	Description string      `json:"description"`
	Kind        FeatureKind `json:"kind"`
	Owners      []string    `json:"owners,omitempty"`
	Tags        []string    `json:"tags,omitempty"`
	Archived    bool        `json:"archived"`
	// ServerKeyOnly hides the feature from client-side keys.
	ServerKeyOnly bool `json:"server_key_only"`
	// ObjectValue serves a string value that is a JSON object as an object, to
	// clients that have a type for it.
	ObjectValue    bool             `json:"object_value"`
	DefaultEnabled bool             `json:"default_enabled"` // of the state in a new environment
	InitialValue   evaluation.Value `json:"initial_value"`   // likewise
	Variants       []Variant        `json:"variants,omitempty"`
	Created        Stamp            `json:"created"`
	Changed        Stamp            `json:"changed"`
}

// FeatureKind says what a feature is for.
type FeatureKind string

// The kinds of feature.
const (
	Release    FeatureKind = "release"
	Experiment FeatureKind = "experiment"
	Ops        FeatureKind = "ops"
	Permission FeatureKind = "permission"
)

// Known tells whether there is such a kind.
func (k FeatureKind) Known() bool {
	return k == Release || k == Experiment || k == Ops || k == Permission
}

// A Variant is one of the values of a multivariate feature. Its id, which never
// changes, is its place in the order in which identities are split.
type Variant struct {
	ID     int32            `json:"id"`
	Key    string           `json:"key"`
	Value  evaluation.Value `json:"value"`
	Weight float64          `json:"weight"` // percent, 0 to 100, in new environments
}

// A FeatureState is what a feature is in an environment when no override applies.
type FeatureState struct {
	Seed    int32              `json:"seed"` // hash salt of the split; never changes
	Enabled bool               `json:"enabled"`
	Value   evaluation.Value   `json:"value"`
	Weights map[string]float64 `json:"weights,omitempty"` // percent by variant; absent: 0
	Changed Stamp              `json:"changed"`
}

// initialState is the state of the feature in a new environment.
func (f *Feature) initialState(seed int32, at Stamp) *FeatureState {
	s := &FeatureState{Seed: seed, Enabled: f.DefaultEnabled, Value: f.InitialValue, Changed: at}
	s.Weights = f.InitialWeights()
	return s
}

// InitialWeights are the weights of the feature's variants in a new environment.
func (f *Feature) InitialWeights() map[string]float64 {
	if len(f.Variants) == 0 {
		return nil
	}
	w := make(map[string]float64, len(f.Variants))
	for _, v := range f.Variants {
		w[v.Key] = v.Weight
	}
	return w
}

// FeatureCreated adds a feature, with the seed of its state in each environment.
type FeatureCreated struct {
	ID  int32  `json:"id"`
	Key string `json:"key"`
	FeatureAttributes
	DefaultEnabled bool             `json:"default_enabled"`
	InitialValue   evaluation.Value `json:"initial_value"`
	Variants       []Variant        `json:"variants,omitempty"`
	Seeds          map[string]int32 `json:"seeds,omitempty"` // by environment
}

// FeatureAttributes are what can be changed of a feature without changing what
// any environment answers.
type FeatureAttributes struct {
	Description   string      `json:"description"`
	Kind          FeatureKind `json:"kind"`
	Owners        []string    `json:"owners,omitempty"`
	Tags          []string    `json:"tags,omitempty"`
	Archived      bool        `json:"archived"`
	ServerKeyOnly bool        `json:"server_key_only"`
	ObjectValue   bool        `json:"object_value"`
}

// FeatureUpdated replaces the attributes of a feature.
type FeatureUpdated struct {
	Feature string `json:"feature"`
	FeatureAttributes
}

// FeatureVariantsSet replaces the variants of a feature in all environments
// that do not pin them. Weights of variants that are gone go with them.
type FeatureVariantsSet struct {
	Feature  string    `json:"feature"`
	Variants []Variant `json:"variants"`
}

// FeatureDeleted removes a feature, its states and its overrides everywhere.
type FeatureDeleted struct {
	Feature string `json:"feature"`
}

// FeatureStateSet replaces the state of a feature in an environment.
type FeatureStateSet struct {
	Environment string             `json:"environment"`
	Feature     string             `json:"feature"`
	Enabled     bool               `json:"enabled"`
	Value       evaluation.Value   `json:"value"`
	Weights     map[string]float64 `json:"weights,omitempty"`
}

// EventType implements Event.
func (FeatureCreated) EventType() string { return "feature.created.v1" }

// EventType implements Event.
func (FeatureUpdated) EventType() string { return "feature.updated.v1" }

// EventType implements Event.
func (FeatureVariantsSet) EventType() string { return "feature.variants_set.v1" }

// EventType implements Event.
func (FeatureDeleted) EventType() string { return "feature.deleted.v1" }

// EventType implements Event.
func (FeatureStateSet) EventType() string { return "feature_state.set.v1" }

// Objects implements Event.
func (e FeatureCreated) Objects(p *Project) []Object {
	objects := []Object{{Kind: KindFeature, Key: e.Key}}
	for env := range p.Environments.All() {
		objects = append(objects, Object{KindFeatureState, env, e.Key})
	}
	return objects
}

// Objects implements Event.
func (e FeatureUpdated) Objects(*Project) []Object {
	return []Object{{Kind: KindFeature, Key: e.Feature}}
}

// Objects implements Event.
func (e FeatureVariantsSet) Objects(*Project) []Object {
	return []Object{{Kind: KindFeature, Key: e.Feature}}
}

// Objects implements Event.
func (e FeatureDeleted) Objects(p *Project) []Object {
	objects := []Object{{Kind: KindFeature, Key: e.Feature}}
	if p.FeatureTests.Get(e.Feature) != nil {
		objects = append(objects, Object{Kind: KindFeatureTests, Key: e.Feature})
	}
	for key, env := range p.Environments.All() {
		objects = append(objects, Object{KindFeatureState, key, e.Feature})
		if env.Overrides.Get(e.Feature) != nil {
			objects = append(objects, Object{KindSegmentOverrides, key, e.Feature})
		}
		if env.VariantsPins.Get(e.Feature) != nil {
			objects = append(objects, Object{KindVariantsPin, key, e.Feature})
		}
	}
	return objects
}

// Objects implements Event.
func (e FeatureStateSet) Objects(*Project) []Object {
	return []Object{{KindFeatureState, e.Environment, e.Feature}}
}

func (e FeatureCreated) apply(p *Project, at Stamp) {
	f := &Feature{
		ID: e.ID, Key: e.Key, DefaultEnabled: e.DefaultEnabled, InitialValue: e.InitialValue, Variants: e.Variants,
		Created: at,
	}
	f.set(e.FeatureAttributes, at)
	p.Features = p.Features.Set(e.Key, f)
	p.Folded = p.Folded.Set(strings.ToLower(e.Key), e.Key)
	p.used(e.ID)
	for _, v := range e.Variants {
		p.used(v.ID)
	}
	for key := range p.Environments.All() {
		p.used(e.Seeds[key])
		p.changeEnvironment(key, func(env *Environment) {
			env.States = env.States.Set(e.Key, f.initialState(e.Seeds[key], at))
		})
	}
}

func (f *Feature) set(a FeatureAttributes, at Stamp) {
	f.Description, f.Kind, f.Owners, f.Tags, f.Archived, f.ServerKeyOnly = a.Description, a.Kind, a.Owners, a.Tags, a.Archived, a.ServerKeyOnly
	f.ObjectValue, f.Changed = a.ObjectValue, at
}

// Attributes returns what FeatureUpdated would replace.
func (f *Feature) Attributes() FeatureAttributes {
	return FeatureAttributes{f.Description, f.Kind, f.Owners, f.Tags, f.Archived, f.ServerKeyOnly, f.ObjectValue}
}

func (e FeatureUpdated) apply(p *Project, at Stamp) {
	p.changeFeature(e.Feature, func(f *Feature) { f.set(e.FeatureAttributes, at) })
}

func (e FeatureVariantsSet) apply(p *Project, at Stamp) {
	p.changeFeature(e.Feature, func(f *Feature) { f.Variants, f.Changed = e.Variants, at })
	for _, v := range e.Variants {
		p.used(v.ID)
	}
}

func (e FeatureDeleted) apply(p *Project, _ Stamp) {
	p.Features = p.Features.Delete(e.Feature)
	p.FeatureTests = p.FeatureTests.Delete(e.Feature)
	p.Folded = p.Folded.Delete(strings.ToLower(e.Feature))
	for key := range p.Environments.All() {
		p.changeEnvironment(key, func(env *Environment) {
			env.States = env.States.Delete(e.Feature)
			env.noteUses(e.Feature, env.Overrides.Get(e.Feature), nil)
			env.Overrides = env.Overrides.Delete(e.Feature)
			env.VariantsPins = env.VariantsPins.Delete(e.Feature)
		})
	}
}

func (e FeatureStateSet) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		s := *env.States.Get(e.Feature)
		s.Enabled, s.Value, s.Weights, s.Changed = e.Enabled, e.Value, maps.Clone(e.Weights), at
		env.States = env.States.Set(e.Feature, &s)
	})
}

func (p *Project) changeFeature(key string, change func(*Feature)) {
	f := *p.Features.Get(key)
	change(&f)
	p.Features = p.Features.Set(key, &f)
}

// SameWeights tells whether two sets of weights split alike; one left out is 0.
func SameWeights(a, b map[string]float64) bool {
	for key, w := range a {
		if b[key] != w {
			return false
		}
	}
	for key, w := range b {
		if a[key] != w {
			return false
		}
	}
	return true
}
