package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ObjectKind names a sort of object that has a history of its own.
type ObjectKind string

// The kinds of object. The first group belongs to the project (or, for
// tokens, the organisation), the second to one environment.
const (
	KindProject     ObjectKind = "project"
	KindToken       ObjectKind = "token"
	KindEnvironment ObjectKind = "environment"
	KindFeature     ObjectKind = "feature"
	KindSegment     ObjectKind = "segment"
	KindContext     ObjectKind = "context"

	KindSegmentTests ObjectKind = "segment_tests"
	KindFeatureTests ObjectKind = "feature_tests"

	KindSDKKey           ObjectKind = "sdk_key"
	KindFeatureState     ObjectKind = "state"
	KindSegmentOverrides ObjectKind = "overrides"
	KindIdentity         ObjectKind = "identity"
	KindSegmentPin       ObjectKind = "segment_pin"
	KindVariantsPin      ObjectKind = "variants_pin"
)

// The kinds by whether an object belongs to the project or to an environment.
var (
	projectKinds     = []ObjectKind{KindProject, KindToken, KindEnvironment, KindFeature, KindSegment, KindContext, KindSegmentTests, KindFeatureTests}
	environmentKinds = []ObjectKind{KindSDKKey, KindFeatureState, KindSegmentOverrides, KindIdentity, KindSegmentPin, KindVariantsPin}
)

func listed(kinds []ObjectKind) string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}

// An Object is the name of something with a history: its kind, its
// environment where it belongs to one, and its key.
type Object struct {
	Kind        ObjectKind
	Environment string // key of the environment; empty for objects of the project
	Key         string // feature, segment or environment key, key id, identity surrogate, token id
}

// String is the form used in filters and answers: "segment:beta",
// "state:production/checkout".
func (o Object) String() string {
	if o.Environment == "" {
		return string(o.Kind) + ":" + o.Key
	}
	return string(o.Kind) + ":" + o.Environment + "/" + o.Key
}

// Scope is the environment whose history an object is part of, which is also its
// own for an environment; "" for what belongs to the project.
func (o Object) Scope() string {
	if o.Kind == KindEnvironment {
		return o.Key
	}
	return o.Environment
}

// ParseObject reads the form that String writes.
func ParseObject(s string) (Object, error) {
	kind, rest, ok := strings.Cut(s, ":")
	o := Object{Kind: ObjectKind(kind), Key: rest}
	switch {
	case slices.Contains(projectKinds, o.Kind):
	case slices.Contains(environmentKinds, o.Kind):
		var inEnv bool
		o.Environment, o.Key, inEnv = strings.Cut(rest, "/")
		ok = ok && inEnv
	case ok:
		return Object{}, RefuseField(Malformed, "object", "%q is not a kind of object; there are %s, and in an environment %s", kind, listed(projectKinds), listed(environmentKinds))
	}
	if !ok || o.Key == "" {
		return Object{}, RefuseField(Malformed, "object", "%q is not an object; want kind:key, such as segment:beta, or kind:environment/key, such as state:production/checkout", s)
	}
	return o, nil
}

// AnyKey, as a key or environment of an object in a filter, stands for all of them.
const AnyKey = "*"

// ParseObjects reads the form of a filter: that of an object, or "feature:*" for
// all of a kind, or "state:production/*" for all of a kind in an environment. The name of an
// identity may have a * in it.
func ParseObjects(s string) (Object, error) {
	kind, rest, _ := strings.Cut(s, ":")
	if rest == AnyKey && slices.Contains(environmentKinds, ObjectKind(kind)) {
		return Object{Kind: ObjectKind(kind), Environment: AnyKey, Key: AnyKey}, nil
	}
	o, err := ParseObject(s)
	if err == nil && o.Environment == AnyKey && o.Key != AnyKey || o.Kind != KindContext && o.Kind != KindIdentity && o.Key != AnyKey && strings.Contains(o.Key, AnyKey) {
		err = RefuseField(Malformed, "object", "%q is no filter: * stands for all keys, as in %s:*, and not for a part of one", s, kind)
	}
	return o, err
}

// Groups are the objects of filters that stand for all of a kind, this one among
// them: in its project, and in its environment.
func (o Object) Groups() []Object {
	if o.Environment == "" {
		return []Object{{Kind: o.Kind, Key: AnyKey}}
	}
	return []Object{{Kind: o.Kind, Environment: AnyKey, Key: AnyKey}, {Kind: o.Kind, Environment: o.Environment, Key: AnyKey}}
}

