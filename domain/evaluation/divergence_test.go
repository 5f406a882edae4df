package evaluation_test

import (
	"testing"

	"flagledger/domain/evaluation"
)

// The cases on which the engines of SDKs are known to differ from the Python engine. Evaluation is Python's. What the
// rule shows is refused when it is written, and there is a form on which all agree; what only shows on certain values is
// advised on.
func TestKnownDivergences(t *testing.T) {
	const (
		refused = "refused" // by ValidateRules, as a divergence
		broken  = "broken"  // refused as unable to work
		advised = "advised" // by Advise
	)
	all := func(conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.All, Conditions: conditions}
	}
	either := func(conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.Any, Conditions: conditions}
	}
	not := func(c evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{on("x", evaluation.IsSet, "")},
			Rules: []evaluation.Rule{{Type: evaluation.None, Conditions: []evaluation.Condition{c}}}}
	}
	none := evaluation.Rule{}
	const path = "$.identity.traits.x"
	split := on(path, evaluation.PercentageSplit, "100")
	tests := []struct {
		condition evaluation.Condition
		trait     evaluation.Value
		want      bool // on the server
		told      string
		form      evaluation.Rule // that can be saved instead, and on which all agree
		formWant  bool            // what it says of the trait
	}{
		// % split on a plain trait name: Node false. Of a missing trait: Go true.
		{on("x", evaluation.PercentageSplit, "100"), text("y"), true, refused, all(on("x", evaluation.IsSet, ""), split), true},
		{split, null, false, refused, all(on("x", evaluation.IsSet, ""), split), false},
		// Node, Go: true.
		{on("x", evaluation.Regex, "b"), text("abc"), false, refused, all(on("x", evaluation.Regex, "^(?:b)")), false},
		{on("x", evaluation.Contains, "2"), text("123"), false, refused, all(on("x", evaluation.Regex, `^[^\n]*2`)), true},
		{on("x", evaluation.Contains, "2"), integer(123), false, refused, all(on("x", evaluation.Regex, `^[^\n]*2`)), true},
		{on("x", evaluation.NotContains, "9"), text("123"), false, refused, not(on("x", evaluation.Regex, `^[^\n]*9`)), true},
		{on("x", evaluation.NotContains, "abc"), text("123"), false, refused, not(on("x", evaluation.Contains, "abc")), true},
		{on("x", evaluation.In, "007,008"), text("007"), false, refused, all(on("x", evaluation.In, "7,8")), true},
		{on("x", evaluation.NotEqual, "abc"), integer(5), false, refused, not(on("x", evaluation.Equal, "abc")), true},
		{on("x", evaluation.Equal, "1.0"), integer(1), false, refused, all(on("x", evaluation.Equal, "1")), true},
		{on("x", evaluation.GreaterThan, "0.5"), integer(1), false, refused,
			either(on("x", evaluation.GreaterThan, "0.5"), on("x", evaluation.GreaterThanInclusive, "1")), true},
		// IN 0: Node false. IN true: Go true.
		{on("x", evaluation.In, "0,1"), integer(0), true, refused, either(on("x", evaluation.In, "1"), on("x", evaluation.Equal, "0")), true},
		{on("x", evaluation.In, "true"), yes, false, refused, all(on("x", evaluation.Equal, "true")), true},
		// Numbers sent as texts: Node compares them as such.
		{on("x", evaluation.Equal, "1"), text("1.0"), true, advised, none, false},
		{on("x", evaluation.GreaterThan, "9"), text("10"), true, advised, none, false},
		// Node, Go: the sign is that of the number.
		{on("x", evaluation.Modulo, "4|3"), integer(-1), true, refused,
			all(on("x", evaluation.GreaterThanInclusive, "0"), on("x", evaluation.Modulo, "4|3")), false},
		// Texts that read like numbers: Node and Go compare, look into and hash the texts. See TestIdentifiersThatReadLikeNumbers, too.
		{on("x", evaluation.LessThan, "m"), text("12"), false, refused, all(on("x", evaluation.Regex, "^[^-0-9]"), on("x", evaluation.LessThan, "m")), false},
		{on("x", evaluation.GreaterThan, ""), text("007"), false, refused, all(on("x", evaluation.Regex, notNumber), on("x", evaluation.GreaterThan, "")), false},
		{on("x", evaluation.LessThan, "2024-01-31"), text("12"), false, refused, all(on("x", evaluation.Regex, "^[0-9]+[^.0-9eE]"), on("x", evaluation.LessThan, "2024-01-31")), false},
		{on("x", evaluation.LessThan, "2024-01-31"), text("2023-12-31"), true, refused, all(on("x", evaluation.Regex, "^[0-9]+[^.0-9eE]"), on("x", evaluation.LessThan, "2024-01-31")), true},
		// Numbers that are printed with an exponent, which Node finds in the text that such a guard lets in.
		{on("x", evaluation.LessThan, "2024-01-31"), fraction(1e21), false, refused, all(on("x", evaluation.Regex, "^[0-9]+[^.0-9eE]"), on("x", evaluation.LessThan, "2024-01-31")), false},
		{on("x", evaluation.GreaterThan, "1.2.3"), fraction(1e21), false, refused, all(on("x", evaluation.Regex, notNumber), on("x", evaluation.GreaterThan, "1.2.3")), false},
		{on("x", evaluation.In, "1e+21"), fraction(1e21), false, refused, all(on("x", evaluation.Equal, "1000000000000000000000")), true},
		// Node takes the first digits, or no number at all.
		{on("x", evaluation.Equal, "1_000"), integer(1000), true, refused, all(on("x", evaluation.Equal, "1000")), true},
		{on("x", evaluation.Equal, "1_000"), text("1_000"), true, refused, all(on("x", evaluation.In, "1_000")), true},
		{on("x", evaluation.NotEqual, "inf"), integer(5), false, refused, not(on("x", evaluation.Equal, "inf")), true},
		{on("x", evaluation.Contains, "."), text("1.5"), false, refused, all(on("x", evaluation.Regex, notNumber), on("x", evaluation.Contains, ".")), false},
		{on("x", evaluation.Regex, "^0"), text("007"), false, advised, all(on("x", evaluation.Regex, notNumber), on("x", evaluation.Regex, "^0")), false},
		{on("x", evaluation.Regex, "^0*7$"), text("007"), true, advised, none, false}, // of its $ only
		{on("x", evaluation.In, "7"), text("007"), true, advised, none, false},
		// Node: beta.
		{on("x", evaluation.Contains, "beta:semver"), text("beta"), false, refused, all(on("x", evaluation.Regex, `^[^\n]*beta:semver`)), false},
		{on("x", evaluation.Contains, "beta:semver"), text("a beta:semver"), true, refused, all(on("x", evaluation.Regex, `^[^\n]*beta:semver`)), true},
		// Exceptions in Python.
		{on("x", evaluation.Modulo, "0|0"), integer(0), false, broken, none, false},
		// Node: true.
		{on("x", evaluation.Equal, "1.2.3:semver"), text("v1.2.3"), false, advised, none, false},
		{on("x", evaluation.Equal, "v1.2.3:semver"), text("1.2.3"), false, broken, all(on("x", evaluation.Equal, "1.2.3:semver")), true},
		// Go: true.
		{on("x", evaluation.Equal, "true"), text("t"), false, advised, none, false},
		{on("x", evaluation.Equal, "true"), integer(1), false, advised, none, false},
		{on("x", evaluation.Equal, "0"), no, false, advised, none, false},
		{on("x", evaluation.Equal, "false"), integer(0), false, advised, none, false},
		// Paths.
		{on("$.identity.traits.user-id", evaluation.IsSet, ""), yes, false, refused, all(on("$.identity.traits['user-id']", evaluation.IsSet, "")), false},
		// Expressions: Unicode's classes, line ends.
		{on("x", evaluation.Regex, `^\w+$`), text("é"), true, refused, all(on("x", evaluation.Regex, "^[A-Za-z0-9_]+$")), false},
		{on("x", evaluation.Regex, `^\d$`), text("٣"), true, refused, all(on("x", evaluation.Regex, "^[0-9]$")), false},
		{on("x", evaluation.Regex, `^.b`), text("\rb"), true, refused, all(on("x", evaluation.Regex, `^[^\n]b`)), true},
		{on("x", evaluation.Regex, "^b$"), text("b\n"), true, advised, none, false},
		// The order of texts: by UTF-16 in JavaScript.
		{on("x", evaluation.GreaterThan, "\uffff"), text("😀"), true, refused, none, false},
		// None.
		{on("$.identity.identifier", evaluation.In, "ada,grace"), null, true, "", none, false},
	}
	for _, tt := range tests {
		if got := member(t, tt.trait, tt.condition); got != tt.want {
			t.Errorf("%s %s %q of %v: %v", tt.condition.Property, tt.condition.Operator, tt.condition.Value, tt.trait, got)
		}
		rules := []evaluation.Rule{all(tt.condition)}
		issues, advice := evaluation.ValidateRules(rules, evaluation.Limits{}), evaluation.Advise(rules)
		told := ""
		switch {
		case len(issues) > 0 && issues[0].Diverges:
			told = refused
		case len(issues) > 0:
			told = broken
		case len(advice) > 0:
			told = advised
		}
		if told != tt.told {
			t.Errorf("%s %s %q: %q, want %q: %+v %+v", tt.condition.Property, tt.condition.Operator, tt.condition.Value, told, tt.told, issues, advice)
		}
		if tt.form.Type == "" {
			continue
		}
		id := &evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{{Key: "x", Value: tt.trait}}}
		if issues := evaluation.ValidateRules([]evaluation.Rule{tt.form}, evaluation.Limits{}); issues != nil {
			t.Errorf("%+v: %+v", tt.form, issues)
		}
		if got := memberOf(t, id, tt.form); got != tt.formWant {
			t.Errorf("%+v of %v: %v", tt.form, tt.trait, got)
		}
	}
	// An invalid expression is an exception in Python, and none that the server would run.
	if issues := issuesOf(on("x", evaluation.Regex, "^[")); len(issues) != 1 || issues[0].Diverges {
		t.Errorf("an invalid expression: %+v", issues)
	}
}

