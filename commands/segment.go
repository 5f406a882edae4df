package commands

import (
	"fmt"
	"slices"

	"flagledger/domain"
)

// CreateSegment adds a segment.
type CreateSegment struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Feature     string `json:"feature"` // the only feature that may use it; empty: any
	Rules       Rules  `json:"rules"`
}

// Needs implements Command.
func (CreateSegment) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c CreateSegment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if err := domain.CheckKey("key", c.Key); err != nil {
		return nil, err
	}
	if p.Segments.Get(c.Key) != nil {
		return nil, domain.RefuseField(domain.Conflict, "key", "there is already a segment %q in project %q", c.Key, p.Key)
	}
	if p.Segments.Len() >= in.Limits.Segments {
		return nil, domain.Refuse(domain.LimitReached, "project %q has %d segments, which is the limit", p.Key, p.Segments.Len())
	}
	if c.Name == "" {
		c.Name = c.Key
	}
	if err := checkTexts(in, "name", c.Name, "description", c.Description); err != nil {
		return nil, err
	}
	if c.Feature != "" {
		if _, err := featureOf(p, c.Feature); err != nil {
			return nil, err
		}
	}
	if err := checkRules(p, in, c.Rules, nil); err != nil {
		return nil, err
	}
	n := numbersOf(p)
	e := domain.SegmentCreated{ID: n.next(), Key: c.Key, Name: c.Name, Description: c.Description, Feature: c.Feature, Revision: 1}
	e.Rules, e.LastNode = domain.NumberNodes(nil, c.Rules, 0)
	return []domain.Event{e}, n.err
}

// UpdateSegment changes what it names of a segment. Rules and conditions that
// are sent with their ids, or are recognised, keep them.
type UpdateSegment struct {
	Segment     string  `json:"segment"`
	Name        *string `json:"name"`
	Description *string `json:"description"`
	Rules       *Rules  `json:"rules"`
}

// Needs implements Command.
func (UpdateSegment) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c UpdateSegment) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	s, err := segmentOf(p, c.Segment)
	if err != nil {
		return nil, err
	}
	var events []domain.Event
	name, description := or(c.Name, s.Name), or(c.Description, s.Description)
	if name != s.Name || description != s.Description {
		if name == "" {
			return nil, domain.RefuseField(domain.Invalid, "name", "a segment needs a name: SDKs show it as the reason")
		}
		if err := checkTexts(in, "name", name, "description", description); err != nil {
			return nil, err
		}
		events = append(events, domain.SegmentUpdated{Segment: s.Key, Name: name, Description: description})
	}
	if c.Rules != nil {
		if err := checkRules(p, in, *c.Rules, s.Rules); err != nil {
			return nil, err
		}
		rules, last := domain.NumberNodes(s.Rules, *c.Rules, s.LastNode)
		if !domain.SameRules(rules, s.Rules) {
			events = append(events, domain.SegmentRulesSet{Segment: s.Key, Revision: s.Revision + 1, Rules: rules, LastNode: last})
		}
	}
	return events, nil
}

// DeleteSegment removes a segment that no override uses.
type DeleteSegment struct {
	Segment string `json:"segment"`
}

// Needs implements Command.
func (DeleteSegment) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c DeleteSegment) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	s, err := segmentOf(p, c.Segment)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, u := range SegmentUsages(p, s.Key) {
		users = append(users, fmt.Sprintf("the override of feature %s in %s", u.Feature, u.Environment))
	}
	if len(users) > 0 {
		return nil, domain.Refuse(domain.Conflict, "segment %q is in use by %s; remove that first", s.Key, someOf(users))
	}
	return []domain.Event{domain.SegmentDeleted{Segment: s.Key}}, nil
}

// A SegmentUsage is an override that uses a segment.
type SegmentUsage struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
	Priority    int    `json:"priority"`                  // 0 is strongest
	Pinned      int    `json:"pinned_revision,omitempty"` // 0: the environment follows the segment
}

// SegmentUsages lists the overrides that use a segment.
func SegmentUsages(p *domain.Project, segment string) []SegmentUsage {
	usages := []SegmentUsage{}
	for key, env := range p.Environments.All() {
		pinned := 0
		if pin := env.SegmentPins.Get(segment); pin != nil {
			pinned = pin.Revision
		}
		for feature := range env.Uses.Get(segment).All() {
			place, _ := env.Overrides.Get(feature).Find(segment)
			usages = append(usages, SegmentUsage{key, feature, place, pinned})
		}
	}
	return usages
}

// UnpinSegment lets an environment follow a segment again.
type UnpinSegment struct {
	Environment string `json:"environment"`
	Segment     string `json:"segment"`
}

// Needs implements Command.
func (c UnpinSegment) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c UnpinSegment) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, err := environmentOf(p, c.Environment)
	if err != nil {
		return nil, err
	}
	if _, err := segmentOf(p, c.Segment); err != nil {
		return nil, err
	}
	if env.SegmentPins.Get(c.Segment) == nil {
		return nil, nil
	}
	return []domain.Event{domain.SegmentUnpinned{Environment: env.Key, Segment: c.Segment}}, nil
}

// UnpinVariants lets an environment follow a feature's variants again. Those
// that the feature has no more must not be in use there.
type UnpinVariants struct {
	Environment string `json:"environment"`
	Feature     string `json:"feature"`
}

// Needs implements Command.
func (c UnpinVariants) Needs() Need { return Need{domain.Write, c.Environment} }

// Decide implements Command.
func (c UnpinVariants) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	env, f, err := inEnvironment(p, c.Environment, c.Feature)
	if err != nil {
		return nil, err
	}
	pin := env.VariantsPins.Get(f.Key)
	if pin == nil {
		return nil, nil
	}
	for _, v := range pin.Variants {
		if slices.ContainsFunc(f.Variants, func(o domain.Variant) bool { return o.Key == v.Key }) {
			continue
		}
		if users := variantUsersIn(env, f.Key, v.Key); len(users) > 0 {
			return nil, domain.RefuseField(domain.Conflict, "feature", "variant %q, which the feature has no more, is in use by %s; set its weight to 0 there first", v.Key, someOf(users))
		}
	}
	return []domain.Event{domain.FeatureVariantsUnpinned{Environment: env.Key, Feature: f.Key}}, nil
}
