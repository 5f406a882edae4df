package commands_test

import (
	"encoding/json"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestContext(t *testing.T) {
	country := commands.SetContext{Key: "country", Type: domain.StringContext, Description: "d", Owner: "ana", Allowed: []evaluation.Value{evaluation.String("US")}, Privacy: domain.Personal, Required: true}
	set := func(key string, kind domain.ContextType, allowed ...evaluation.Value) commands.SetContext {
		return commands.SetContext{Key: key, Type: kind, Allowed: allowed}
	}
	strict := commands.UpdateProject{StrictContexts: new(true)}
	declared := []commands.Command{set("country", domain.StringContext), set("email", domain.StringContext), strict}
	run(t, map[string]scenario{
		"declare":                       {when: country, then: []string{`context.set.v1 {"key":"country","type":"string","description":"d","owner":"ana","allowed":["US"],"privacy":"personal","required":true}`}},
		"declare the least":             {when: set("any thing/at:all", domain.NumberContext), then: []string{`context.set.v1 {"key":"any thing/at:all","type":"number","privacy":"public"}`}},
		"declare anew":                  {given: []commands.Command{country}, when: set("country", domain.StringContext), then: []string{`context.set.v1 {"key":"country","type":"string","privacy":"public"}`}},
		"declare no allowed values":     {given: []commands.Command{set("plan", domain.StringContext)}, when: set("plan", domain.StringContext, []evaluation.Value{}...)},
		"declare nothing":               {when: set("", domain.StringContext), refused: "invalid key: a trait's key has 1 to 200 characters"},
		"declare a bell":                {when: set("\a", domain.StringContext), refused: "malformed key: "},
		"declare another type":          {when: set("plan", "colour"), refused: `invalid type: "colour" is not a type`},
		"declare another class":         {when: commands.SetContext{Key: "plan", Type: domain.StringContext, Privacy: "secret"}, refused: `invalid privacy: "secret" is not a class`},
		"declare a value of other type": {when: set("plan", domain.StringContext, evaluation.String("a"), evaluation.Int(1)), refused: "invalid allowed[1]: 1 is not a value of type string"},
		"declare against a rule":        {when: set("country", domain.StringContext, evaluation.String("CA")), refused: `conflict : rules contradict this: segment us (rules[0].conditions[0]: the value "US" is not among the allowed values`},
		"declare another type of rules": {when: set("country", domain.IntegerContext), refused: "conflict : rules contradict this: segment us"},
		"a rule against a declaration":  {given: []commands.Command{country}, when: commands.CreateSegment{Key: "new", Rules: when("country", evaluation.Equal, "CA")}, refused: "invalid rules[0].conditions[0]: not among the allowed values"},
		"an update against it":          {given: []commands.Command{country}, when: commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))}, refused: "invalid rules[0].conditions[0]: not among"},
		"an undeclared trait":           {given: declared, when: commands.CreateSegment{Key: "new", Rules: when("plan", evaluation.Equal, "pro")}, refused: `invalid rules[0].conditions[0]: the trait "plan" is not declared, and the project is strict`},
		"remove":                        {given: []commands.Command{country}, again: true, when: commands.RemoveContext{Key: "country"}, then: []string{`context.removed.v1 {"key":"country"}`}},
		"remove what is not declared":   {when: commands.RemoveContext{Key: "country"}, refused: `not_found context: project "shop" does not declare a trait "country"`},
		"remove under a strict project": {given: declared, when: commands.RemoveContext{Key: "country"}, refused: "conflict : rules contradict this: segment us"},
	})
}

