package evaluation_test

import (
	"testing"

	"flagledger/domain/evaluation"
)

// Rules join their conditions and their sub-rules by the same word; the engines' own suite has few of these.
func TestRules(t *testing.T) {
	const all, some, none = evaluation.All, evaluation.Any, evaluation.None
	holds := evaluation.Condition{Property: "x", Operator: evaluation.IsSet}
	fails := evaluation.Condition{Property: "x", Operator: evaluation.IsNotSet}
	rule := func(joined evaluation.RuleType, parts ...any) evaluation.Rule {
		r := evaluation.Rule{Type: joined}
		for _, p := range parts {
			switch p := p.(type) {
			case evaluation.Condition:
				r.Conditions = append(r.Conditions, p)
			case evaluation.Rule:
				r.Rules = append(r.Rules, p)
			}
		}
		return r
	}
	yes, no := rule(all, holds), rule(all, fails)
	tests := []struct {
		name  string
		rules []evaluation.Rule
		want  bool
	}{
		{"no rules", nil, false},
		{"empty ALL", []evaluation.Rule{rule(all)}, true},
		{"empty ANY", []evaluation.Rule{rule(some)}, true},
		{"empty NONE", []evaluation.Rule{rule(none)}, true},
		{"ALL, all hold", []evaluation.Rule{rule(all, holds, holds)}, true},
		{"ALL, one fails", []evaluation.Rule{rule(all, holds, fails)}, false},
		{"ANY, one holds", []evaluation.Rule{rule(some, fails, holds)}, true},
		{"ANY, none holds", []evaluation.Rule{rule(some, fails, fails)}, false},
		{"NONE, none holds", []evaluation.Rule{rule(none, fails, fails)}, true},
		{"NONE, one holds", []evaluation.Rule{rule(none, fails, holds)}, false},
		{"ALL of sub-rules", []evaluation.Rule{rule(all, yes, no)}, false},
		{"ANY of sub-rules", []evaluation.Rule{rule(some, no, yes)}, true},
		{"ANY of failing sub-rules", []evaluation.Rule{rule(some, no, no)}, false},
		{"NONE of sub-rules", []evaluation.Rule{rule(none, no, yes)}, false},
		{"NONE of failing sub-rules", []evaluation.Rule{rule(none, no, no)}, true},
		{"ANY needs its conditions and its sub-rules", []evaluation.Rule{rule(some, holds, no)}, false},
		{"ANY with a condition and a sub-rule that hold", []evaluation.Rule{rule(some, fails, holds, no, yes)}, true},
		{"NONE with a failing condition and a sub-rule that holds", []evaluation.Rule{rule(none, fails, yes)}, false},
		{"an empty sub-rule holds", []evaluation.Rule{rule(none, rule(some))}, false},
		{"all rules of a segment count, whatever their types", []evaluation.Rule{rule(some, fails, holds), rule(none, fails), yes}, true},
		{"one rule of a segment fails", []evaluation.Rule{rule(some, fails, holds), rule(none, holds), yes}, false},
		{"five deep", []evaluation.Rule{rule(all, rule(some, no, rule(none, rule(all, yes, rule(some, fails, fails)))))}, true},
	}
	id := &evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: "x", Value: text("1")}}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := memberOf(t, id, tt.rules...); got != tt.want {
				t.Errorf("member: %v", got)
			}
		})
	}
}

