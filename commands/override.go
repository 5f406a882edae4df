package commands

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// SetSegmentOverride adds a segment's override of a feature, or changes what it
// names of one that is there. A new one begins as the environment's state; it
// is put at Place (0 is strongest), by default behind the others.
type SetSegmentOverride struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	Segment     string `json:"segment"`
	Place       *int   `json:"place"`
	StateInput
}

// Needs implements Command.
func (c SetSegmentOverride) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c SetSegmentOverride) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	s, err := segmentOf(p, c.Segment)
	if err != nil {
		return nil, err
	}
	if s.Feature != "" && s.Feature != f.Key {
		return nil, domain.RefuseField(domain.Invalid, "segment", "segment %q is for feature %q only", s.Key, s.Feature)
	}
	overrides := env.Overrides.Get(f.Key)
	order := overrides.Order()
	n := numbersOf(p)
	i, now := overrides.Find(s.Key)
	if i < 0 {
		state := env.States.Get(f.Key)
		now = domain.SegmentOverride{Segment: s.Key, Enabled: state.Enabled, Value: state.Value, Weights: state.Weights}
		if overrides != nil {
			now.Seed = overrides.Seeds[s.Key] // it was there before
		}
		if now.Seed == 0 {
			now.Seed = n.next()
		}
	}
	place := or(c.Place, len(order))
	if place < 0 || place > len(order) {
		return nil, domain.RefuseField(domain.Invalid, "place", "%d is not a place in the order of %d overrides", place, len(order))
	}
	next := domain.SegmentOverrideSet{
		Environment: env.Key, Feature: f.Key, Segment: s.Key, Seed: now.Seed, Place: place,
		Enabled: now.Enabled, Value: now.Value, Weights: now.Weights,
	}
	if err := c.over(in, env.VariantsIn(f), &next.Enabled, &next.Value, &next.Weights); err != nil {
		return nil, err
	}
	var events []domain.Event
	if i < 0 || next.Enabled != now.Enabled || next.Value != now.Value || !domain.SameWeights(next.Weights, now.Weights) {
		events = append(events, next)
	}
	if last := len(order) - 1; i >= 0 && c.Place != nil && min(place, last) != i {
		order = slices.Insert(slices.Delete(order, i, i+1), min(place, last), s.Key)
		events = append(events, domain.SegmentOverridesReordered{Environment: env.Key, Feature: f.Key, Order: order})
	}
	return events, n.err
}

// RemoveSegmentOverride takes a segment's override of a feature away.
type RemoveSegmentOverride struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	Segment     string `json:"segment"`
}

// Needs implements Command.
func (c RemoveSegmentOverride) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c RemoveSegmentOverride) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	if i, _ := env.Overrides.Get(f.Key).Find(c.Segment); i < 0 {
		return nil, domain.RefuseField(domain.NotFound, "segment", "feature %q has no override for segment %q in %q", f.Key, c.Segment, env.Key)
	}
	return []domain.Event{domain.SegmentOverrideRemoved{Environment: env.Key, Feature: f.Key, Segment: c.Segment}}, nil
}

// OrderSegmentOverrides gives the overrides of a feature a new order.
type OrderSegmentOverrides struct {
	Environment string   `json:"environment"`
	Feature     string   `json:"feature"`
	Order       []string `json:"order"` // segments, strongest first; all of them
}

// Needs implements Command.
func (c OrderSegmentOverrides) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c OrderSegmentOverrides) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	now := env.Overrides.Get(f.Key).Order()
	if slices.Equal(now, c.Order) {
		return nil, nil
	}
	if !slices.Equal(slices.Sorted(slices.Values(now)), slices.Sorted(slices.Values(c.Order))) {
		return nil, domain.RefuseField(domain.Invalid, "order", "the order must name each segment with an override once: %s; it names %s", strings.Join(now, ", "), strings.Join(c.Order, ", "))
	}
	return []domain.Event{domain.SegmentOverridesReordered{Environment: env.Key, Feature: f.Key, Order: c.Order}}, nil
}

// SetIdentityOverride adds an identity's override of a feature, or changes what
// it names of one that is there.
type SetIdentityOverride struct {
	Environment string                     `json:"environment"`
	Feature     string                     `json:"feature"`
	Identifier  string                     `json:"identifier"`
	Enabled     *bool                      `json:"enabled"`
	Value       Optional[evaluation.Value] `json:"value,omitzero"`
	Variant     *string                    `json:"variant"` // whose value is served, in a multivariate feature
}