// Get returns the object as it stands, ready to be encoded, or nil.
func (p *Project) Get(o Object) any {
	switch o.Kind {
	case KindProject:
		return orNil(p.record())
	case KindToken:
		return orNil(p.Tokens.Get(o.Key))
	case KindEnvironment:
		return orNil(p.Environments.Get(o.Key))
	case KindFeature:
		return orNil(p.Features.Get(o.Key))
	case KindSegment:
		return orNil(p.Segments.Get(o.Key))
	case KindContext:
		return orNil(p.Contexts.Get(o.Key))
	case KindSegmentTests:
		return orNil(p.SegmentTests.Get(o.Key))
	case KindFeatureTests:
		return orNil(p.FeatureTests.Get(o.Key))
	}
	env := p.Environments.Get(o.Environment)
	if env == nil {
		return nil
	}
	switch o.Kind {
	case KindSDKKey:
		return orNil(env.Keys.Get(o.Key))
	case KindFeatureState:
		return orNil(env.States.Get(o.Key))
	case KindSegmentOverrides:
		return orNil(env.Overrides.Get(o.Key))
	case KindIdentity:
		return orNil(env.Identities.Get(o.Key))
	case KindSegmentPin:
		return orNil(env.SegmentPins.Get(o.Key))
	case KindVariantsPin:
		return orNil(env.VariantsPins.Get(o.Key))
	}
	return nil
}

// Revision is the position of the commit that last changed the object, 0 where
// there is no such object.
func (p *Project) Revision(o Object) uint64 {
	switch image := p.Get(o).(type) {
	case *projectRecord:
		return image.Changed.Position
	case *Token:
		return image.Changed.Position
	case *Environment:
		return image.Changed.Position
	case *Feature:
		return image.Changed.Position
	case *Segment:
		return image.Changed.Position
	case *Context:
		return image.Changed.Position
	case *SegmentTests:
		return image.Changed.Position
	case *FeatureTests:
		return image.Changed.Position
	case *SDKKey:
		return image.Changed.Position
	case *FeatureState:
		return image.Changed.Position
	case *SegmentOverrides:
		return image.Changed.Position
	case *IdentityOverrides:
		return image.Changed.Position
	case *SegmentPin:
		return image.Changed.Position
	case *VariantsPin:
		return image.Changed.Position
	}
	return 0
}

// orNil keeps a nil pointer from becoming a non-nil interface.
func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return p
}

// Restore puts an encoded object back into the state, as the views do when
// they load what they have stored. An environment must come before its parts.
// The project is changed in place: only its maker may call it.
func (p *Project) Restore(o Object, image []byte) error {
	if err := p.restore(o, image); err != nil {
		return fmt.Errorf("restore %s: %w", o, err)
	}
	return nil
}

func (p *Project) restore(o Object, image []byte) error {
	switch o.Kind {
	case KindProject:
		var r projectRecord
		if err := json.Unmarshal(image, &r); err != nil {
			return err
		}
		p.projectRecord = r
		return nil
	case KindToken:
		return restoreInto(&p.Tokens, o.Key, image)
	case KindEnvironment:
		return restoreInto(&p.Environments, o.Key, image)
	case KindFeature:
		p.Folded = p.Folded.Set(strings.ToLower(o.Key), o.Key)
		return restoreInto(&p.Features, o.Key, image)
	case KindSegment:
		return restoreInto(&p.Segments, o.Key, image)
	case KindContext:
		return restoreInto(&p.Contexts, o.Key, image)
	case KindSegmentTests:
		return restoreInto(&p.SegmentTests, o.Key, image)
	case KindFeatureTests:
		return restoreInto(&p.FeatureTests, o.Key, image)
	}
	env := p.Environments.Get(o.Environment)
	if env == nil {
		return fmt.Errorf("environment %q is not there", o.Environment)
	}
	switch o.Kind {
	case KindSDKKey:
		return restoreInto(&env.Keys, o.Key, image)
	case KindFeatureState:
		return restoreInto(&env.States, o.Key, image)
	case KindSegmentOverrides:
		if err := restoreInto(&env.Overrides, o.Key, image); err != nil {
			return err
		}
		env.noteUses(o.Key, nil, env.Overrides.Get(o.Key))
		return nil
	case KindIdentity:
		return restoreInto(&env.Identities, o.Key, image)
	case KindSegmentPin:
		return restoreInto(&env.SegmentPins, o.Key, image)
	case KindVariantsPin:
		return restoreInto(&env.VariantsPins, o.Key, image)
	}
	return fmt.Errorf("unknown kind %q", o.Kind)
}

func restoreInto[V any](m *Map[*V], key string, image []byte) error {
	v := new(V)
	if err := json.Unmarshal(image, v); err != nil {
		return err
	}
	*m = m.Set(key, v)
	return nil
}