// Identifiers are looked up like traits. What is offered says the same of all spellings, or of none.
func TestIdentifiersThatReadLikeNumbers(t *testing.T) {
	const identifier = "$.identity.identifier"
	rule := func(conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: evaluation.All, Conditions: conditions}
	}
	unlike := evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{on(identifier, evaluation.IsSet, "")},
		Rules: []evaluation.Rule{{Type: evaluation.None, Conditions: []evaluation.Condition{on(identifier, evaluation.Regex, "^0*7$")}}}}
	for _, tt := range []struct {
		refused evaluation.Condition
		form    evaluation.Rule
		of      string
		want    [2]bool // of the refused one and the form, on the server
	}{
		{on(identifier, evaluation.Equal, "7"), rule(on(identifier, evaluation.Regex, "^0*7$")), "007", [2]bool{true, true}},
		{on(identifier, evaluation.Equal, "007"), rule(on(identifier, evaluation.Regex, "^0*7$")), "7", [2]bool{true, true}},
		{on(identifier, evaluation.Equal, "1.50"), rule(on(identifier, evaluation.Regex, `^0*1\.50*$`)), "1.5", [2]bool{true, true}},
		{on(identifier, evaluation.NotEqual, "7"), unlike, "007", [2]bool{false, false}},
		{on(identifier, evaluation.NotEqual, "7"), unlike, "ada", [2]bool{true, true}},
		{on(identifier, evaluation.Regex, "^0[0-9]"), rule(on(identifier, evaluation.Regex, notNumber), on(identifier, evaluation.Regex, "^0[0-9]")), "007", [2]bool{false, false}},
		{on(identifier, evaluation.LessThan, "b"), rule(on(identifier, evaluation.Regex, "^[^-0-9]"), on(identifier, evaluation.LessThan, "b")), "12", [2]bool{false, false}},
		{on(identifier, evaluation.PercentageSplit, "100"), rule(on("", evaluation.PercentageSplit, "100")), "1.50", [2]bool{true, true}},
	} {
		id := &evaluation.Identity{Identifier: tt.of, Key: "env_" + tt.of}
		if issues := issuesOf(tt.refused); len(issues) != 1 || !issues[0].Diverges {
			t.Errorf("%+v: %+v", tt.refused, issues)
		}
		if issues := evaluation.ValidateRules([]evaluation.Rule{tt.form}, evaluation.Limits{}); issues != nil {
			t.Errorf("%+v: %+v", tt.form, issues)
		}
		if got := [2]bool{memberOf(t, id, rule(tt.refused)), memberOf(t, id, tt.form)}; got != tt.want {
			t.Errorf("%+v and its form, of %q: %v", tt.refused, tt.of, got)
		}
	}
}