// Needs implements Command.
func (c SetIdentityOverride) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c SetIdentityOverride) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	if err := CheckIdentifier(in.Limits, c.Identifier); err != nil {
		return nil, err
	}
	surrogate := in.Persons.Lookup(p.ID, env.ID, c.Identifier)
	i, now := env.Identities.Get(surrogate).Find(f.Key)
	if i < 0 && env.LocalIdentityOverrides {
		if problem := unlistable(c.Identifier); problem != "" {
			return nil, domain.RefuseField(domain.Invalid, "identifier", "SDKs in local evaluation would not give the override to %q and to nobody else: %s; take another identifier, or switch use_identity_overrides_in_local_eval of environment %q off", c.Identifier, problem, env.Key)
		}
	}
	if i < 0 {
		state := env.States.Get(f.Key)
		now = domain.IdentityOverride{Feature: f.Key, Enabled: state.Enabled, Value: state.Value}
	}
	next := domain.IdentityOverrideSet{
		Environment: env.Key, Identity: surrogate, Feature: f.Key,
		Enabled: or(c.Enabled, now.Enabled), Value: c.Value.Or(now.Value), Variant: or(c.Variant, now.Variant),
	}
	if c.Value.Set && c.Variant == nil {
		next.Variant = ""
	}
	if c.Value.Set && next.Variant != "" {
		return nil, domain.RefuseField(domain.Invalid, "variant", "an override serves the variant's value or one of its own, not both")
	}
	if next.Variant != "" && !slices.ContainsFunc(env.VariantsIn(f), func(v domain.Variant) bool { return v.Key == next.Variant }) {
		return nil, domain.RefuseField(domain.Invalid, "variant", "feature %q has no variant %q in %q", f.Key, next.Variant, env.Key)
	}
	if err := in.value("value", next.Value); err != nil {
		return nil, err
	}
	if i >= 0 && next.Enabled == now.Enabled && next.Value == now.Value && next.Variant == now.Variant {
		return nil, nil
	}
	if in.DryRun && surrogate == "" {
		next.Identity = newcomer
		if unlistable(in.newcomer) == "" {
			in.newcomer = c.Identifier
		}
	} else if next.Identity, err = in.Persons.Surrogate(in.Context, p.ID, env.ID, c.Identifier); err != nil {
		return nil, domain.Refuse(domain.Unavailable, "the identity store cannot be written now: %v", err)
	}
	return []domain.Event{next}, nil
}

// CheckIdentifier refuses what cannot name an identity.
func CheckIdentifier(limits domain.Limits, identifier string) error {
	if identifier == "" {
		return domain.RefuseField(domain.Invalid, "identifier", "the identifier is empty")
	}
	if n := utf8.RuneCountInString(identifier); n > limits.IdentifierLength {
		return domain.RefuseField(domain.LimitReached, "identifier", "the identifier has %d characters; the limit is %d", n, limits.IdentifierLength)
	}
	if !utf8.ValidString(identifier) {
		return domain.RefuseField(domain.Malformed, "identifier", "the identifier is not valid UTF-8")
	}
	if strings.IndexByte(identifier, 0) >= 0 {
		return domain.RefuseField(domain.Malformed, "identifier", "the identifier has a null character, which SDKs cannot send")
	}
	return nil
}

// RemoveIdentityOverride takes an identity's override of a feature away.
type RemoveIdentityOverride struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	Identifier  string `json:"identifier"`
}

// Needs implements Command.
func (c RemoveIdentityOverride) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c RemoveIdentityOverride) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	surrogate := in.Persons.Lookup(p.ID, env.ID, c.Identifier)
	if i, _ := env.Identities.Get(surrogate).Find(f.Key); i < 0 || surrogate == "" {
		return nil, domain.RefuseField(domain.NotFound, "identifier", "feature %q has no override for this identity in %q", f.Key, env.Key)
	}
	return []domain.Event{domain.IdentityOverrideRemoved{Environment: env.Key, Identity: surrogate, Feature: f.Key}}, nil
}

// EraseIdentity records that a person was erased from an environment, whose
// overrides go with them. The person's name is not part of it.
type EraseIdentity struct {
	Environment string
	Surrogate   string
}

// Needs implements Command.
func (c EraseIdentity) Needs() Need { return Need{domain.Manage, c.Environment} }

// Decide implements Command.
func (c EraseIdentity) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return nil, fmt.Errorf("erase identity: %w", err)
	}
	if c.Surrogate == "" {
		return nil, domain.RefuseField(domain.NotFound, "identifier", "this identity is not known in %q", env.Key)
	}
	return []domain.Event{domain.IdentityErased{Environment: env.Key, Identity: c.Surrogate}}, nil
}
