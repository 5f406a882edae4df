package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// The environment document: all that an SDK needs to evaluate by itself. The
// names and types are the SDKs'. What their decoders are strict about: ids are
// positive integers of 32 bits, the value of a condition is a string, lists are
// never left out.

type sdkDocument struct {
	ID                     int32              `json:"id"`
	APIKey                 string             `json:"api_key"`
	Name                   string             `json:"name"`
	UpdatedAt              documentTime       `json:"updated_at"`
	AllowClientTraits      bool               `json:"allow_client_traits"`
	HideSensitiveData      bool               `json:"hide_sensitive_data"`
	HideDisabledFlags      *bool              `json:"hide_disabled_flags"`
	CompositeKey           bool               `json:"use_identity_composite_key_for_hashing"`
	LocalIdentityOverrides bool               `json:"use_identity_overrides_in_local_eval"`
	Project                documentProject    `json:"project"`
	FeatureStates          []documentState    `json:"feature_states"`
	IdentityOverrides      []documentIdentity `json:"identity_overrides"`
}

type documentProject struct {
	ID                     int32                `json:"id"`
	Name                   string               `json:"name"`
	Organisation           documentOrganisation `json:"organisation"`
	HideDisabledFlags      bool                 `json:"hide_disabled_flags"`
	EnableRealtimeUpdates  bool                 `json:"enable_realtime_updates"`
	ServerKeyOnlyFeatureID []int32              `json:"server_key_only_feature_ids"`
	Segments               []documentSegment    `json:"segments"`
}

type documentOrganisation struct {
	ID               int32  `json:"id"`
	Name             string `json:"name"`
	FeatureAnalytics bool   `json:"feature_analytics"`
	StopServingFlags bool   `json:"stop_serving_flags"`
	PersistTraitData bool   `json:"persist_trait_data"`
}

type documentSegment struct {
	ID            int32           `json:"id"`
	Name          string          `json:"name"`
	Rules         []documentRule  `json:"rules"`
	FeatureStates []documentState `json:"feature_states"`
}

type documentRule struct {
	Type       evaluation.RuleType `json:"type"`
	Rules      []documentRule      `json:"rules"`
	Conditions []documentCondition `json:"conditions"`
}

type documentCondition struct {
	Operator evaluation.Operator `json:"operator"`
	Value    string              `json:"value"`
	Property *string             `json:"property_"`
}

