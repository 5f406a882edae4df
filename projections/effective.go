package projections

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// effective is all that a feature's evaluation in an environment depends on.
type effective struct {
	State     *domain.FeatureState     `json:"state"`
	Variants  []json.RawMessage        `json:"variants,omitempty"`
	Overrides []domain.SegmentOverride `json:"overrides"`
	// Segments are the rules of the overrides' segments, as the environment
	// sees them.
	Segments map[string]json.RawMessage `json:"segments"`
	// Identities are the overrides of those identities whose own the commit
	// touched, by surrogate.
	Identities map[string]domain.IdentityOverride `json:"identities,omitempty"`
	// UnusedTraits are those that the segments ask for and whose stored values do
	// not count, sorted; nil where the commit touched nothing that decides on it.
	UnusedTraits []string `json:"unused_traits,omitempty"`
}

// effectiveChange compares what a feature depended on before and after a commit,
// of which there is the record; nil where that is the same.
func effectiveChange(tx *bbolt.Tx, id EnvironmentID, feature string, position uint64, record commitRecord) (*EffectiveChange, error) {
	c := tx.Bucket(bucketHistory).Cursor()
	var identities []string
	declares := false
	for _, ref := range record.Objects {
		o, err := domain.ParseObject(ref.Object)
		if err != nil {
			return nil, err
		}
		if o.Kind == domain.KindIdentity && ref.Environment == id.ID {
			identities = append(identities, o.Key)
		}
		declares = declares || o.Declares()
	}
	before, err := effectiveAt(c, id, feature, position-1, identities)
	if err != nil {
		return nil, err
	}
	after, err := effectiveAt(c, id, feature, position, identities)
	if err != nil {
		return nil, err
	}
	if declares {
		if err := errors.Join(before.noteUnused(c, id, record.Project, position-1), after.noteUnused(c, id, record.Project, position)); err != nil {
			return nil, err
		}
	}
	then, err := encode(before.undated())
	if err != nil {
		return nil, err
	}
	if now, err := encode(after.undated()); err != nil || bytes.Equal(then, now) {
		return nil, err
	}
	var change EffectiveChange
	if change.Before, err = encodeOrNil(before); err != nil {
		return nil, err
	}
	change.After, err = encodeOrNil(after)
	return &change, err
}

// noteUnused notes which of the traits that the segments ask for are not used as
// they are stored, as the project, which has the key, declares them at the position.
func (e *effective) noteUnused(c *bbolt.Cursor, id EnvironmentID, key string, position uint64) error {
	if e == nil {
		return nil
	}
	p := domain.Project{ID: id.Project}
	restore := func(o domain.Object) error {
		image := seekAt(c, objectKey(EnvironmentID{Project: id.Project}, o), position)
		if len(image) == 0 {
			return nil
		}
		return p.Restore(o, image)
	}
	if err := restore(domain.Object{Kind: domain.KindProject, Key: key}); err != nil {
		return err
	}
	for segment, raw := range e.Segments {
		var rules []evaluation.Rule
		if err := json.Unmarshal(raw, &rules); err != nil {
			return fmt.Errorf("read the rules of segment %s at %d: %w", segment, position, err)
		}
		for trait := range domain.TraitsOf(rules) {
			if err := restore(domain.Object{Kind: domain.KindContext, Key: trait}); err != nil {
				return err
			}
			if !p.Keeps(trait) {
				e.UnusedTraits = append(e.UnusedTraits, trait)
			}
		}
	}
	slices.Sort(e.UnusedTraits)
	e.UnusedTraits = slices.Compact(e.UnusedTraits)
	return nil
}

func encodeOrNil(e *effective) (json.RawMessage, error) {
	if e == nil {
		return nil, nil
	}
	return encode(e)
}

// undated leaves out which commits made the parts what they are.
func (e *effective) undated() *effective {
	if e == nil {
		return nil
	}
	u, state := *e, *e.State
	state.Changed = domain.Stamp{}
	u.State, u.Overrides, u.Identities = &state, slices.Clone(e.Overrides), maps.Clone(e.Identities)
	for i := range u.Overrides {
		u.Overrides[i].Changed = domain.Stamp{}
	}
	for surrogate, o := range u.Identities {
		o.Changed = domain.Stamp{}
		u.Identities[surrogate] = o
	}
	return &u
}

// effectiveAt reads it from the images at the position; nil where the feature
// did not exist.
func effectiveAt(c *bbolt.Cursor, id EnvironmentID, feature string, position uint64, identities []string) (*effective, error) {
	project := EnvironmentID{Project: id.Project}
	var e effective
	var list domain.SegmentOverrides
	var f, pin struct{ Variants []json.RawMessage }
	state := seekAt(c, objectKey(id, domain.Object{Kind: domain.KindFeatureState, Key: feature}), position)
	if len(state) == 0 {
		return nil, nil
	}
	read := func(at EnvironmentID, kind domain.ObjectKind, key string, into any) (bool, error) {
		image := seekAt(c, objectKey(at, domain.Object{Kind: kind, Key: key}), position)
		if len(image) == 0 {
			return false, nil
		}
		if err := json.Unmarshal(image, into); err != nil {
			return false, fmt.Errorf("read %s %s at %d: %w", kind, key, position, err)
		}
		return true, nil
	}
	if _, err := read(id, domain.KindFeatureState, feature, &e.State); err != nil {
		return nil, err
	}
	if _, err := read(project, domain.KindFeature, feature, &f); err != nil {
		return nil, err
	}
	e.Variants = f.Variants
	if pinned, err := read(id, domain.KindVariantsPin, feature, &pin); err != nil {
		return nil, err
	} else if pinned {
		e.Variants = pin.Variants
	}
	if _, err := read(id, domain.KindSegmentOverrides, feature, &list); err != nil {
		return nil, err
	}
	e.Overrides, e.Segments = []domain.SegmentOverride{}, map[string]json.RawMessage{}
	for _, o := range list.List {
		var s, held struct{ Rules json.RawMessage }
		if _, err := read(project, domain.KindSegment, o.Segment, &s); err != nil {
			return nil, err
		}
		if pinned, err := read(id, domain.KindSegmentPin, o.Segment, &held); err != nil {
			return nil, err
		} else if pinned {
			s.Rules = held.Rules
		}
		e.Overrides = append(e.Overrides, o)
		e.Segments[o.Segment] = s.Rules
	}
	for _, surrogate := range identities {
		var own domain.IdentityOverrides
		if _, err := read(id, domain.KindIdentity, surrogate, &own); err != nil {
			return nil, err
		}
		if i, o := own.Find(feature); i >= 0 {
			if e.Identities == nil {
				e.Identities = map[string]domain.IdentityOverride{}
			}
			e.Identities[surrogate] = o
		}
	}
	return &e, nil
}