// Both forms of rules come to the same, also mixed.
func TestRulesJSON(t *testing.T) {
	for input, want := range map[string]string{
		`[]`: `[]`,
		`[{"type":"ANY","conditions":[{"property":"p","operator":"IS_SET","value":""}]}]`: `[{"type":"ANY","conditions":[{"property":"p","operator":"IS_SET","value":""}]}]`,
		`[{"field":"p","operator":"eq","values":["a"]}]`:                                  `[{"type":"ANY","conditions":[{"property":"p","operator":"EQUAL","value":"a"}]}]`,
		`[{"field":"p","operator":"neq","values":["a",1,true]}]`:                          `[{"type":"ALL","conditions":[{"property":"p","operator":"IS_SET","value":""}],"rules":[{"type":"NONE","conditions":[{"property":"p","operator":"EQUAL","value":"a"},{"property":"p","operator":"EQUAL","value":"1"},{"property":"p","operator":"EQUAL","value":"true"}]}]}]`,
		`[{"field":"p","operator":"not_contains","values":["a"]}]`:                        `[{"type":"ALL","conditions":[{"property":"p","operator":"IS_SET","value":""}],"rules":[{"type":"NONE","conditions":[{"property":"p","operator":"CONTAINS","value":"a"}]}]}]`,
		`[{"field":"p","operator":"lt","values":[4.5,2]}]`:                                `[{"type":"ANY","conditions":[{"property":"p","operator":"LESS_THAN","value":"4.5"},{"property":"p","operator":"LESS_THAN_INCLUSIVE","value":"4"},{"property":"p","operator":"LESS_THAN","value":"2"}]}]`,
		`[{"field":"p","operator":"eq","values":["a",null]}]`:                             `invalid rules[0].values: null is not a value to compare with`,
		`[{"field":"p","operator":"lt","values":["m"]}]`:                                  `[{"type":"ALL","conditions":[{"property":"p","operator":"REGEX","value":"^[^-0-9]"},{"property":"p","operator":"LESS_THAN","value":"m"}]}]`,
		`[{"field":"p","operator":"gte","values":["2024-01-31T00:00:00Z",7]}]`:            `[{"type":"ANY","rules":[{"type":"ALL","conditions":[{"property":"p","operator":"REGEX","value":"^[0-9]+[^.0-9eE]"},{"property":"p","operator":"GREATER_THAN_INCLUSIVE","value":"2024-01-31T00:00:00Z"}]},{"type":"ANY","conditions":[{"property":"p","operator":"GREATER_THAN_INCLUSIVE","value":"7"}]}]}]`,
		`[{"field":"p","operator":"semver_gte","values":["4.2.0"]}]`:                      `[{"type":"ANY","conditions":[{"property":"p","operator":"GREATER_THAN_INCLUSIVE","value":"4.2.0:semver"}]}]`,
		`[{"field":"p","operator":"in","values":["a,b","c"]}]`:                            `[{"type":"ALL","conditions":[{"property":"p","operator":"IN","value":"[\"a,b\",\"c\"]"}]}]`,
		`[{"field":"p","operator":"not_in","values":["a"]},{"type":"ALL"}]`:               `[{"type":"NONE","conditions":[{"property":"p","operator":"IN","value":"[\"a\"]"}]},{"type":"ALL"}]`,
		`[{"field":"p","operator":"like","values":["a"]}]`:                                `invalid rules[0].operator: "like" is not an operator of the compact form`,
		`[{"type":"ALL"},{"field":"p","operator":"eq","values":[]}]`:                      `invalid rules[1].values: there is no value to compare with`,
		`[{"field":"p","operator":"eq","values":[1000000000000000000000000000000]}]`:      `malformed [0]: this cannot be read: value 1000000000000000000000000000000: not an integer of 64 bits, at line 1`,
		`[{"field":"p","operator":"eq"}]`:                                                 `invalid rules[0].values: there is no value`,
	} {
		var rules commands.Rules
		if err := commands.Decode([]byte(input), &rules); err != nil {
			if !refuses(err, want) {
				t.Errorf("%s\n got %s\nwant %s", input, refusal(err), want)
			}
			continue
		}
		got, err := json.Marshal(rules)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s\n got %s\nwant %s", input, got, want)
		}
	}
}