// Where the value of a property comes from.
func TestProperties(t *testing.T) {
	id := &evaluation.Identity{Identifier: "007", Key: "key 1", Traits: []evaluation.Trait{
		{Key: "plan", Value: text("first")}, {Key: "plan", Value: text("pro")},
		{Key: "it's", Value: text("quoted")}, {Key: "a.b", Value: text("dotted")}, {Key: "tamaño", Value: text("grande")},
		{Key: "", Value: text("blank")}, {Key: "null", Value: null},
		{Key: "$.identity.traits.shadowed", Value: text("literal")}, {Key: "shadowed", Value: text("selected")},
		{Key: "$.identity.traits.unshadowed", Value: null}, {Key: "unshadowed", Value: text("selected")},
		{Key: "$.not a path", Value: text("literal")}, {Key: "$.identity", Value: text("literal")},
		{Key: "$.identity.traits.*", Value: text("literal")},
	}}
	tests := []struct {
		property, want string // "" for missing
	}{
		{"plan", "pro"},
		{"Plan", ""},
		{"null", ""},
		{"$.identity.identifier", "7"},
		{"$.identity.key", "key 1"},
		{"$.environment.key", "env"},
		{"$.environment.name", "Production"},
		{"$.identity.traits.plan", "pro"},
		{"$.identity.traits['plan']", "pro"},
		{`$.identity.traits["plan"]`, "pro"},
		{`$.identity['traits'] [ "plan" ]`, "pro"},
		{"$.identity.traits['it\\'s']", "quoted"},
		{`$.identity.traits["it's"]`, "quoted"},
		{`$.identity.traits["it\'s"]`, ""},
		{"$.identity.traits['a.b']", "dotted"},
		{"$.identity.traits.a.b", ""},
		{"$.identity.traits.tamaño", "grande"},
		{`$.identity.traits['tama\u00f1o']`, "grande"},
		{"$.identity.traits.shadowed", "literal"},
		{"$.identity.traits.unshadowed", "selected"},
		{"$.not a path", "literal"},
		{"$.identity", "literal"},
		{"$.identity.traits.*", "literal"},
		{"$.identity.traits", ""},
		{"$.environment", ""},
		{"$.environment.id", ""},
		{"$.identity.traits.plan.x", ""},
		{"$.leads.to.nowhere", ""},
		{"$.", ""},
		{"$", ""},
		{"", ""},
	}
	for _, tt := range tests {
		condition := evaluation.Condition{Property: tt.property, Operator: evaluation.IsNotSet}
		if tt.want != "" {
			condition.Operator, condition.Value = evaluation.Equal, tt.want
		}
		if !memberOf(t, id, evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{condition}}) {
			t.Errorf("%s is not %q", tt.property, tt.want)
		}
	}
}

