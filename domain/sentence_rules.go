package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"flagledger/domain/evaluation"
)

func (c ObjectChange) segment() (string, error) {
	noun := "segment " + c.Object.Key
	if absent(c.Before) || absent(c.After) {
		return c.lifecycle("created", "deleted", noun), nil
	}
	var before, after Segment
	if err := read(c.Before, &before); err != nil {
		return "", err
	}
	if err := read(c.After, &after); err != nil {
		return "", err
	}
	if len(c.Differences) > 1 { // the revision counts the changes that are told
		c.Differences = slices.DeleteFunc(slices.Clone(c.Differences), func(d Difference) bool { return d.Path == "revision" })
	}
	n := nodes{many: manyRules(before.Rules) || manyRules(after.Rules), nouns: make(map[string]string)}
	n.collect(after.Rules, "", "")
	n.collect(before.Rules, "", "") // nodes are called by where they were
	return c.clauses(noun, noun, n.tell)
}

// manyRules tells whether a condition's place alone does not say which it is.
func manyRules(rules []evaluation.Rule) bool {
	return len(rules) > 1 || len(rules) == 1 && len(rules[0].Rules) > 0
}

// nodes are the rules and conditions of a segment.
type nodes struct {
	many  bool
	nouns map[string]string // such as "condition 3 of rule 1.2", by name
}

// collect names nodes by their places; number is that of the rule they are in.
func (n nodes) collect(rules []evaluation.Rule, number, owner string) {
	for i, r := range rules {
		number := strings.TrimPrefix(fmt.Sprintf("%s.%d", number, i+1), ".")
		rule := "rule " + number
		n.nouns[join("rules", r.ID)] = rule
		for i, c := range r.Conditions {
			n.nouns[join("conditions", c.ID)] = fmt.Sprintf("condition %d", i+1) + n.of(rule)
		}
		n.collect(r.Rules, number, rule)
	}
}

// of is " of rule 2", where there is more than one.
func (n nodes) of(rule string) string {
	if !n.many || rule == "" {
		return ""
	}
	return " of " + rule
}

// tell tells what happened to a rule or condition.
func (n nodes) tell(t thing, of string) (string, error) {
	noun := n.nouns[t.name]
	switch t.op {
	case OpAdded, OpRemoved:
		verb, preposition, value := "added", " to ", t.self.To
		if t.op == OpRemoved {
			verb, preposition, value = "removed", " from ", t.self.From
		}
		words, err := nodeWords(t.list(), value)
		if err != nil {
			return "", err
		}
		where := strings.TrimPrefix(n.of(n.nouns[t.owner])+of, " of ")
		if where != "" {
			where = preposition + where
		}
		return verb + " " + words + where, nil
	case OpMoved:
		if t.formerOwner == t.owner && t.self.FromPlace == t.self.ToPlace { // the others went around it
			return tell(noun, fmt.Sprintf("left %s%s at place %d", noun, of, t.self.ToPlace), t.differences), nil
		}
		to := fmt.Sprintf(" to place %d", t.self.ToPlace)
		if t.formerOwner != t.owner {
			rule := "the top level"
			if t.owner != "" {
				rule = n.nouns[t.owner]
			}
			to = fmt.Sprintf(" to %s, place %d", rule, t.self.ToPlace)
		}
		return tell(noun, "moved "+noun+of+to, t.differences), nil
	}
	return tell(noun+of, "", t.differences), nil
}

func nodeWords(list string, value json.RawMessage) (string, error) {
	if list == "conditions" {
		var c evaluation.Condition
		err := json.Unmarshal(value, &c)
		return "condition " + conditionWords(c), err
	}
	var r evaluation.Rule
	err := json.Unmarshal(value, &r)
	return "rule " + shorten(ruleWords(r)), err
}

// conditionWords tells a condition: email CONTAINS "@example.com".
func conditionWords(c evaluation.Condition) string {
	property := c.Property
	if property == "" {
		property = "identity"
	}
	words := property + " " + string(c.Operator)
	if c.Operator == evaluation.IsSet || c.Operator == evaluation.IsNotSet {
		return words
	}
	return words + " " + strconv.Quote(shorten(c.Value))
}

// ruleWords tells a rule: ALL (plan EQUAL "pro"; ANY (...)).
func ruleWords(r evaluation.Rule) string {
	var parts []string
	for _, c := range r.Conditions {
		parts = append(parts, conditionWords(c))
	}
	for _, r := range r.Rules {
		parts = append(parts, ruleWords(r))
	}
	return string(r.Type) + " (" + strings.Join(parts, "; ") + ")"
}
