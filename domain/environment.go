package domain

import (
	"slices"
	"time"
)

// An Environment holds what a project's features are in one place, such as
// production: their states, overrides and SDK keys. What is shared by all
// environments (segment rules, variants) can be pinned here to an old revision.
type Environment struct {
	ID          int32  `json:"id"`
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description"`
	// ClientKey is the client-side SDK key and the first half of the hashing
	// key of every identity; it never changes.
	ClientKey string `json:"client_key"`
	EnvironmentSettings
	Created Stamp `json:"created"`
	Changed Stamp `json:"changed"`

	States       Map[*FeatureState]      `json:"-"` // by feature; every feature has one
	Overrides    Map[*SegmentOverrides]  `json:"-"` // by feature
	Identities   Map[*IdentityOverrides] `json:"-"` // by surrogate
	SegmentPins  Map[*SegmentPin]        `json:"-"` // by segment
	VariantsPins Map[*VariantsPin]       `json:"-"` // by feature
	Keys         Map[*SDKKey]            `json:"-"` // by id
	// Uses are, by segment, the features with an override for it.
	Uses Map[Map[struct{}]] `json:"-"`
}

// EnvironmentSettings are the switches of an environment.
type EnvironmentSettings struct {
	AllowClientTraits        bool  `json:"allow_client_traits"` // client-side keys may set traits
	HideSensitiveData        bool  `json:"hide_sensitive_data"` // SDK answers leave out ids, traits, descriptions
	HideDisabledFlags        *bool `json:"hide_disabled_flags"` // null: as the project says
	LocalIdentityOverrides   bool  `json:"use_identity_overrides_in_local_eval"`
	CompositeIdentityHashing bool  `json:"use_identity_composite_key_for_hashing"`
}

// DefaultEnvironmentSettings are those of a new environment.
func DefaultEnvironmentSettings() EnvironmentSettings {
	return EnvironmentSettings{AllowClientTraits: true, LocalIdentityOverrides: true, CompositeIdentityHashing: true}
}

// noteUses brings Uses from one list of overrides of a feature to the next.
func (e *Environment) noteUses(feature string, before, after *SegmentOverrides) {
	for _, segment := range before.Order() {
		if after.Has(segment) {
			continue
		}
		if rest := e.Uses.Get(segment).Delete(feature); rest.Len() == 0 {
			e.Uses = e.Uses.Delete(segment)
		} else {
			e.Uses = e.Uses.Set(segment, rest)
		}
	}
	for _, segment := range after.Order() {
		if !before.Has(segment) {
			e.Uses = e.Uses.Set(segment, e.Uses.Get(segment).Set(feature, struct{}{}))
		}
	}
}

// UsesSegment tells whether an override names the segment.
func (e *Environment) UsesSegment(segment string) bool { return e.Uses.Get(segment).Len() > 0 }

// SDKKeyKind tells the two sorts of SDK key apart.
type SDKKeyKind string

// The sorts of SDK key. A client key is public; a server key is a secret, of
// which only the hash is kept, and may also read the environment document.
const (
	ClientKey SDKKeyKind = "client"
	ServerKey SDKKeyKind = "server"
)

// An SDKKey is a further key of an environment, beside its ClientKey.
type SDKKey struct {
	ID        string     `json:"id"`
	Kind      SDKKeyKind `json:"kind"`
	Name      string     `json:"name"`
	Key       string     `json:"key,omitempty"`  // of a client key
	Hash      string     `json:"hash,omitempty"` // hex SHA-256 of a server key
	Active    bool       `json:"active"`
	ExpiresAt time.Time  `json:"expires_at,omitzero"` // zero: never
	Created   Stamp      `json:"created"`
	Changed   Stamp      `json:"changed"`
}

// EnvironmentCreated adds an environment, with the seed of each feature's state.
type EnvironmentCreated struct {
	ID          int32  `json:"id"`
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	ClientKey   string `json:"client_key"`
	EnvironmentSettings
	ClonedFrom string           `json:"cloned_from,omitempty"`
	Seeds      map[string]int32 `json:"seeds,omitempty"` // by feature
}

// EnvironmentUpdated replaces what can be changed of an environment.
type EnvironmentUpdated struct {
	Environment string `json:"environment"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	EnvironmentSettings
}

// EnvironmentDeleted removes an environment with all that is in it.
type EnvironmentDeleted struct {
	Environment string `json:"environment"`
}

// SDKKeyCreated adds an SDK key.
type SDKKeyCreated struct {
	Environment string     `json:"environment"`
	ID          string     `json:"id"`
	Kind        SDKKeyKind `json:"kind"`
	Name        string     `json:"name"`
	Key         string     `json:"key,omitempty"`
	Hash        string     `json:"hash,omitempty"`
	ExpiresAt   time.Time  `json:"expires_at,omitzero"`
}

// SDKKeyUpdated replaces what can be changed of an SDK key.
type SDKKeyUpdated struct {
	Environment string    `json:"environment"`
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Active      bool      `json:"active"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
}

// SDKKeyRevoked ends an SDK key.
type SDKKeyRevoked struct {
	Environment string `json:"environment"`
	ID          string `json:"id"`
}

