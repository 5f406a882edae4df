package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func kindOf(err error) domain.Kind {
	if e, ok := errors.AsType[*domain.Error](err); ok {
		return e.Kind
	}
	return ""
}

func TestCheckKey(t *testing.T) {
	for key, ok := range map[string]bool{
		"a": true, "A-z_0.9": true, "...a": true, "-": true, strings.Repeat("k", 150): true,
		"": false, ".": false, "..": false, "a b": false, "a/b": false, "é": false, "a\n": false, "a\x00": false, strings.Repeat("k", 151): false,
	} {
		err := domain.CheckKey("key", key)
		if (err == nil) != ok || err != nil && (kindOf(err) != domain.Invalid || !strings.HasPrefix(err.Error(), "key: ")) {
			t.Errorf("key %q: error %v, want ok %t", key, err, ok)
		}
	}
}

func TestCheckText(t *testing.T) {
	limits := domain.DefaultLimits()
	for text, want := range map[string]domain.Kind{
		"": "", "two\nlines\tand a tab": "", "Ünïcödé €": "", strings.Repeat("é", limits.TextLength): "",
		strings.Repeat("é", limits.TextLength+1): domain.LimitReached,
		"bell\a": domain.Malformed, "nul\x00": domain.Malformed, "\x7f": domain.Malformed, "not \xff UTF-8": domain.Malformed,
	} {
		if err := limits.CheckText("reason", text); kindOf(err) != want {
			t.Errorf("text %.20q: error %v, want %q", text, err, want)
		}
	}
}

func TestCheckRules(t *testing.T) {
	limits := domain.DefaultLimits()
	limits.Conditions, limits.RuleDepth, limits.ConditionBytes = 3, 2, 10
	condition := func(operator evaluation.Operator, value string) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: "p", Operator: operator, Value: value}}}
	}
	in := func(rules ...evaluation.Rule) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.Any, Rules: rules}
	}
	for name, test := range map[string]struct {
		rules []evaluation.Rule
		field string // of the first finding; empty: none
		want  string
		more  int // findings beside the first
	}{
		"fine":                {rules: []evaluation.Rule{condition(evaluation.Equal, "a"), in(condition(evaluation.In, "a,b"))}},
		"none":                {field: "rules", want: "at least one rule"},
		"too many conditions": {rules: []evaluation.Rule{condition("EQUAL", "a"), condition("EQUAL", "b"), in(condition("EQUAL", "c"), condition("EQUAL", "d"))}, field: "rules", want: "4 conditions, at most 3"},
		"too deep":            {rules: []evaluation.Rule{in(in(condition("EQUAL", "a")))}, field: "rules[0].rules[0].rules[0]", want: "at most 2"},
		"too many rules":      {rules: slices.Repeat([]evaluation.Rule{{Type: evaluation.All}}, 7), field: "rules", want: "7 rules, at most 6"},
		"no such trait":       {rules: []evaluation.Rule{{Type: "ALL", Conditions: []evaluation.Condition{{Property: strings.Repeat("é", 201), Operator: "IS_SET"}}}}, field: "rules[0].conditions[0]", want: "201 characters, at most 200"},
		"nor by its path":     {rules: []evaluation.Rule{{Type: "ALL", Conditions: []evaluation.Condition{{Property: "$.identity.traits." + strings.Repeat("x", 201), Operator: "IS_SET"}}}}, field: "rules[0].conditions[0]", want: "201 characters, at most 200"},
		"the longest trait":   {rules: []evaluation.Rule{{Type: "ALL", Conditions: []evaluation.Condition{{Property: "$.identity.traits." + strings.Repeat("x", 200), Operator: "IS_SET"}}}}},
		"too long":            {rules: []evaluation.Rule{condition("EQUAL", "12345678901")}, field: "rules[0].conditions[0]", want: "11 bytes, at most 10"},
		"two that cannot work": {
			rules: []evaluation.Rule{condition("REGEX", "["), in(condition("EQUAL", "a"), condition("MODULO", "0|0"))},
			field: "rules[0].conditions[0]", want: "rules[1].rules[1].conditions[0]: ", more: 1,
		},
	} {
		err := limits.CheckRules(test.rules, nil)
		if test.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Kind != domain.Invalid || e.Field != test.field || !strings.Contains(e.Detail, test.want) || len(e.Errors) > 0 && len(e.Errors) != test.more+1 {
			t.Errorf("%s: %#v, want field %s, %q and %d more", name, e, test.field, test.want, test.more)
		}
	}
}

func TestSetLimits(t *testing.T) {
	limits, want := domain.DefaultLimits(), domain.DefaultLimits()
	want.Features, want.TextLength = 20_000, 1
	if err := limits.Set(map[string]int{"features": 20_000, "text-length": 1}); err != nil || limits != want {
		t.Errorf("limits %+v, error %v", limits, err)
	}
	for name, n := range map[string]int{"feature": 1, "features": 0, "traits": -1, "text-length": 8_001, "trait-key-length": 8_001} {
		if err := limits.Set(map[string]int{name: n}); kindOf(err) != domain.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%d: error %v", name, n, err)
		}
	}
	// Every limit has a name.
	one := map[string]int{}
	for _, name := range []string{"features", "segments", "environments", "conditions", "rule-depth", "condition-bytes", "value-length", "identifier-length", "trait-key-length", "trait-length", "traits", "variants", "text-length"} {
		one[name] = 1
	}
	if err := limits.Set(one); err != nil || limits != (domain.Limits{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}) {
		t.Errorf("limits %+v, error %v", limits, err)
	}
}
