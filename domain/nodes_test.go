package domain_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// all and anyOf make rules of conditions ("c1 country EQUAL US", the id may be
// left out) and of other rules.
func all(id string, parts ...any) evaluation.Rule   { return rule(id, evaluation.All, parts) }
func anyOf(id string, parts ...any) evaluation.Rule { return rule(id, evaluation.Any, parts) }

func rule(id string, kind evaluation.RuleType, parts []any) evaluation.Rule {
	r := evaluation.Rule{ID: id, Type: kind}
	for _, part := range parts {
		switch part := part.(type) {
		case evaluation.Rule:
			r.Rules = append(r.Rules, part)
		case string:
			words := strings.Fields(part)
			if len(words) == 3 {
				words = append([]string{""}, words...)
			}
			r.Conditions = append(r.Conditions, evaluation.Condition{ID: words[0], Property: words[1], Operator: evaluation.Operator(words[2]), Value: words[3]})
		}
	}
	return r
}

// ids writes the ids of rules: "r3(c1 c2 r4())".
func ids(rules []evaluation.Rule) string {
	var words []string
	for _, r := range rules {
		var parts []string
		for _, c := range r.Conditions {
			parts = append(parts, c.ID)
		}
		if nested := ids(r.Rules); nested != "" {
			parts = append(parts, nested)
		}
		words = append(words, r.ID+"("+strings.Join(parts, " ")+")")
	}
	return strings.Join(words, " ")
}

// The ids are those by which the history tells "moved" from "removed and added".
func TestNumberNodes(t *testing.T) {
	const us, ca, pro = "country EQUAL US", "country EQUAL CA", "plan EQUAL pro"
	old := []evaluation.Rule{all("r5", "c1 "+us, "c2 "+pro, anyOf("r6", "c3 age EQUAL 18", "c4 "+ca))}
	for name, test := range map[string]struct {
		old, rules []evaluation.Rule
		want       string
		last       int
	}{
		"new":                                 {nil, []evaluation.Rule{all("", us, pro, anyOf("", ca)), all("", pro)}, "r5(c1 c2 r6(c3)) r7(c4)", 7},
		"ids that come from elsewhere":        {nil, []evaluation.Rule{all("r9", "c8 "+us)}, "r2(c1)", 2},
		"as it was, with ids":                 {old, old, "r5(c1 c2 r6(c3 c4))", 6},
		"as it was, without ids":              {old, []evaluation.Rule{all("", us, pro, anyOf("", "age EQUAL 18", ca))}, "r5(c1 c2 r6(c3 c4))", 6},
		"another order":                       {old, []evaluation.Rule{all("", pro, us, anyOf("", ca, "age EQUAL 18"))}, "r5(c2 c1 r6(c4 c3))", 6},
		"another value":                       {old, []evaluation.Rule{all("", "country EQUAL MX", pro, anyOf("", "age EQUAL 18", ca))}, "r5(c1 c2 r6(c3 c4))", 6},
		"another operator":                    {old, []evaluation.Rule{all("", us, "plan IN pro,max", anyOf("", "age EQUAL 18", ca))}, "r5(c1 c2 r6(c3 c4))", 6},
		"another property":                    {old, []evaluation.Rule{all("", us, "tier EQUAL pro", anyOf("", "age EQUAL 18", ca))}, "r5(c1 c7 r6(c3 c4))", 7},
		"another property, with its id":       {old, []evaluation.Rule{all("", us, "c2 tier EQUAL pro", anyOf("", "age EQUAL 18", ca))}, "r5(c1 c2 r6(c3 c4))", 6},
		"one more":                            {old, []evaluation.Rule{all("", us, "beta EQUAL yes", pro, anyOf("", "age EQUAL 18", ca))}, "r5(c1 c7 c2 r6(c3 c4))", 7},
		"one of the same twice":               {old, []evaluation.Rule{all("", pro, pro)}, "r5(c2 c7)", 7},
		"one id sent twice":                   {old, []evaluation.Rule{all("r5", "c1 "+us, "c1 "+pro)}, "r5(c1 c2)", 6},
		"one removed":                         {old, []evaluation.Rule{all("", us, anyOf("", "age EQUAL 18", ca))}, "r5(c1 r6(c3 c4))", 6},
		"the exact match goes first":          {old, []evaluation.Rule{all("", "country EQUAL MX", pro, anyOf("", "age EQUAL 18", us))}, "r6(c4 c2 r5(c3 c1))", 6}, // as much of one as of the other
		"a condition to another group":        {old, []evaluation.Rule{all("", us, anyOf("", pro, "age EQUAL 18", ca))}, "r5(c1 r6(c2 c3 c4))", 6},
		"a group becomes a rule":              {old, []evaluation.Rule{all("", us, pro), anyOf("", "age EQUAL 18", ca)}, "r5(c1 c2) r6(c3 c4)", 6},
		"a group of another type":             {old, []evaluation.Rule{all("", us, pro, all("", "age EQUAL 18", ca))}, "r5(c1 c2 r6(c3 c4))", 6},
		"a group in a new group":              {old, []evaluation.Rule{all("", us, pro, anyOf("", anyOf("", "age EQUAL 18", ca)))}, "r5(c1 c2 r7(r6(c3 c4)))", 7},
		"a group that loses its condition":    {old, []evaluation.Rule{all("", us, pro, anyOf("", "beta EQUAL yes"))}, "r5(c1 c2 r6(c7))", 7},
		"a condition to the front of another": {[]evaluation.Rule{all("r5", "c1 a EQUAL 1", "c2 b EQUAL 2"), all("r6", "c3 c EQUAL 3", "c4 d EQUAL 4")}, []evaluation.Rule{all("", "c EQUAL 3", "a EQUAL 1", "b EQUAL 2"), all("", "d EQUAL 4")}, "r5(c3 c1 c2) r6(c4)", 6},
		"all new":                             {old, []evaluation.Rule{all("", "a EQUAL b")}, "r5(c7)", 7},
	} {
		last := 0
		if test.old != nil {
			last = 6
		}
		before := fmt.Sprint(test.rules)
		got, number := domain.NumberNodes(test.old, test.rules, last)
		if ids(got) != test.want || number != test.last {
			t.Errorf("%s: %s up to %d, want %s up to %d", name, ids(got), number, test.want, test.last)
		}
		if fmt.Sprint(test.rules) != before {
			t.Errorf("%s: the rules given were changed", name)
		}
	}
}

