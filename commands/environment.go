package commands

import (
	"cmp"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
)

// Settings are the switches of an environment that a command names.
type Settings struct {
	AllowClientTraits        *bool           `json:"allow_client_traits"`
	HideSensitiveData        *bool           `json:"hide_sensitive_data"`
	HideDisabledFlags        Optional[*bool] `json:"hide_disabled_flags,omitzero"` // null: as the project says
	LocalIdentityOverrides   *bool           `json:"use_identity_overrides_in_local_eval"`
	CompositeIdentityHashing *bool           `json:"use_identity_composite_key_for_hashing"`
}

func (s Settings) over(e domain.EnvironmentSettings) domain.EnvironmentSettings {
	e.AllowClientTraits = or(s.AllowClientTraits, e.AllowClientTraits)
	e.HideSensitiveData = or(s.HideSensitiveData, e.HideSensitiveData)
	e.HideDisabledFlags = s.HideDisabledFlags.Or(e.HideDisabledFlags)
	e.LocalIdentityOverrides = or(s.LocalIdentityOverrides, e.LocalIdentityOverrides)
	e.CompositeIdentityHashing = or(s.CompositeIdentityHashing, e.CompositeIdentityHashing)
	return e
}

// check refuses what SDKs in local evaluation would not follow.
func (s Settings) check() error {
	if or(s.CompositeIdentityHashing, true) {
		return nil
	}
	return domain.RefuseField(domain.Invalid, "use_identity_composite_key_for_hashing", "SDKs in local evaluation always split by the environment's key and the identifier together, so that false would make them disagree with the server")
}

// CreateEnvironment adds an environment in which every feature has its initial state.
type CreateEnvironment struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description"`
	// ClientKey is the client-side SDK key; a random one where left out.
	ClientKey string `json:"client_key"`
	Settings
}

// Needs implements Command.
func (CreateEnvironment) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c CreateEnvironment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	n := numbersOf(p)
	created, err := c.create(p, in, n)
	if err != nil {
		return nil, err
	}
	return []domain.Event{created}, n.err
}

func (c CreateEnvironment) create(p *domain.Project, in *Inputs, n *numbers) (domain.EnvironmentCreated, error) {
	none := domain.EnvironmentCreated{}
	if err := exists(p); err != nil {
		return none, err
	}
	if err := domain.CheckKey("key", c.Key); err != nil {
		return none, err
	}
	if p.Environments.Get(c.Key) != nil {
		return none, domain.RefuseField(domain.Conflict, "key", "there is already an environment %q in project %q", c.Key, p.Key)
	}
	if p.Environments.Len() >= in.Limits.Environments {
		return none, domain.Refuse(domain.LimitReached, "project %q has %d environments, which is the limit", p.Key, p.Environments.Len())
	}
	if c.Name == "" {
		c.Name = c.Key
	}
	if err := checkTexts(in, "name", c.Name, "description", c.Description); err != nil {
		return none, err
	}
	if err := c.check(); err != nil {
		return none, err
	}
	if c.ClientKey == "" {
		c.ClientKey = NewClientKey()
	} else if err := checkClientKey(c.ClientKey); err != nil {
		return none, err
	} else if keyTaken(p, in, c.ClientKey) {
		return none, domain.RefuseField(domain.Conflict, "client_key", "this key belongs to an environment already")
	}
	e := domain.EnvironmentCreated{
		ID: n.next(), Key: c.Key, Name: c.Name, Description: c.Description, ClientKey: c.ClientKey,
		EnvironmentSettings: c.over(domain.DefaultEnvironmentSettings()), Seeds: map[string]int32{},
	}
	for key := range p.Features.All() {
		e.Seeds[key] = n.next()
	}
	return e, nil
}

// CloneEnvironment adds an environment with the feature states, segment
// overrides, pins and settings of another. Keys and identities stay behind.
type CloneEnvironment struct {
	Source      string `json:"source"`
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description"`
	ClientKey   string `json:"client_key"`
}

