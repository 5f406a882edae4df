package domain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// An Event is one recorded fact about a project. Its wire name and JSON never
// change once released: a new shape is a new version with an upcaster.
type Event interface {
	// EventType is the wire name with its version, such as "segment.rules_set.v1".
	EventType() string
	// Objects lists what the event changes, given the state before it.
	Objects(before *Project) []Object
	// apply brings the project to the state after the event. It never refuses.
	apply(p *Project, at Stamp)
}

// decodeEvent turns a recorded event of the current version into its type.
func decodeEvent(raw RawEvent) (Event, error) {
	decode, ok := decoders[raw.Type]
	if !ok {
		return nil, fmt.Errorf("unknown event type %q", raw.Type)
	}
	e, err := decode(raw.Data)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", raw.Type, err)
	}
	return e, nil
}

type decoder func(json.RawMessage) (Event, error)

func as[E Event](data json.RawMessage) (Event, error) {
	var e E
	err := json.Unmarshal(data, &e)
	return e, err
}

// decoders knows every event by its wire name.
var decoders = map[string]decoder{
	"token.created.v1":               as[TokenCreated],
	"token.revoked.v1":               as[TokenRevoked],
	"project.created.v1":             as[ProjectCreated],
	"project.updated.v1":             as[ProjectUpdated],
	"project.deleted.v1":             as[ProjectDeleted],
	"environment.created.v1":         as[EnvironmentCreated],
	"environment.updated.v1":         as[EnvironmentUpdated],
	"environment.deleted.v1":         as[EnvironmentDeleted],
	"segment_tests.set.v1":           as[SegmentTestsSet],
	"feature_tests.set.v1":           as[FeatureTestsSet],
	"context.set.v1":                 as[ContextSet],
	"context.removed.v1":             as[ContextRemoved],
	"sdk_key.created.v1":             as[SDKKeyCreated],
	"sdk_key.updated.v1":             as[SDKKeyUpdated],
	"sdk_key.revoked.v1":             as[SDKKeyRevoked],
	"feature.created.v1":             as[FeatureCreated],
	"feature.updated.v1":             as[FeatureUpdated],
	"feature.variants_set.v1":        as[FeatureVariantsSet],
	"feature.variants_pinned.v1":     as[FeatureVariantsPinned],
	"feature.variants_unpinned.v1":   as[FeatureVariantsUnpinned],
	"feature.deleted.v1":             as[FeatureDeleted],
	"feature_state.set.v1":           as[FeatureStateSet],
	"segment.created.v2":             as[SegmentCreated],
	"segment.updated.v1":             as[SegmentUpdated],
	"segment.rules_set.v1":           as[SegmentRulesSet],
	"segment.pinned.v1":              as[SegmentPinned],
	"segment.unpinned.v1":            as[SegmentUnpinned],
	"segment.deleted.v1":             as[SegmentDeleted],
	"segment_override.set.v1":        as[SegmentOverrideSet],
	"segment_override.removed.v1":    as[SegmentOverrideRemoved],
	"segment_overrides.reordered.v1": as[SegmentOverridesReordered],
	"identity_override.set.v1":       as[IdentityOverrideSet],
	"identity_override.removed.v1":   as[IdentityOverrideRemoved],
	"identity.erased.v1":             as[IdentityErased],
}

// EventTypes lists the wire names of all events of the current versions, sorted.
func EventTypes() []string { return slices.Sorted(maps.Keys(decoders)) }
