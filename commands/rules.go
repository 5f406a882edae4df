package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// Rules are a segment's rules as a command gives them: trees of groups and
// conditions, or the compact form {"field", "operator", "values"}, of which each
// becomes a rule that must hold.
type Rules []evaluation.Rule

// compactRule is a rule in the compact form. Any of its values will do; with
// neq, semver_neq, not_in and not_contains none of them may. Each becomes the
// tree on which all engines agree, which for neq is not one of NOT_EQUAL.
type compactRule struct {
	Field    string   `json:"field"`
	Operator string   `json:"operator"`
	Values   []scalar `json:"values"`
}

// scalar is a value of a compact rule, as the text that conditions hold.
type scalar string

// UnmarshalJSON takes strings, numbers and booleans.
func (s *scalar) UnmarshalJSON(data []byte) error {
	var v evaluation.Value
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if v.IsNull() {
		return domain.RefuseField(domain.Invalid, "values", "null is not a value to compare with; not_in and a rule of IS_NOT_SET also match where the trait is missing")
	}
	*s = scalar(v.String())
	return nil
}

// compactOperator says what a compact operator becomes.
type compactOperator struct {
	operator evaluation.Operator
	group    evaluation.RuleType // of the conditions, one for each value
	suffix   string              // of each value
	present  bool                // the trait must be there, too
}

var compactOperators = map[string]compactOperator{
	"eq":           {operator: evaluation.Equal, group: evaluation.Any},
	"neq":          {operator: evaluation.Equal, group: evaluation.None, present: true},
	"contains":     {operator: evaluation.Contains, group: evaluation.Any},
	"not_contains": {operator: evaluation.Contains, group: evaluation.None, present: true},
	"gt":           {operator: evaluation.GreaterThan, group: evaluation.Any},
	"gte":          {operator: evaluation.GreaterThanInclusive, group: evaluation.Any},
	"lt":           {operator: evaluation.LessThan, group: evaluation.Any},
	"lte":          {operator: evaluation.LessThanInclusive, group: evaluation.Any},
	"regex":        {operator: evaluation.Regex, group: evaluation.Any},
	"semver_eq":    {operator: evaluation.Equal, group: evaluation.Any, suffix: ":semver"},
	"semver_neq":   {operator: evaluation.Equal, group: evaluation.None, suffix: ":semver", present: true},
	"semver_gt":    {operator: evaluation.GreaterThan, group: evaluation.Any, suffix: ":semver"},
	"semver_gte":   {operator: evaluation.GreaterThanInclusive, group: evaluation.Any, suffix: ":semver"},
	"semver_lt":    {operator: evaluation.LessThan, group: evaluation.Any, suffix: ":semver"},
	"semver_lte":   {operator: evaluation.LessThanInclusive, group: evaluation.Any, suffix: ":semver"},
	"in":           {operator: evaluation.In, group: evaluation.All},
	"not_in":       {operator: evaluation.In, group: evaluation.None}, // also holds where the trait is missing
}

// UnmarshalJSON reads both forms, also mixed.
func (r *Rules) UnmarshalJSON(data []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*r = make(Rules, len(raw))
	for i, one := range raw {
		var form struct{ Field *string }
		if json.Unmarshal(one, &form) == nil && form.Field != nil {
			var c compactRule
			if err := strict(one, &c); err != nil {
				return inRule(err, i)
			}
			rule, err := c.rule()
			if err != nil {
				return inRule(err, i)
			}
			(*r)[i] = rule
			continue
		}
		if err := strict(one, &(*r)[i]); err != nil {
			return inRule(err, i)
		}
	}
	return nil
}

// inRule says which rule a refusal is about.
func inRule(err error, i int) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok {
		return err
	}
	e := *refusal
	e.Field = fmt.Sprintf("rules[%d]", i)
	if refusal.Field != "" {
		e.Field += "." + refusal.Field
	}
	return &e
}

func (c compactRule) rule() (evaluation.Rule, error) {
	op, ok := compactOperators[c.Operator]
	if !ok {
		return evaluation.Rule{}, domain.RefuseField(domain.Invalid, "operator", "%q is not an operator of the compact form", c.Operator)
	}
	if len(c.Values) == 0 {
		return evaluation.Rule{}, domain.RefuseField(domain.Invalid, "values", "there is no value to compare with")
	}
	rule := evaluation.Rule{Type: op.group}
	if op.operator == evaluation.In {
		list, err := json.Marshal(c.Values)
		if err != nil {
			return rule, fmt.Errorf("encode values: %w", err)
		}
		rule.Conditions = []evaluation.Condition{{Property: c.Field, Operator: op.operator, Value: string(list)}}
		return rule, nil
	}
	for _, v := range c.Values {
		condition := evaluation.Condition{Property: c.Field, Operator: op.operator, Value: string(v) + op.suffix}
		if guard, ok := evaluation.BesideText(condition); ok {
			rule.Rules = append(rule.Rules, evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{guard, condition}})
			continue
		}
		rule.Conditions = append(rule.Conditions, condition)
		if whole, ok := evaluation.BesideFraction(condition); ok {
			rule.Conditions = append(rule.Conditions, whole)
		}
	}
	switch {
	case len(rule.Rules) == 1 && len(rule.Conditions) == 0:
		return rule.Rules[0], nil
	case len(rule.Rules) > 0 && len(rule.Conditions) > 0: // a rule's conditions and rules must both hold
		rule.Rules = append(rule.Rules, evaluation.Rule{Type: rule.Type, Conditions: rule.Conditions})
		rule.Conditions = nil
	}
	if op.present {
		isSet := evaluation.Condition{Property: c.Field, Operator: evaluation.IsSet}
		rule = evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{isSet}, Rules: []evaluation.Rule{rule}}
	}
	return rule, nil
}