// Needs implements Command.
func (CloneEnvironment) Needs() Need { return Need{Right: domain.Manage} }

// Decide implements Command.
func (c CloneEnvironment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	source, err := environmentOf(p, c.Source)
	if err != nil {
		return nil, err
	}
	n := numbersOf(p)
	create := CreateEnvironment{Key: c.Key, Name: c.Name, Description: c.Description, ClientKey: c.ClientKey}
	created, err := create.create(p, in, n)
	if err != nil {
		return nil, err
	}
	created.EnvironmentSettings, created.ClonedFrom = source.EnvironmentSettings, source.Key
	events := []domain.Event{created}
	for key, pin := range source.VariantsPins.All() {
		events = append(events, domain.FeatureVariantsPinned{Environment: c.Key, Feature: key, Variants: pin.Variants})
	}
	for key, pin := range source.SegmentPins.All() {
		events = append(events, domain.SegmentPinned{Environment: c.Key, Segment: key, Revision: pin.Revision, Rules: pin.Rules})
	}
	for key, f := range p.Features.All() {
		s := source.States.Get(key)
		if s.Enabled != f.DefaultEnabled || s.Value != f.InitialValue || !domain.SameWeights(s.Weights, f.InitialWeights()) {
			events = append(events, domain.FeatureStateSet{Environment: c.Key, Feature: key, Enabled: s.Enabled, Value: s.Value, Weights: s.Weights})
		}
		overrides := source.Overrides.Get(key)
		if overrides == nil {
			continue
		}
		for place, o := range overrides.List {
			events = append(events, domain.SegmentOverrideSet{
				Environment: c.Key, Feature: key, Segment: o.Segment, Seed: n.next(), Place: place,
				Enabled: o.Enabled, Value: o.Value, Weights: o.Weights,
			})
		}
	}
	return events, n.err
}

// UpdateEnvironment changes what it names of an environment.
type UpdateEnvironment struct {
	Environment string  `json:"environment"`
	Name        *string `json:"name"`
	Description *string `json:"description"`
	Settings
}

// Needs implements Command.
func (c UpdateEnvironment) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c UpdateEnvironment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	next := domain.EnvironmentUpdated{
		Environment: env.Key, Name: or(c.Name, env.Name), Description: or(c.Description, env.Description),
		EnvironmentSettings: c.over(env.EnvironmentSettings),
	}
	if next.Name == env.Name && next.Description == env.Description && next.Same(env.EnvironmentSettings) {
		return nil, nil
	}
	return []domain.Event{next}, checkNamed(in, "environment", next.Name, next.Description)
}

// DeleteEnvironment removes an environment with all that is in it.
type DeleteEnvironment struct {
	Environment string `json:"environment"`
}

// Needs implements Command.
func (c DeleteEnvironment) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c DeleteEnvironment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return nil, err
	}
	for id, k := range env.Keys.All() {
		if k.Kind == domain.ServerKey && k.Usable(in.Now) {
			return nil, domain.Refuse(domain.Conflict, "environment %q is in use by the server-side SDK key %q (%s); revoke it first", env.Key, k.Name, id)
		}
	}
	return []domain.Event{domain.EnvironmentDeleted{Environment: env.Key}}, nil
}

// CreateSDKKey adds a key to an environment. NewSDKKey makes one with a secret.
type CreateSDKKey struct {
	Environment string
	ID          string
	Kind        domain.SDKKeyKind
	Name        string
	Key         string // of a client key
	Hash        string // of a server key
	ExpiresAt   time.Time
}

// NewSDKKey makes the command that adds a key, and the key itself, which for a
// server key is not to be had again.
func NewSDKKey(environment, name string, kind domain.SDKKeyKind, expiresAt time.Time) (CreateSDKKey, string) {
	c := CreateSDKKey{Environment: environment, ID: uuid.NewString(), Kind: kind, Name: name, ExpiresAt: expiresAt}
	if kind == domain.ServerKey {
		return c.WithSecret("ser." + NewClientKey())
	}
	c.Key = NewClientKey()
	return c, c.Key
}

