package evaluation_test

import (
	"testing"

	"flagledger/domain/evaluation"
)

// The cases on which the engines of SDKs are known to differ from the Python engine. Evaluation is Python's. What the
// rule shows is refused when it is written; what only shows on certain traits is advised on, or, where that would have to
// be said of every rule with a number or a boolean, is in the documentation of Advise.
func TestKnownDivergences(t *testing.T) {
	const (
		refused = "refused" // by ValidateRules, as a divergence
		broken  = "broken"  // refused as unable to work
		advised = "advised" // by Advise
		silent  = "silent"  // a trait of another type than the rule's value
	)
	tests := []struct {
		condition evaluation.Condition
		trait     evaluation.Value
		want      bool
		told      string
	}{
		{on("x", evaluation.PercentageSplit, "100"), text("y"), true, refused},               // Node: false
		{on("$.identity.traits.x", evaluation.PercentageSplit, "100"), null, false, advised}, // Go: true
		{on("x", evaluation.Regex, "b"), text("abc"), false, refused},                        // Node, Go: true
		{on("x", evaluation.Contains, "2"), text("123"), false, refused},                     // Node, Go: true
		{on("x", evaluation.Contains, "2"), integer(123), false, refused},                    // Go: true
		{on("x", evaluation.NotContains, "9"), text("123"), false, refused},                  // Node, Go: true
		{on("x", evaluation.In, "007,008"), text("007"), false, refused},                     // Node, Go: true
		{on("x", evaluation.In, "0,1"), integer(0), true, refused},                           // Node: false
		{on("x", evaluation.In, "true"), yes, false, refused},                                // Go: true
		{on("x", evaluation.NotEqual, "abc"), integer(5), false, advised},                    // Node, Go: true
		{on("x", evaluation.Equal, "1.0"), integer(1), false, refused},                       // Node, Go: true
		{on("x", evaluation.Equal, "1"), text("1.0"), true, silent},                          // Node: false
		{on("x", evaluation.GreaterThan, "9"), text("10"), true, silent},                     // Node: false
		{on("x", evaluation.Modulo, "4|3"), integer(-1), true, advised},                      // Node, Go: false
		{on("x", evaluation.Modulo, "0|0"), integer(0), false, broken},                       // Python: exception
		{on("x", evaluation.Equal, "1.2.3:semver"), text("v1.2.3"), false, silent},           // Node: true
		{on("x", evaluation.Equal, "v1.2.3:semver"), text("1.2.3"), false, broken},           // Node: true
		{on("x", evaluation.Equal, "true"), text("t"), false, silent},                        // Go: true
		{on("x", evaluation.Equal, "true"), integer(1), false, silent},                       // Go: true
		{on("x", evaluation.Equal, "0"), no, false, silent},                                  // Go: true
		{on("x", evaluation.Equal, "false"), integer(0), false, silent},                      // Go: true
		{on("$.identity.traits.user-id", evaluation.IsSet, ""), yes, false, refused},         // Node: true
		{on("$.identity.identifier", evaluation.In, "ada,grace"), null, true, ""},
	}
	for _, tt := range tests {
		if got := member(t, tt.trait, tt.condition); got != tt.want {
			t.Errorf("%s %s %q of %v: %v", tt.condition.Property, tt.condition.Operator, tt.condition.Value, tt.trait, got)
		}
		rules := []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{tt.condition}}}
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
		if told != tt.told && (told != "" || tt.told != silent) {
			t.Errorf("%s %s %q: %q, want %q: %+v %+v", tt.condition.Property, tt.condition.Operator, tt.condition.Value, told, tt.told, issues, advice)
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