func drawRules(t *rapid.T, label string, depth int) []evaluation.Rule {
	rules := make([]evaluation.Rule, rapid.IntRange(1, 3).Draw(t, label))
	for i := range rules {
		r := &rules[i]
		r.ID = rapid.SampledFrom([]string{"", "r1", "r4", "r7"}).Draw(t, "id")
		r.Type = rapid.SampledFrom([]evaluation.RuleType{evaluation.All, evaluation.Any}).Draw(t, "type")
		for range rapid.IntRange(0, 3).Draw(t, "conditions") {
			r.Conditions = append(r.Conditions, evaluation.Condition{
				ID:       rapid.SampledFrom([]string{"", "c1", "c2", "c5"}).Draw(t, "id"),
				Property: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "property"), Operator: evaluation.Equal,
				Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value"),
			})
		}
		if depth > 1 && rapid.Bool().Draw(t, "nested") {
			r.Rules = drawRules(t, label, depth-1)
		}
	}
	return rules
}

// Over any edits: ids are unique in a segment, none is used again for something
// new, and what is not edited keeps all of its own.
func TestNodeIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var now []evaluation.Rule
		last := 0
		for range 4 {
			next, number := domain.NumberNodes(now, drawRules(t, "rules", 3), last)
			was := nodeIDs(now)
			seen := map[string]bool{}
			for _, id := range nodeIDs(next) {
				var n int
				if _, err := fmt.Sscanf(id[1:], "%d", &n); err != nil || seen[id] || n > number || n <= last && !slices.Contains(was, id) {
					t.Fatalf("id %s in %s: it is not new, not of %s, or there twice; numbers %d to %d", id, ids(next), ids(now), last+1, number)
				}
				seen[id] = true
			}
			if again, n := domain.NumberNodes(next, next, number); !domain.SameRules(again, next) || n != number {
				t.Fatalf("%s sent back becomes %s", ids(next), ids(again))
			}
			now, last = next, number
		}
	})
}

func nodeIDs(rules []evaluation.Rule) []string {
	return strings.FieldsFunc(ids(rules), func(r rune) bool { return strings.ContainsRune("() ", r) })
}

func TestSameRules(t *testing.T) {
	base := []evaluation.Rule{all("r2", "c1 a EQUAL 1", anyOf("r3", "c4 b EQUAL 2"))}
	for name, test := range map[string]struct {
		rules []evaluation.Rule
		want  bool
	}{
		"the same":        {[]evaluation.Rule{all("r2", "c1 a EQUAL 1", anyOf("r3", "c4 b EQUAL 2"))}, true},
		"another id":      {[]evaluation.Rule{all("r2", "c9 a EQUAL 1", anyOf("r3", "c4 b EQUAL 2"))}, false},
		"another type":    {[]evaluation.Rule{anyOf("r2", "c1 a EQUAL 1", anyOf("r3", "c4 b EQUAL 2"))}, false},
		"deeper down":     {[]evaluation.Rule{all("r2", "c1 a EQUAL 1", anyOf("r3", "c4 b EQUAL 3"))}, false},
		"less":            {[]evaluation.Rule{all("r2", "c1 a EQUAL 1")}, false},
		"nothing at all":  {nil, false},
		"empty, not none": {[]evaluation.Rule{{ID: "r2", Type: evaluation.All, Conditions: base[0].Conditions, Rules: append([]evaluation.Rule{}, base[0].Rules...)}}, true},
	} {
		if got := domain.SameRules(base, test.rules); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