// EventType implements Event.
func (EnvironmentCreated) EventType() string { return "environment.created.v1" }

// EventType implements Event.
func (EnvironmentUpdated) EventType() string { return "environment.updated.v1" }

// EventType implements Event.
func (EnvironmentDeleted) EventType() string { return "environment.deleted.v1" }

// EventType implements Event.
func (SDKKeyCreated) EventType() string { return "sdk_key.created.v1" }

// EventType implements Event.
func (SDKKeyUpdated) EventType() string { return "sdk_key.updated.v1" }

// EventType implements Event.
func (SDKKeyRevoked) EventType() string { return "sdk_key.revoked.v1" }

// Objects implements Event.
func (e EnvironmentCreated) Objects(p *Project) []Object {
	objects := []Object{{Kind: KindEnvironment, Key: e.Key}}
	for feature := range p.Features.All() {
		objects = append(objects, Object{KindFeatureState, e.Key, feature})
	}
	return objects
}

// Objects implements Event.
func (e EnvironmentUpdated) Objects(*Project) []Object {
	return []Object{{Kind: KindEnvironment, Key: e.Environment}}
}

// Objects implements Event. The parts of the environment go with it.
func (e EnvironmentDeleted) Objects(p *Project) []Object {
	whole := Object{Kind: KindEnvironment, Key: e.Environment}
	if env := p.Environments.Get(e.Environment); env != nil {
		return append(slices.Collect(env.objects(e.Environment)), whole)
	}
	return []Object{whole}
}

// Objects implements Event.
func (e SDKKeyCreated) Objects(*Project) []Object {
	return []Object{{KindSDKKey, e.Environment, e.ID}}
}

// Objects implements Event.
func (e SDKKeyUpdated) Objects(*Project) []Object {
	return []Object{{KindSDKKey, e.Environment, e.ID}}
}

// Objects implements Event.
func (e SDKKeyRevoked) Objects(*Project) []Object {
	return []Object{{KindSDKKey, e.Environment, e.ID}}
}

// Objects ranges over the parts of the environment.
func (e *Environment) Objects() func(yield func(Object) bool) { return e.objects(e.Key) }

// objects ranges over the parts of the environment, whatever its key.
func (e *Environment) objects(key string) func(yield func(Object) bool) {
	return func(yield func(Object) bool) {
		_ = eachKey(e.States, KindFeatureState, key, yield) &&
			eachKey(e.Overrides, KindSegmentOverrides, key, yield) &&
			eachKey(e.Identities, KindIdentity, key, yield) &&
			eachKey(e.SegmentPins, KindSegmentPin, key, yield) &&
			eachKey(e.VariantsPins, KindVariantsPin, key, yield) &&
			eachKey(e.Keys, KindSDKKey, key, yield)
	}
}

func eachKey[V any](m Map[V], kind ObjectKind, env string, yield func(Object) bool) bool {
	for key := range m.All() {
		if !yield(Object{kind, env, key}) {
			return false
		}
	}
	return true
}

func (e EnvironmentCreated) apply(p *Project, at Stamp) {
	env := &Environment{
		ID: e.ID, Key: e.Key, Name: e.Name, Description: e.Description, ClientKey: e.ClientKey,
		EnvironmentSettings: e.EnvironmentSettings, Created: at, Changed: at,
	}
	p.used(e.ID)
	for key, f := range p.Features.All() {
		env.States = env.States.Set(key, f.initialState(e.Seeds[key], at))
		p.used(e.Seeds[key])
	}
	p.Environments = p.Environments.Set(e.Key, env)
}

func (e EnvironmentUpdated) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		env.Name, env.Description, env.EnvironmentSettings, env.Changed = e.Name, e.Description, e.EnvironmentSettings, at
	})
}

func (e EnvironmentDeleted) apply(p *Project, _ Stamp) {
	p.Environments = p.Environments.Delete(e.Environment)
}

func (e SDKKeyCreated) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		env.Keys = env.Keys.Set(e.ID, &SDKKey{
			ID: e.ID, Kind: e.Kind, Name: e.Name, Key: e.Key, Hash: e.Hash, Active: true, ExpiresAt: e.ExpiresAt, Created: at, Changed: at,
		})
	})
}

func (e SDKKeyUpdated) apply(p *Project, at Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) {
		key := *env.Keys.Get(e.ID)
		key.Name, key.Active, key.ExpiresAt, key.Changed = e.Name, e.Active, e.ExpiresAt, at
		env.Keys = env.Keys.Set(e.ID, &key)
	})
}

func (e SDKKeyRevoked) apply(p *Project, _ Stamp) {
	p.changeEnvironment(e.Environment, func(env *Environment) { env.Keys = env.Keys.Delete(e.ID) })
}

// Same tells whether two sets of switches are alike.
func (s EnvironmentSettings) Same(o EnvironmentSettings) bool {
	a, b := s.HideDisabledFlags, o.HideDisabledFlags
	s.HideDisabledFlags, o.HideDisabledFlags = nil, nil
	return s == o && (a == nil) == (b == nil) && (a == nil || *a == *b)
}