type documentState struct {
	Feature struct {
		ID   int32  `json:"id"`
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"feature"`
	Enabled        bool              `json:"enabled"`
	Seed           int32             `json:"django_id"`
	UUID           uuid.UUID         `json:"featurestate_uuid"`
	FeatureSegment *documentPriority `json:"feature_segment"`
	Value          evaluation.Value  `json:"feature_state_value"`
	Variants       []documentVariant `json:"multivariate_feature_state_values"`
}

type documentPriority struct {
	Priority int `json:"priority"`
}

type documentVariant struct {
	ID     int32          `json:"id"`
	UUID   uuid.UUID      `json:"mv_fs_value_uuid"`
	Weight float64        `json:"percentage_allocation"`
	Option documentOption `json:"multivariate_feature_option"`
}

type documentOption struct {
	ID    int32            `json:"id"`
	Value evaluation.Value `json:"value"`
	Key   *string          `json:"key"`
}

type documentIdentity struct {
	Identifier     string             `json:"identifier"`
	EnvironmentKey string             `json:"environment_api_key"`
	Created        documentTime       `json:"created_date"`
	Features       []documentState    `json:"identity_features"`
	Traits         []evaluation.Trait `json:"identity_traits"` // always empty
	UUID           string             `json:"identity_uuid"`
	DjangoID       *int32             `json:"django_id"`
	DashboardAlias *string            `json:"dashboard_alias"`
	CompositeKey   string             `json:"composite_key"`
}

// documentTime is written as the answers to SDKs have it.
type documentTime time.Time

func (t documentTime) MarshalJSON() ([]byte, error) { return appendTime(nil, time.Time(t)), nil }

// getDocument answers with the environment document, whole.
func (k *sdk) getDocument(c echo.Context, at sdkAccess) error {
	if !at.server {
		return errNoKey
	}
	p := at.snapshot.Keep("environment document", k.prepareDocument).(*preparedAnswer)
	if p == nil { // persons are on their way here: without validators, so that the client asks again
		body, _ := k.document(at)
		at.setUpdated(c)
		return answerJSON(c, http.StatusOK, body)
	}
	return k.answerPrepared(c, at, p)
}

// prepareDocument makes the *preparedAnswer, nil while the document is not
// complete.
func (k *sdk) prepareDocument(s *projections.Snapshot) any {
	id := projections.EnvironmentID{Project: s.Project.ID, ID: s.Environment.ID}
	body, complete := k.document(sdkAccess{snapshot: s, environment: id, server: true})
	if !complete {
		return (*preparedAnswer)(nil)
	}
	return newPreparedAnswer(body, s)
}

// document makes the environment document. It is not complete when the
// identity store does not know a person who has overrides: the log can be ahead
// of it for a moment.
func (k *sdk) document(at sdkAccess) (body []byte, complete bool) {
	p, env := at.snapshot.Project, at.snapshot.Environment
	d := sdkDocument{
		ID: env.ID, APIKey: env.ClientKey, Name: env.Name, UpdatedAt: documentTime(at.snapshot.Updated),
		AllowClientTraits: env.AllowClientTraits, HideSensitiveData: env.HideSensitiveData, HideDisabledFlags: env.HideDisabledFlags,
		CompositeKey: env.CompositeIdentityHashing, LocalIdentityOverrides: env.LocalIdentityOverrides,
		Project: documentProject{
			ID: p.SDKID(), Name: p.Name,
			Organisation: documentOrganisation{ID: p.SDKID(), Name: p.Name, PersistTraitData: p.PersistTraits},
			// Flagsmith's proxy looks at the project's setting only, so that is
			// where the one that counts is.
			HideDisabledFlags: at.hidesDisabled(), EnableRealtimeUpdates: true,
			ServerKeyOnlyFeatureID: []int32{}, Segments: []documentSegment{},
		},
		FeatureStates: []documentState{}, IdentityOverrides: []documentIdentity{},
	}
	overrides := map[string][]documentState{} // by segment
	for key, f := range p.Features.All() {
		if f.ServerKeyOnly {
			d.Project.ServerKeyOnlyFeatureID = append(d.Project.ServerKeyOnlyFeatureID, f.ID)
		}
		s := env.States.Get(key)
		d.FeatureStates = append(d.FeatureStates, at.documentState(f, s.Seed, s.Enabled, s.Value, s.Weights))
		if list := env.Overrides.Get(key); list != nil {
			for place, o := range list.List {
				state := at.documentState(f, o.Seed, o.Enabled, o.Value, o.Weights)
				state.FeatureSegment = &documentPriority{place}
				overrides[o.Segment] = append(overrides[o.Segment], state)
			}
		}
	}
	for key, s := range p.Segments.All() {
		if s.Feature != "" && !env.UsesSegment(key) {
			continue // a feature's own segment counts only where it has an override
		}
		d.Project.Segments = append(d.Project.Segments, documentSegment{
			ID: s.ID, Name: s.Name, Rules: documentRules(env.RulesIn(s)), FeatureStates: append([]documentState{}, overrides[key]...),
		})
	}
	complete = true
	if env.LocalIdentityOverrides {
		d.IdentityOverrides, complete = k.documentIdentities(at)
	}
	body, err := json.Marshal(d)
	if err != nil {
		panic("httpapi: environment document: " + err.Error()) // plain data: cannot fail
	}
	return body, complete
}

// documentState is a state of a feature in the environment or in an override.
func (at sdkAccess) documentState(f *domain.Feature, seed int32, enabled bool, value evaluation.Value, weights map[string]float64) documentState {
	variants := at.snapshot.Environment.VariantsIn(f)
	s := documentState{
		Enabled: enabled, Seed: seed, UUID: at.uuid("state", seed), Value: value, Variants: make([]documentVariant, 0, len(variants)),
	}
	s.Feature.ID, s.Feature.Name, s.Feature.Type = f.ID, f.Key, featureType(len(variants) > 0)
	for _, v := range variants {
		option := documentOption{ID: v.ID, Value: v.Value}
		if v.Key != "" {
			option.Key = &v.Key
		}
		s.Variants = append(s.Variants, documentVariant{ID: v.ID, UUID: at.uuid("variant", seed, v.ID), Weight: weights[v.Key], Option: option})
	}
	return s
}

// uuidSpace is the namespace from which the document's UUIDs are derived.
var uuidSpace = uuid.MustParse("0c6f6f5e-2f4b-5b0e-8b52-9a3f1d0b7e44")

// uuid derives a UUID from the numbers of a thing, so that it is the same in
// every document.
func (at sdkAccess) uuid(kind string, numbers ...int32) uuid.UUID {
	return uuid.NewSHA1(uuidSpace, fmt.Appendf(nil, "%s %s %d", at.snapshot.Project.ID, kind, numbers))
}

// documentIdentities are the identities with overrides. An override carries the
// value that it serves and no variants, since that is what all SDKs understand.
func (k *sdk) documentIdentities(at sdkAccess) (identities []documentIdentity, complete bool) {
	p, env := at.snapshot.Project, at.snapshot.Environment
	identities, complete = make([]documentIdentity, 0, env.Identities.Len()), true
	for surrogate, stored := range env.Identities.All() {
		identifier := k.Identities.Identifier(at.environment, surrogate)
		if identifier == "" {
			complete = false
			continue
		}
		one := documentIdentity{
			Identifier: identifier, EnvironmentKey: env.ClientKey, Created: documentTime(stored.Changed.Time), UUID: surrogate,
			Traits: []evaluation.Trait{}, CompositeKey: env.ClientKey + "_" + identifier,
		}
		for _, o := range stored.List {
			f := p.Features.Get(o.Feature)
			if f == nil {
				continue
			}
			s := at.documentState(f, env.States.Get(o.Feature).Seed, o.Enabled, env.IdentityValue(f, o), nil)
			s.UUID = uuid.NewSHA1(uuidSpace, fmt.Appendf(nil, "%s %d", surrogate, f.ID))
			s.Variants = []documentVariant{}
			one.Features = append(one.Features, s)
		}
		if len(one.Features) > 0 {
			identities = append(identities, one)
		}
	}
	return identities, complete
}

func documentRules(rules []evaluation.Rule) []documentRule {
	out := make([]documentRule, len(rules))
	for i, r := range rules {
		out[i] = documentRule{Type: r.Type, Rules: documentRules(r.Rules), Conditions: make([]documentCondition, len(r.Conditions))}
		for j, c := range r.Conditions {
			out[i].Conditions[j] = documentCondition{Operator: c.Operator, Value: c.Value}
			if c.Property != "" {
				out[i].Conditions[j].Property = &c.Property
			}
		}
	}
	return out
}