// An identity override has the value that it was given. Go makes a text of it in local evaluation, "" of null.
func TestIdentityOverridesKeepTheirType(t *testing.T) {
	f := evaluation.CompileFeature(evaluation.Feature{ID: 1, Name: "f", State: evaluation.State{Value: text("env")}}, nil)
	env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{f}, nil)
	for _, value := range []evaluation.Value{integer(7), yes, no, null, text(""), text("7"), text("007")} {
		id := &evaluation.Identity{Identifier: "ada", Overrides: []*evaluation.Outcome{f.IdentityOutcome(true, value, "", nil)}}
		if o := first(t, env, id); o.Value != value || o.Value.Kind() != value.Kind() {
			t.Errorf("%v became %v", value, o.Value)
		}
	}
}

// An identity's override finds it by what it is called, not by a rule about it: these identifiers defeat the rule that
// SDKs make of it.
func TestIdentityOverridesOfOddIdentifiers(t *testing.T) {
	f := evaluation.CompileFeature(evaluation.Feature{ID: 1, Name: "f"}, nil)
	env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{f}, nil)
	own := f.IdentityOutcome(true, text("own"), "", nil)
	for _, identifier := range []string{"007", "1.50", "a,b", ""} {
		if o := first(t, env, &evaluation.Identity{Identifier: identifier, Overrides: []*evaluation.Outcome{own}}); o != own {
			t.Errorf("%q: %s", identifier, describe(o))
		}
	}
}