// checkRules refuses rules that cannot be saved in the place of the recorded ones.
func checkRules(p *domain.Project, in *Inputs, rules, recorded []evaluation.Rule) error {
	if err := in.Limits.CheckRules(rules, recorded); err != nil {
		return err
	}
	return p.CheckContexts(rules)
}

// checkAllRules refuses a change of the declarations that rules contradict.
func checkAllRules(p *domain.Project, change func(*domain.Project)) error {
	next := *p
	change(&next)
	var users []string
	var shown []domain.Shown
	uses := func(what string, o domain.Object, rules []evaluation.Rule) error {
		err := next.CheckContexts(rules)
		if err == nil || p.CheckContexts(rules) != nil {
			return nil
		}
		users = append(users, fmt.Sprintf("%s (%s)", what, err))
		image, err := json.Marshal(p.Get(o))
		shown = append(shown, domain.Shown{Object: o, Image: image})
		return err
	}
	for key, s := range p.Segments.All() {
		if err := uses("segment "+key, domain.Object{Kind: domain.KindSegment, Key: key}, s.Rules); err != nil {
			return fmt.Errorf("encode segment %s: %w", key, err)
		}
	}
	for _, env := range p.Environments.All() {
		for key, pin := range env.SegmentPins.All() {
			o := domain.Object{Kind: domain.KindSegmentPin, Environment: env.Key, Key: key}
			if err := uses(fmt.Sprintf("segment %s as pinned in %s", key, env.Key), o, pin.Rules); err != nil {
				return fmt.Errorf("encode segment %s as pinned in %s: %w", key, env.Key, err)
			}
		}
	}
	if len(users) > 0 {
		e := domain.Refuse(domain.Conflict, "rules contradict this: %s", someOf(users))
		e.Shows = shown[:min(len(shown), few)]
		return e
	}
	return nil
}

// SetContext declares a trait of the project's identities, or replaces its
// declaration.
type SetContext struct {
	Key         string             `json:"key"`
	Type        domain.ContextType `json:"type"`
	Description string             `json:"description"`
	Owner       string             `json:"owner"`
	Allowed     []evaluation.Value `json:"allowed"`
	Privacy     domain.Privacy     `json:"privacy"` // public where left out
	Required    bool               `json:"required"`
}

// Needs implements Command.
func (SetContext) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c SetContext) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if c.Key == "" || len([]rune(c.Key)) > in.Limits.TraitKeyLength {
		return nil, domain.RefuseField(domain.Invalid, "key", "a trait's key has 1 to %d characters", in.Limits.TraitKeyLength)
	}
	if err := checkTexts(in, "key", c.Key, "description", c.Description, "owner", c.Owner); err != nil {
		return nil, err
	}
	switch c.Type {
	case domain.StringContext, domain.IntegerContext, domain.NumberContext, domain.BooleanContext, domain.SemverContext, domain.DatetimeContext:
	default:
		return nil, domain.RefuseField(domain.Invalid, "type", "%q is not a type; there are string, integer, number, boolean, semver, datetime", c.Type)
	}
	if c.Privacy == "" {
		c.Privacy = domain.Public
	}
	switch c.Privacy {
	case domain.Public, domain.Personal, domain.Sensitive:
	default:
		return nil, domain.RefuseField(domain.Invalid, "privacy", "%q is not a class; there are public, personal, sensitive", c.Privacy)
	}
	for i, v := range c.Allowed {
		if !c.Type.Holds(v) {
			return nil, domain.RefuseField(domain.Invalid, fmt.Sprintf("allowed[%d]", i), "%s is not a value of type %s", v.String(), c.Type)
		}
	}
	e := domain.ContextSet{Key: c.Key, Type: c.Type, Description: c.Description, Owner: c.Owner, Allowed: c.Allowed, Privacy: c.Privacy, Required: c.Required}
	if now := p.Contexts.Get(c.Key); now != nil && now.Type == e.Type && now.Description == e.Description && now.Owner == e.Owner &&
		slices.Equal(now.Allowed, e.Allowed) && now.Privacy == e.Privacy && now.Required == e.Required {
		return nil, nil
	}
	err := checkAllRules(p, func(q *domain.Project) {
		q.Contexts = q.Contexts.Set(c.Key, &domain.Context{Key: e.Key, Type: e.Type, Allowed: e.Allowed, Privacy: e.Privacy, Required: e.Required})
	})
	return []domain.Event{e}, err
}

// RemoveContext takes the declaration of a trait away.
type RemoveContext struct {
	Key string `json:"key"`
}

// Needs implements Command.
func (RemoveContext) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c RemoveContext) Decide(p *domain.Project, _ *Inputs) ([]domain.Event, error) {
	if err := exists(p); err != nil {
		return nil, err
	}
	if p.Contexts.Get(c.Key) == nil {
		return nil, domain.RefuseField(domain.NotFound, "context", "project %q does not declare a trait %q", p.Key, c.Key)
	}
	err := checkAllRules(p, func(q *domain.Project) { q.Contexts = q.Contexts.Delete(c.Key) })
	return []domain.Event{domain.ContextRemoved{Key: c.Key}}, err
}
