package evaluation_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain/evaluation"
)

// Generators that hit: few properties, few values, and the values are those of the rules.
var (
	properties = []string{"x", "y", "z", "$.identity.traits.x", "$.identity.traits['y']", "$.identity.identifier", "$.identity.key",
		"$.environment.name", "$.environment.key", "$.literal", ""}
	operands = []string{"", "1", "007", "1.0", "1.5", "-1", "true", "False", "a", "ab", "1.2.3", "1.2.3-rc.1", "12345678901234567890123", "Production"}
	written  = append([]string{"1.2.3:semver", "a,1,007", `["a",1]`, "2|1", "3|-1", "0|0", "50", "100", "^a", "a|1", `\d+$`, "x:semver"}, operands...)
	traits   = []string{"x", "y", "z", "$.literal", "$.identity.traits.x", "unused"}
)

func drawValue(t *rapid.T) evaluation.Value {
	return rapid.OneOf(
		rapid.Map(rapid.SampledFrom(operands), evaluation.String),
		rapid.Map(rapid.Int64Range(-2, 8), evaluation.Int),
		rapid.Map(rapid.SampledFrom([]float64{0, 1, 1.5, -1, 7}), evaluation.Float),
		rapid.Map(rapid.Bool(), evaluation.Bool),
		rapid.Just(evaluation.Null()),
	).Draw(t, "value")
}

var operatorsDrawn = rapid.SampledFrom([]evaluation.Operator{
	evaluation.Equal, evaluation.NotEqual, evaluation.GreaterThan, evaluation.GreaterThanInclusive, evaluation.LessThan,
	evaluation.LessThanInclusive, evaluation.Contains, evaluation.NotContains, evaluation.Regex, evaluation.Modulo,
	evaluation.PercentageSplit, evaluation.In, evaluation.IsSet, evaluation.IsNotSet,
})

func drawRules(t *rapid.T, depth int) []evaluation.Rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) evaluation.Rule {
		r := evaluation.Rule{Type: rapid.SampledFrom([]evaluation.RuleType{evaluation.All, evaluation.Any, evaluation.None}).Draw(t, "type")}
		r.Conditions = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) evaluation.Condition {
			return evaluation.Condition{
				Property: rapid.SampledFrom(properties).Draw(t, "property"),
				Operator: operatorsDrawn.Draw(t, "operator"),
				Value:    rapid.SampledFrom(written).Draw(t, "value"),
			}
		}), 0, 3).Draw(t, "conditions")
		if depth > 1 {
			r.Rules = drawRules(t, depth-1)
		}
		return r
	}), 0, 2).Draw(t, "rules")
}

func drawState(t *rapid.T) evaluation.State {
	s := evaluation.State{
		Seed:    fmt.Sprint(rapid.IntRange(1, 1000).Draw(t, "seed")),
		Enabled: rapid.Bool().Draw(t, "enabled"),
		Value:   drawValue(t),
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "variants") {
		s.Variants = append(s.Variants, evaluation.Variant{
			Key: fmt.Sprint("v", i), Value: drawValue(t), Weight: float64(rapid.IntRange(0, 33).Draw(t, "weight")), Priority: int64(-i),
		})
	}
	return s
}

func drawEnvironment(t *rapid.T) *evaluation.Environment {
	var segments []*evaluation.CompiledSegment
	for i := range rapid.IntRange(0, 5).Draw(t, "segments") {
		s, err := evaluation.CompileSegment(evaluation.Segment{Key: fmt.Sprint(i + 1), Name: fmt.Sprint("s", i), Rules: drawRules(t, 3)})
		if err != nil {
			t.Skip(err) // not every text is a regular expression
		}
		segments = append(segments, s)
	}
	var flags []*evaluation.Flag
	for i := range rapid.IntRange(1, 4).Draw(t, "flags") {
		f := evaluation.Feature{ID: int32(i + 1), Name: fmt.Sprint("f", i), State: drawState(t)}
		for _, s := range segments {
			if rapid.Bool().Draw(t, "overridden") {
				f.Overrides = append(f.Overrides, evaluation.Override{Segment: s, State: drawState(t)})
			}
		}
		flags = append(flags, evaluation.CompileFeature(f, nil))
	}
	listed := rapid.IntRange(0, len(segments)).Draw(t, "listed")
	return evaluation.NewEnvironment("env", "Production", flags, segments[:listed])
}

