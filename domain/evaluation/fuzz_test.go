package evaluation_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"flagledger/domain/evaluation"
)

// Whatever the rules, the traits and the weights are, evaluation ends without a panic and comes to what the reference
// comes to, Explain agrees, and rules that were not refused compile.
func FuzzEvaluate(f *testing.F) {
	f.Add(`[{"type":"ALL","conditions":[{"property":"x","operator":"EQUAL","value":"1.2.3:semver"}]}]`, `{"x":"1.2.3"}`, "ada", 30.0)
	f.Add(`[{"type":"ANY","rules":[{"type":"NONE","conditions":[{"property":"$.identity.traits['x']","operator":"REGEX","value":"^\\w+$"}]}]}]`, `{"x":true}`, "007", 50.5)
	f.Add(`[{"type":"ALL","conditions":[{"property":"x","operator":"IN","value":"[1,2.50,null]"},{"property":"","operator":"PERCENTAGE_SPLIT","value":"50"}]}]`, `{"x":12345678901234567890}`, "", 0.0)
	f.Add(`[{"type":"ALL","conditions":[{"property":"$.x","operator":"MODULO","value":"0|0"}]}]`, `{"$.x":"99999999999999999999.5"}`, "1.50", 100.0)
	f.Add(`[{"type":"NONE","conditions":[{"property":"x","operator":"LESS_THAN","value":" 1_0 "},{"property":"y","operator":"NOT_CONTAINS","value":"9"}],"rules":[{"type":"ANY"}]}]`, `{"x":-7.25,"y":"abc"}`, "a,b", 12.5)
	f.Fuzz(func(t *testing.T, rules, traits, identifier string, weight float64) {
		segment := evaluation.Segment{Key: "7", Name: "s"}
		if json.Unmarshal([]byte(rules), &segment.Rules) != nil {
			return
		}
		values := map[string]json.RawMessage{}
		_ = json.Unmarshal([]byte(traits), &values)
		id := &evaluation.Identity{Identifier: identifier}
		for key, raw := range values {
			var v evaluation.Value
			if v.UnmarshalJSON(raw) == nil {
				id.Traits = append(id.Traits, evaluation.Trait{Key: key, Value: v})
			}
		}
		checkEvaluation(t, segment, id, weight)
	})
}

// One condition against one value: where most of the parsing is.
func FuzzCondition(f *testing.F) {
	for _, op := range []string{"EQUAL", "NOT_EQUAL", "GREATER_THAN", "REGEX", "MODULO", "PERCENTAGE_SPLIT", "IN", "CONTAINS"} {
		f.Add(op, "1.2.3-rc.1:semver", "1.2.3", "x")
		f.Add(op, `[\w-]+$|(a{,3})`, "a\n", "$.identity.traits['x']")
		f.Add(op, "4|-1.5e3", "-007.50", "$.identity.traits.x")
		f.Add(op, "\u0663_4 ", "99999999999999999999", `$.identity["traits"]['\u0078']`)
	}
	f.Fuzz(func(t *testing.T, operator, value, trait, property string) {
		c := evaluation.Condition{Property: property, Operator: evaluation.Operator(operator), Value: value}
		segment := evaluation.Segment{Key: "1", Name: "s", Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{c}}}}
		var v evaluation.Value
		if v.UnmarshalJSON([]byte(trait)) != nil {
			v = evaluation.String(trait)
		}
		checkEvaluation(t, segment, &evaluation.Identity{Identifier: trait, Traits: []evaluation.Trait{{Key: "x", Value: v}}}, 50)
	})
}

// checkEvaluation compares evaluation, Explain and the reference on a feature with variants and an override for the
// segment.
func checkEvaluation(t *testing.T, segment evaluation.Segment, id *evaluation.Identity, weight float64) {
	issues := evaluation.ValidateRules(segment.Rules, evaluation.Limits{Depth: 20, Conditions: 50})
	for _, i := range append(issues, evaluation.Advise(segment.Rules)...) {
		if i.Path == "" || i.Detail == "" || i.Fix == "" {
			t.Errorf("an issue that does not help: %+v", i)
		}
	}
	compiled, err := evaluation.CompileSegment(segment)
	if err != nil {
		if issues == nil {
			t.Fatalf("not refused, but: %v", err)
		}
		return
	}
	if !(weight >= 0 && weight <= 100) {
		weight = 0
	}
	own := evaluation.State{Seed: "11", Value: text("off"), Variants: []evaluation.Variant{
		{Key: "a", Value: integer(1), Weight: weight, Priority: 1}, {Key: "b", Value: yes, Weight: (100 - weight) / 2, Priority: 2}}}
	override := evaluation.State{Seed: "12", Enabled: true, Value: text("on"), Variants: []evaluation.Variant{
		{Key: "c", Value: null, Weight: (100 - weight) / 3, Priority: -5}, {Key: "d", Value: fraction(2.5), Weight: weight / 2, Priority: 3}}}
	flag := evaluation.CompileFeature(evaluation.Feature{ID: 1, Name: "f", State: own, Overrides: []evaluation.Override{{Segment: compiled, State: override}}}, nil)
	env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{flag}, []*evaluation.CompiledSegment{compiled})

	in := len(env.Segments(id)) == 1
	if env.ExplainSegment(compiled, id).Matched != in {
		t.Errorf("member: %v, Explain says otherwise", in)
	}
	got := env.EvaluateFlag(flag, id)
	if x := env.Explain(flag, id); x.Outcome != got || env.Evaluate(nil, id)[0] != got {
		t.Errorf("EvaluateFlag: %s, Explain: %s", describe(got), describe(x.Outcome))
	}

	r := reference{environmentKey: "env", environmentName: "Production", segmentKey: segment.Key, id: id}
	want, err := r.segment(segment.Rules)
	if errors.Is(err, errNoReference) {
		return
	}
	if in != want {
		t.Errorf("member: %v, the reference says %v: %+v, %+v", in, want, segment.Rules, id)
	}
	enabled, value, reason, variant, _ := r.outcome(own, segment, override)
	if got.Enabled != enabled || got.Value != value || got.Reason != reason || got.Variant != variant {
		t.Errorf("%s; the reference: %v %v %s %s", describe(got), enabled, value, reason, variant)
	}
}