// WithSecret gives a server key a secret of the caller's choice.
func (c CreateSDKKey) WithSecret(secret string) (CreateSDKKey, string) {
	c.Hash = Hash(secret)
	return c, secret
}

// Needs implements Command.
func (c CreateSDKKey) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c CreateSDKKey) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return nil, err
	}
	if c.Kind != domain.ClientKey && c.Kind != domain.ServerKey {
		return nil, domain.RefuseField(domain.Invalid, "kind", "%q is not a kind of SDK key; want client or server", c.Kind)
	}
	if c.Name == "" {
		return nil, domain.RefuseField(domain.Invalid, "name", "a key needs a name, by which it can be told from others")
	}
	if !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(in.Now) {
		return nil, domain.RefuseField(domain.Invalid, "expires_at", "%s is in the past", c.ExpiresAt.Format(time.RFC3339))
	}
	if keyTaken(p, in, cmp.Or(c.Key, c.Hash)) {
		return nil, domain.RefuseField(domain.Conflict, "key", "this key belongs to an environment already")
	}
	return []domain.Event{domain.SDKKeyCreated{
		Environment: env.Key, ID: c.ID, Kind: c.Kind, Name: c.Name, Key: c.Key, Hash: c.Hash, ExpiresAt: c.ExpiresAt,
	}}, checkTexts(in, "name", c.Name)
}

// UpdateSDKKey changes what it names of a key.
type UpdateSDKKey struct {
	Environment string              `json:"environment"`
	ID          string              `json:"id"`
	Name        *string             `json:"name"`
	Active      *bool               `json:"active"`
	ExpiresAt   Optional[time.Time] `json:"expires_at,omitzero"` // null: never
}

// Needs implements Command.
func (c UpdateSDKKey) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c UpdateSDKKey) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, k, err := sdkKeyOf(p, c.Environment, c.ID)
	if err != nil {
		return nil, err
	}
	next := domain.SDKKeyUpdated{
		Environment: env.Key, ID: k.ID, Name: or(c.Name, k.Name), Active: or(c.Active, k.Active), ExpiresAt: c.ExpiresAt.Or(k.ExpiresAt),
	}
	if next.Name == k.Name && next.Active == k.Active && next.ExpiresAt.Equal(k.ExpiresAt) {
		return nil, nil
	}
	return []domain.Event{next}, checkNamed(in, "key", next.Name, "")
}

// RevokeSDKKey ends a key.
type RevokeSDKKey struct {
	Environment string `json:"environment"`
	ID          string `json:"id"`
}

// Needs implements Command.
func (c RevokeSDKKey) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c RevokeSDKKey) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, k, err := sdkKeyOf(p, c.Environment, c.ID)
	if err != nil {
		return nil, err
	}
	return []domain.Event{domain.SDKKeyRevoked{Environment: env.Key, ID: k.ID}}, nil
}

// keyTaken tells whether a key, or the hash of a secret, opens an environment
// already: one that the views know, or one of this project made since.
func keyTaken(p *domain.Project, in *Inputs, keyOrHash string) bool {
	for _, env := range p.Environments.All() {
		if env.ClientKey == keyOrHash {
			return true
		}
		for _, k := range env.Keys.All() {
			if cmp.Or(k.Key, k.Hash) == keyOrHash {
				return true
			}
		}
	}
	return in.Views.KeyTaken(keyOrHash)
}

func sdkKeyOf(p *domain.Project, environment, id string) (*domain.Environment, *domain.SDKKey, error) {
	env, err := environmentOf(p, environment)
	if err != nil {
		return nil, nil, err
	}
	k := env.Keys.Get(id)
	if k == nil {
		return nil, nil, domain.RefuseField(domain.NotFound, "id", "there is no SDK key %q in environment %q", id, env.Key)
	}
	return env, k, nil
}