func drawIdentity(t *rapid.T, e *evaluation.Environment) *evaluation.Identity {
	id := &evaluation.Identity{Identifier: rapid.SampledFrom(operands).Draw(t, "identifier"), Key: rapid.SampledFrom(operands).Draw(t, "key")}
	for range rapid.IntRange(0, 5).Draw(t, "traits") {
		id.Traits = append(id.Traits, evaluation.Trait{Key: rapid.SampledFrom(traits).Draw(t, "trait"), Value: drawValue(t)})
	}
	if rapid.IntRange(0, 4).Draw(t, "overridden") == 0 {
		f := rapid.SampledFrom(e.Flags()).Draw(t, "flag")
		id.Overrides = append(id.Overrides, f.IdentityOutcome(true, drawValue(t), "", nil))
	}
	return id
}

// However one asks, the answer is the same, and its explanation leads to it.
func TestEvaluateAndExplainAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEnvironment(t)
		for range 3 {
			id := drawIdentity(t, e)
			outcomes := e.Evaluate(nil, id)
			in := e.Segments(id)
			for i, f := range e.Flags() {
				if one := e.EvaluateFlag(f, id); one != outcomes[i] {
					t.Fatalf("EvaluateFlag %s: %s, Evaluate: %s", f.Name, describe(one), describe(outcomes[i]))
				}
				x := e.Explain(f, id)
				if x.Outcome != outcomes[i] {
					t.Fatalf("Explain %s: %s, Evaluate: %s", f.Name, describe(x.Outcome), describe(outcomes[i]))
				}
				for j, s := range x.Segments {
					if decided := j == len(x.Segments)-1 && x.Outcome.Segment == s.Segment; s.Matched != decided {
						t.Fatalf("%s: segment %s matched %v, decided %v", f.Name, s.Segment.Name, s.Matched, decided)
					}
					checkTrace(t, s.Matched, evaluation.All, nil, s.Rules)
					if alone := e.ExplainSegment(s.Segment, id); alone.Matched != s.Matched {
						t.Fatalf("ExplainSegment %s: %v, Explain: %v", s.Segment.Name, alone.Matched, s.Matched)
					}
				}
			}
			for _, s := range in {
				if !e.ExplainSegment(s, id).Matched {
					t.Fatalf("in segment %s, but ExplainSegment says no", s.Name)
				}
			}
		}
	})
}

// checkTrace works out again, from the conditions' outcomes alone, what the rules above them must say.
func checkTrace(t *rapid.T, matched bool, joined evaluation.RuleType, conditions []evaluation.ConditionTrace, rules []evaluation.RuleTrace) {
	quantify := func(outcomes []bool) bool {
		switch {
		case len(outcomes) == 0:
			return true
		case joined == evaluation.All:
			return !slices.Contains(outcomes, false)
		case joined == evaluation.Any:
			return slices.Contains(outcomes, true)
		default:
			return !slices.Contains(outcomes, true)
		}
	}
	var ofConditions, ofRules []bool
	for _, c := range conditions {
		ofConditions = append(ofConditions, c.Matched)
	}
	for _, r := range rules {
		ofRules = append(ofRules, r.Matched)
		checkTrace(t, r.Matched, r.Type, r.Conditions, r.Rules)
	}
	want := quantify(ofConditions) && quantify(ofRules)
	if conditions == nil && len(rules) == 0 {
		want = false // a segment without rules
	}
	if matched != want {
		t.Fatalf("%s of conditions %v and rules %v: %v", joined, ofConditions, ofRules, matched)
	}
}

// An environment assembled again from the same parts answers the same.
func TestPartsAreShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEnvironment(t)
		reversed := slices.Clone(e.Flags())
		slices.Reverse(reversed)
		other := evaluation.NewEnvironment(e.Key, e.Name, reversed, nil)
		id := drawIdentity(t, e)
		want := e.Evaluate(nil, id)
		got := other.Evaluate(nil, id)
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatal("the same flags and segments in another environment answer differently")
		}
	})
}