// A path finds the trait that the grammar of RFC 9535 says it does, and no other.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"$.identity.traits.plan", "$.identity.traits['user-id']", `$.identity["traits"]["\u0041\ud83d\ude00\"'"]`, `$ .identity [ 'traits' ]['it\'s "q"']`,
		"$.identity.identifier", "$.environment.name", `$.identity.traits['\ud800']`, "$.identity.traits.", "$.identity..traits", "$.identity.traits.9a", "$.identity.traits.ñ9",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		is := evaluation.Condition{Property: path, Operator: evaluation.IsSet}
		segment := evaluation.Segment{Key: "1", Name: "s", Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{is}}}}
		id := &evaluation.Identity{Identifier: "ada"}
		if names := pathNames(path); len(names) > 0 {
			id.Traits = []evaluation.Trait{{Key: names[len(names)-1], Value: yes}}
		}
		checkEvaluation(t, segment, id, 0)
		id.Traits = append(id.Traits, evaluation.Trait{Key: path, Value: no})
		checkEvaluation(t, segment, id, 0)
	})
}

// Versions are compared as Masterminds/semver compares them, where it knows them as strict versions.
func FuzzSemver(f *testing.F) {
	f.Add("1.2.3", "1.2.3-rc.1+b")
	f.Add("1.0.0-alpha.1", "1.0.0-alpha.beta")
	f.Add("1.0.0-a.10", "1.0.0-a.9")
	f.Add("1.0.0-", "1.0.0+")
	f.Fuzz(func(t *testing.T, a, b string) {
		va, errA := semver.StrictNewVersion(a)
		vb, errB := semver.StrictNewVersion(b)
		if len(a) > 24 || len(b) > 24 { // the library's numbers have 64 bits
			return
		}
		is := func(op evaluation.Operator) bool {
			return member(t, evaluation.String(a), evaluation.Condition{Property: "x", Operator: op, Value: b + ":semver"})
		}
		less, same, more := is(evaluation.LessThan), is(evaluation.Equal), is(evaluation.GreaterThan)
		if errA != nil || errB != nil {
			if less || same || more {
				t.Errorf("%q and %q compare, but: %v, %v", a, b, errA, errB)
			}
			return
		}
		if emptyPart(a) || emptyPart(b) {
			if less || same || more {
				t.Errorf("%q and %q compare", a, b)
			}
			return
		}
		if order := va.Compare(vb); less != (order < 0) || same != (order == 0) || more != (order > 0) {
			t.Errorf("%q, %q: less %v, same %v, more %v; the library: %d", a, b, less, same, more, order)
		}
		if is(evaluation.NotEqual) == same || is(evaluation.GreaterThanInclusive) == less || is(evaluation.LessThanInclusive) == more {
			t.Errorf("%q, %q: the six operators do not fit together", a, b)
		}
	})
}

// emptyPart is what the library lets pass: nothing where a pre-release or build metadata should be.
func emptyPart(v string) bool {
	core, _, _ := strings.Cut(v, "+")
	return strings.HasSuffix(core, "-") && strings.Count(core, "-") == 1 || strings.HasSuffix(v, "+")
}

// JSON that is accepted comes back as it was, in value and in kind.
func FuzzValueJSON(f *testing.F) {
	for _, s := range []string{"null", "true", "-0", "1.0", "1e-7", `"a\u2028\ud800"`, "9223372036854775808", "[1]", " 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v evaluation.Value
		if v.UnmarshalJSON(data) != nil {
			return
		}
		out, err := v.MarshalJSON()
		if err != nil || !json.Valid(out) {
			t.Fatalf("%q: written as %q, %v", data, out, err)
		}
		var again evaluation.Value
		if err := again.UnmarshalJSON(out); err != nil || again != v {
			t.Errorf("%q: read as %#v, then as %#v, %v", data, v, again, err)
		}
		var plain any
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("%q is accepted, but encoding/json says %v", data, err)
		}
		if n, ok := plain.(float64); ok {
			i, isInt := v.AsInt()
			x, _ := v.AsFloat()
			if isInt && float64(i) != n || !isInt && math.Float64bits(x) != math.Float64bits(n) {
				t.Errorf("%q: read as %v", data, v)
			}
		} else if plain != v.Any() {
			t.Errorf("%q: read as %v, by encoding/json as %v", data, v, plain)
		}
	})
}
