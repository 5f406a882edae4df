package domain

import (
	"slices"
	"strconv"
	"strings"

	"flagledger/domain/evaluation"
)

// NumberNodes gives every rule and condition of a segment's new rules an id.
// What stayed keeps the id it has in the old rules, so that the history can say
// which condition moved and whose value changed: first by the id it was sent
// with, then by being the same, then by having the same property and operator,
// then the same property. The rest gets numbers after last. It returns the
// numbered copy and the number last used.
func NumberNodes(old, rules []evaluation.Rule, last int) ([]evaluation.Rule, int) {
	n := &numbering{conditions: map[string]evaluation.Condition{}, rules: map[string]evaluation.Rule{}, parent: map[string]string{}, last: last}
	n.collect(old, "")
	numbered := cloneRules(rules)
	var conditions []*evaluation.Condition
	var groups []*evaluation.Rule
	walkRules(numbered, func(r *evaluation.Rule) {
		groups = append(groups, r)
		for i := range r.Conditions {
			conditions = append(conditions, &r.Conditions[i])
		}
	})
	n.keepConditions(conditions)
	n.keepRules(groups)
	for _, c := range conditions {
		if c.ID == "" {
			c.ID = n.next("c")
		}
	}
	for _, r := range groups {
		if r.ID == "" {
			r.ID = n.next("r")
		}
	}
	return numbered, n.last
}

// numbering is what is left to be matched of the old rules.
type numbering struct {
	conditions map[string]evaluation.Condition
	rules      map[string]evaluation.Rule
	order      []string          // ids of the old conditions, in their order
	ruleOrder  []string          // ids of the old rules, in their order
	parent     map[string]string // condition -> rule
	last       int
}

func (n *numbering) collect(rules []evaluation.Rule, parent string) {
	for _, r := range rules {
		n.rules[r.ID], n.ruleOrder = r, append(n.ruleOrder, r.ID)
		for _, c := range r.Conditions {
			n.conditions[c.ID], n.order, n.parent[c.ID] = c, append(n.order, c.ID), r.ID
		}
		n.collect(r.Rules, r.ID)
	}
}

// keepConditions lets the new conditions keep old ids, the surest matches first.
func (n *numbering) keepConditions(conditions []*evaluation.Condition) {
	for _, c := range conditions {
		if _, ok := n.conditions[c.ID]; ok {
			delete(n.conditions, c.ID)
		} else {
			c.ID = "" // unknown, or claimed by an earlier condition
		}
	}
	alike := []func(a, b evaluation.Condition) bool{
		func(a, b evaluation.Condition) bool {
			return a.Property == b.Property && a.Operator == b.Operator && a.Value == b.Value
		},
		func(a, b evaluation.Condition) bool { return a.Property == b.Property && a.Operator == b.Operator },
		func(a, b evaluation.Condition) bool { return a.Property == b.Property },
	}
	for _, same := range alike {
		for _, c := range conditions {
			if c.ID != "" {
				continue
			}
			i := slices.IndexFunc(n.order, func(id string) bool {
				old, free := n.conditions[id]
				return free && same(old, *c)
			})
			if i >= 0 {
				c.ID = n.order[i]
				delete(n.conditions, c.ID)
			}
		}
	}
}

// keepRules lets the new rules keep old ids: those sent, then those of the rule
// that held most of their conditions, then those of a rule of the same type.
func (n *numbering) keepRules(rules []*evaluation.Rule) {
	claim := func(r *evaluation.Rule, id string) {
		if _, free := n.rules[id]; free {
			delete(n.rules, id)
			r.ID = id
		}
	}
	for _, r := range rules {
		sent := r.ID
		r.ID = ""
		claim(r, sent)
	}
	type share struct {
		rule       *evaluation.Rule
		old        string
		conditions int // of the new rule that the old one held
	}
	var shares []share
	for _, r := range rules {
		first := len(shares)
		for _, c := range r.Conditions {
			if c.ID == "" {
				continue
			}
			i := slices.IndexFunc(shares[first:], func(s share) bool { return s.old == n.parent[c.ID] })
			if i < 0 {
				i = len(shares) - first
				shares = append(shares, share{rule: r, old: n.parent[c.ID]})
			}
			shares[first+i].conditions++
		}
	}
	slices.SortStableFunc(shares, func(a, b share) int { return b.conditions - a.conditions })
	for _, s := range shares {
		if s.rule.ID == "" {
			claim(s.rule, s.old)
		}
	}
	for _, r := range rules {
		for _, id := range n.ruleOrder {
			if r.ID == "" && n.rules[id].Type == r.Type {
				claim(r, id)
			}
		}
	}
}

func (n *numbering) next(prefix string) string {
	n.last++
	return prefix + strconv.Itoa(n.last)
}

func cloneRules(rules []evaluation.Rule) []evaluation.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Conditions = slices.Clone(rules[i].Conditions)
		rules[i].Rules = cloneRules(rules[i].Rules)
	}
	return rules
}

func walkRules(rules []evaluation.Rule, visit func(*evaluation.Rule)) {
	for i := range rules {
		visit(&rules[i])
		walkRules(rules[i].Rules, visit)
	}
}

// SameRules tells whether two sets of rules are the same, ids and order included.
func SameRules(a, b []evaluation.Rule) bool {
	return slices.EqualFunc(a, b, func(x, y evaluation.Rule) bool {
		return x.ID == y.ID && x.Type == y.Type && slices.Equal(x.Conditions, y.Conditions) && SameRules(x.Rules, y.Rules)
	})
}

// CheckRules refuses rules that cannot work, or on which SDKs in local
// evaluation would not agree with the server, naming each condition.
// What stays as it is in the recorded rules is not refused for the latter reason.
func (l Limits) CheckRules(rules, recorded []evaluation.Rule) error {
	if len(rules) == 0 {
		return RefuseField(Invalid, "rules", "a segment needs at least one rule; without one it matches nobody")
	}
	count, empty := 0, 0
	walkRules(rules, func(r *evaluation.Rule) {
		count++
		if len(r.Conditions)+len(r.Rules) == 0 {
			empty++
		}
	})
	if most := l.Conditions * l.RuleDepth; most > 0 && count > most { // more than all conditions could need
		return RefuseField(Invalid, "rules", "there are %d rules, at most %d are allowed (limits: conditions a segment, depth of rules)", count, most)
	}
	if empty > 0 {
		return RefuseField(Invalid, "rules", "%d of the rules have neither conditions nor rules, so that everybody would match them; leave them out", empty)
	}
	issues := evaluation.ValidateChange(rules, recorded, evaluation.Limits{Conditions: l.Conditions, Depth: l.RuleDepth, ValueBytes: l.ConditionBytes, TraitKey: l.TraitKeyLength})
	if len(issues) == 0 {
		return nil
	}
	e := &Error{Kind: Invalid, Field: issues[0].Path}
	var details []string
	for _, issue := range issues {
		e.Errors = append(e.Errors, FieldError{Field: issue.Path, Detail: issue.Detail, Fix: issue.Fix})
		details = append(details, issue.Path+": "+issue.Detail)
	}
	e.Detail = "the rules cannot be saved: " + strings.Join(details, "; ")
	return e
}