// Paths of RFC 9535 and what only looks like them, by whether they find the trait.
func TestPathSyntax(t *testing.T) {
	for path, trait := range map[string]string{
		"$.identity.traits._a1":                   "_a1",
		"$.identity.traits.日本":                    "日本",
		"$.identity.traits.😀":                     "😀",
		"$.identity\n.traits\t['x']":              "x",
		`$.identity.traits['\ud83d\ude00']`:       "😀",
		`$.identity.traits['\b\f\n\r\t\/\\\'"']`:  "\b\f\n\r\t/\\'\"",
		`$.identity.traits["\b\f\n\r\t\/\\'\""]`:  "\b\f\n\r\t/\\'\"",
		"$.identity.traits['']":                   "",
		`$.identity.traits['[$the.size$]']`:       "[$the.size$]",
		"$.identity.traits['x' ]":                 "x",
		`$.identity.traits['x"\u0022']`:           `x""`,
		`$.identity.traits['\uFFFD\uABCD\uabcd']`: "\ufffd\uabcd\uabcd",
	} {
		if !pathFinds(t, path, trait) {
			t.Errorf("%q does not find %q", path, trait)
		}
	}
	for path, trait := range map[string]string{
		"$.identity.traits.1a":              "1a",
		"$.identity.traits.a-b":             "a-b",
		"$.identity.traits. x":              "x",
		"$.identity.traits.x ":              "x",
		"$.identity.traits['x'":             "x",
		"$.identity.traits['x']]":           "x",
		"$.identity.traits['x":              "x",
		"$.identity.traits[x]":              "x",
		"$.identity.traits[ ":               "x",
		"$.identity.traits.x.":              "x",
		"$.identity..traits.x":              "x",
		"$.identity.traits['\x01']":         "\x01",
		"$.identity.traits['\xff']":         "\xff",
		"$.identity.traits.\xff":            "\xff",
		`$.identity.traits['\x']`:           "x",
		`$.identity.traits['\"']`:           `"`,
		`$.identity.traits['\`:              "",
		`$.identity.traits['\u12']`:         "\x12",
		`$.identity.traits['\u+123']`:       "\u0123",
		`$.identity.traits['\ud83d']`:       "\ufffd",
		`$.identity.traits['\ud83dx']`:      "\ufffdx",
		`$.identity.traits['\ud83d\u0041']`: "\ufffdA",
		`$.identity.traits['\ude00\ud83d']`: "\ufffd\ufffd",
		`$.identity.traits['x','y']`:        "x",
		"$.identity.traits['x'].y":          "x",
		"$.Identity.traits.x":               "x",
		"$.identity.traits[0]":              "0",
		"$.identity.traits[?@ == 'x']":      "x",
	} {
		if pathFinds(t, path, trait) {
			t.Errorf("%q finds %q", path, trait)
		}
	}
}

func pathFinds(t *testing.T, path, trait string) bool {
	return memberOf(t, &evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: trait, Value: yes}}},
		evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: path, Operator: evaluation.IsSet}}})
}

// The buckets are those of all other engines; Explain shows them.
func TestPercentageSplit(t *testing.T) {
	tests := []struct {
		name, salt, property string
		id                   evaluation.Identity
		want                 float64
	}{
		{"identity key", "78986", "", evaluation.Identity{Identifier: "foobar", Key: "test_env_foobar"}, 54.53090618123625},
		{"number-like key", "78986", "", evaluation.Identity{Key: "32103813"}, 49.27985597119424},
		{"composed key", "1", "", evaluation.Identity{Identifier: "1"}, 24.45489097819564},
		{"path to the key", "78986", "$.identity.key", evaluation.Identity{Key: "test_env_foobar"}, 54.53090618123625},
		{"a trait", "1", "x", trait(text("1")), 84.97699539907981},
		{"a trait that reads like a number", "1", "x", trait(text("001")), 84.97699539907981},
		{"an integer", "1", "x", trait(integer(1)), 84.97699539907981},
		{"exactly 100 is hashed again", "1", "", evaluation.Identity{Key: "8931"}, 45.779155831166236},
		{"exactly 100 twice", "1", "", evaluation.Identity{Key: "14927794"}, 26.515303060612123},
		{"exactly 50", "9", "", evaluation.Identity{Key: "264"}, 50},
		{"exactly 0", "9", "", evaluation.Identity{Key: "2032"}, 0},
		{"beyond ASCII", "7", "x", trait(text("émile")), 17.63352670534107},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			explain := func(percent string) evaluation.SegmentTrace {
				s, err := evaluation.CompileSegment(evaluation.Segment{Key: tt.salt, Name: "s", Rules: []evaluation.Rule{{
					Type:       evaluation.All,
					Conditions: []evaluation.Condition{{Property: tt.property, Operator: evaluation.PercentageSplit, Value: percent}},
				}}})
				if err != nil {
					t.Fatal(err)
				}
				env := evaluation.NewEnvironment("env", "Production", nil, []*evaluation.CompiledSegment{s})
				trace := env.ExplainSegment(s, &tt.id)
				if in := len(env.Segments(&tt.id)) == 1; in != trace.Matched {
					t.Errorf("%s%%: member %v, explained %v", percent, in, trace.Matched)
				}
				return trace
			}
			trace := explain("50")
			got := trace.Rules[0].Conditions[0].Bucket
			if got == nil || *got != tt.want {
				t.Fatalf("bucket %v, want %v", got, tt.want)
			}
			if trace.Matched != (tt.want <= 50) { // both ends are in
				t.Errorf("50%%: %v", trace.Matched)
			}
			if explain("0").Matched != (tt.want == 0) {
				t.Errorf("0%%: %v", tt.want != 0)
			}
			if !explain("100").Matched {
				t.Error("100%: false")
			}
		})
	}
}

func trait(v evaluation.Value) evaluation.Identity {
	return evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: "x", Value: v}}}
}
