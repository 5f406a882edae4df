package commands_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// Whatever is sent as rules is refused, or means what it says: the trees come back as they were sent, and a compact rule
// of several values holds where those of its values do.
func FuzzRules(f *testing.F) {
	for _, rules := range []string{
		`[{"field":"p","operator":"neq","values":["a",1,true]},{"type":"NONE","rules":[{"type":"ANY"}]}]`,
		`[{"field":"p","operator":"in","values":["a,b","007"]}]`, `[{"field":"p","operator":"not_in","values":[5,5.0]}]`,
		`[{"field":"p","operator":"semver_lt","values":["1.2.3","2.0.0-rc.1"]}]`, `[{"field":"p","operator":"gte","values":[-1.5e3]}]`,
		`[{"field":"","operator":"regex","values":["^a","["]}]`, `[{"field":"p","operator":"contains","values":[null]}]`,
		`[{"field":"p","operator":"eq","values":["a"],"type":"ALL"}]`, `[{"Field":"p"}]`, `[null]`, `null`, `{}`,
	} {
		for _, trait := range []string{`"a"`, `"1.3.0"`, "5", "null", "true"} {
			f.Add(rules, trait)
		}
	}
	limits := domain.DefaultLimits()
	f.Fuzz(func(t *testing.T, data, trait string) {
		var rules commands.Rules
		if err := commands.Decode([]byte(data), &rules); err != nil {
			if e, ok := errors.AsType[*domain.Error](err); !ok || e.Detail == "" || e.Kind != domain.Malformed && e.Kind != domain.Invalid {
				t.Errorf("%q: error %#v", data, err)
			}
			return
		}
		tree, err := json.Marshal([]evaluation.Rule(rules))
		if err != nil {
			t.Fatal(err)
		}
		var again commands.Rules
		if err := commands.Decode(tree, &again); err != nil || !domain.SameRules(again, rules) {
			t.Errorf("%q: read as %s, then as %v, %v", data, tree, again, err)
		}
		refused := limits.CheckRules(rules, nil)
		if _, err := evaluation.CompileSegment(evaluation.Segment{Key: "1", Rules: rules}); err != nil && refused == nil {
			t.Errorf("%q: not refused, but: %v", data, err)
		}

		var compact []struct {
			Field, Operator string
			Values          []json.RawMessage
		}
		var value evaluation.Value
		if json.Unmarshal([]byte(data), &compact) != nil || value.UnmarshalJSON([]byte(trait)) != nil {
			return
		}
		for i, c := range compact {
			if len(c.Values) == 0 || refused != nil {
				continue // a tree, or what cannot be saved
			}
			var each []bool
			for _, v := range c.Values {
				one, err := json.Marshal([]any{map[string]any{"field": c.Field, "operator": c.Operator, "values": []json.RawMessage{v}}})
				if err != nil {
					t.Fatal(err)
				}
				var rule commands.Rules
				if err := commands.Decode(one, &rule); err != nil {
					t.Fatalf("%s of %q: %v", one, data, err)
				}
				each = append(each, holds(t, rule, c.Field, value))
			}
			want := slices.Contains(each, true)
			if slices.Contains([]string{"neq", "not_in", "not_contains", "semver_neq"}, c.Operator) {
				want = !slices.Contains(each, false)
			}
			if got := holds(t, rules[i:i+1], c.Field, value); got != want {
				t.Errorf("%q of %s: %v, of its values alone %v", data, trait, got, each)
			}
		}
	})
}

// holds tells whether somebody with the trait is in the segment of the rules.
func holds(t *testing.T, rules []evaluation.Rule, trait string, value evaluation.Value) bool {
	t.Helper()
	s, err := evaluation.CompileSegment(evaluation.Segment{Key: "1", Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	env := evaluation.NewEnvironment("env", "Production", nil, []*evaluation.CompiledSegment{s})
	return len(env.Segments(&evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: trait, Value: value}}})) == 1
}
