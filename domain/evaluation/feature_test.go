package evaluation_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"flagledger/domain/evaluation"
)

func segment(t *testing.T, key, name string, conditions ...evaluation.Condition) *evaluation.CompiledSegment {
	t.Helper()
	s, err := evaluation.CompileSegment(evaluation.Segment{Key: key, Name: name, Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: conditions}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// describe is an outcome in a line: value, reason, variant.
func describe(o *evaluation.Outcome) string {
	if o == nil {
		return "nil"
	}
	return strings.Join([]string{o.Value.String(), o.Reason, o.Variant}, " | ")
}

// first answers the first flag and checks that all ways to ask agree.
func first(t *testing.T, e *evaluation.Environment, id *evaluation.Identity) *evaluation.Outcome {
	t.Helper()
	f := e.Flags()[0]
	all := e.Evaluate([]*evaluation.Outcome{nil}, id)
	if len(all) != 1+len(e.Flags()) || all[0] != nil {
		t.Fatalf("Evaluate appended %d outcomes", len(all)-1)
	}
	if one := e.EvaluateFlag(f, id); one != all[1] {
		t.Errorf("EvaluateFlag: %s, Evaluate: %s", describe(one), describe(all[1]))
	}
	if x := e.Explain(f, id); x.Outcome != all[1] {
		t.Errorf("Explain: %s, Evaluate: %s", describe(x.Outcome), describe(all[1]))
	}
	return all[1]
}

// Intervals are half open and lie in order of priority, whatever the order in which they are given.
func TestVariants(t *testing.T) {
	const last, again = "121", "15903"            // with seed 9: the highest bucket there is, 99.99, and one that is 100 at first, then 30.68
	const at0, at50, at91 = "2032", "264", "8931" // keys whose bucket with seed 9 is 0 and 50, and with seed 1 is 45.78
	variant := func(key string, weight float64, priority int64) evaluation.Variant {
		return evaluation.Variant{Key: key, Value: text(key), Weight: weight, Priority: priority}
	}
	tests := []struct {
		name, seed, key string
		variants        []evaluation.Variant
		want            string
	}{
		{"no variants", "9", at50, nil, "base | DEFAULT | "},
		{"the start is in", "9", at50, []evaluation.Variant{variant("a", 50, 1), variant("b", 50, 2)}, "b | SPLIT; weight=50 | b"},
		{"the end is not", "9", at50, []evaluation.Variant{variant("a", 50, 1)}, "base | DEFAULT | control"},
		{"just above the end", "9", at50, []evaluation.Variant{variant("a", 50.01, 1)}, "a | SPLIT; weight=50.01 | a"},
		{"zero is in the first", "9", at0, []evaluation.Variant{variant("a", 0.5, 1), variant("b", 99.5, 2)}, "a | SPLIT; weight=0.5 | a"},
		{"no weight takes nobody", "9", at0, []evaluation.Variant{variant("a", 0, 1), variant("b", 100, 2)}, "b | SPLIT; weight=100 | b"},
		{"all without weight", "9", at0, []evaluation.Variant{variant("a", 0, 1)}, "base | DEFAULT | control"},
		{"priority is the order", "9", at0, []evaluation.Variant{variant("b", 50, 2), variant("a", 50, 1)}, "a | SPLIT; weight=50 | a"},
		{"equal priorities keep theirs", "9", at0, []evaluation.Variant{variant("b", 50, 1), variant("a", 50, 1)}, "b | SPLIT; weight=50 | b"},
		{"hashed again at 100", "1", at91, []evaluation.Variant{variant("a", 45.7, 1), variant("b", 0.1, 2), variant("c", 54, 3)}, "b | SPLIT; weight=0.1 | b"},
		// Go takes who is exactly on the end of an interval into it; the next one begins there.
		{"on the end of the first", "1", "1", []evaluation.Variant{variant("a", 84.97699539907981, 1), variant("b", 15, 2)}, "b | SPLIT; weight=15 | b"},
		{"a hair below it", "1", "1", []evaluation.Variant{variant("a", 84.97699539907983, 1), variant("b", 15, 2)}, "a | SPLIT; weight=84.97699539907983 | a"},
		{"on the end of the last", "1", "1", []evaluation.Variant{variant("a", 80, 1), variant("b", 4.97699539907981, 2)}, "base | DEFAULT | control"},
		{"100 is everybody", "9", last, []evaluation.Variant{variant("a", 100, 1)}, "a | SPLIT; weight=100 | a"},
		{"weights of 100 together", "9", last, []evaluation.Variant{variant("a", 33.33, 1), variant("b", 33.33, 2), variant("c", 33.34, 3)}, "c | SPLIT; weight=33.34 | c"},
		{"and less than that", "9", last, []evaluation.Variant{variant("a", 33.33, 1), variant("b", 33.33, 2), variant("c", 33.32, 3)}, "base | DEFAULT | control"},
		{"100, of who is hashed again", "9", again, []evaluation.Variant{variant("a", 30.67, 1), variant("b", 69.33, 2)}, "b | SPLIT; weight=69.33 | b"},
		{"a variant without key", "9", at0, []evaluation.Variant{{Value: text("v"), Weight: 54.54}}, "v | SPLIT; weight=54.54 | "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given := slices.Clone(tt.variants)
			f := evaluation.CompileFeature(evaluation.Feature{Name: "f", State: evaluation.State{Seed: tt.seed, Value: text("base"), Variants: tt.variants}}, nil)
			if !slices.Equal(given, tt.variants) {
				t.Error("CompileFeature has sorted the caller's variants")
			}
			env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{f}, nil)
			if got := describe(first(t, env, &evaluation.Identity{Key: tt.key})); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got, want := describe(first(t, env, nil)), "base | DEFAULT | "; got != want {
				t.Errorf("without identity: got %q, want %q", got, want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	on := func(trait string) evaluation.Condition {
		return evaluation.Condition{Property: trait, Operator: evaluation.IsSet}
	}
	listed, unlisted := segment(t, "1", "listed", on("a")), segment(t, "2", "unlisted", on("b"))
	encoded := 0
	encode := func(o *evaluation.Outcome) []byte {
		encoded++
		return []byte(o.Flag.Name + ":" + describe(o))
	}
	f := evaluation.CompileFeature(evaluation.Feature{
		ID: 5, Name: "f", Multivariate: true, ServerKeyOnly: true,
		State: evaluation.State{Seed: "10", Value: text("env"), Metadata: "env's"},
		Overrides: []evaluation.Override{
			{Segment: unlisted, State: evaluation.State{Seed: "9", Enabled: true, Value: text("first"), Metadata: "first's",
				Variants: []evaluation.Variant{{Key: "v", Value: text("split"), Weight: 50}}}},
			{Segment: listed, State: evaluation.State{Seed: "11", Value: text("second")}},
		},
	}, encode)
	if encoded != 5 { // environment; first: plain, control, variant; second
		t.Errorf("encode was called %d times", encoded)
	}
	other := evaluation.CompileFeature(evaluation.Feature{ID: 6, Name: "other"}, nil)
	env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{f, other}, []*evaluation.CompiledSegment{listed})

	own := f.IdentityOutcome(true, integer(7), "v", encode)
	recompiled := evaluation.CompileFeature(evaluation.Feature{ID: 5, Name: "f"}, nil).IdentityOutcome(true, text("older"), "", nil)
	deleted := evaluation.CompileFeature(evaluation.Feature{ID: 4, Name: "f"}, nil).IdentityOutcome(true, text("of a deleted feature"), "", nil)
	a, b := evaluation.Trait{Key: "a", Value: yes}, evaluation.Trait{Key: "b", Value: yes}
	tests := []struct {
		name    string
		id      *evaluation.Identity
		want    string
		segment *evaluation.CompiledSegment
	}{
		{"nobody", nil, "env | DEFAULT | ", nil},
		{"in no segment", &evaluation.Identity{Key: "264"}, "env | DEFAULT | ", nil},
		{"in the second", &evaluation.Identity{Key: "264", Traits: []evaluation.Trait{a}}, "second | TARGETING_MATCH; segment=listed | ", listed},
		{"in both", &evaluation.Identity{Key: "264", Traits: []evaluation.Trait{a, b}}, "first | TARGETING_MATCH; segment=unlisted | control", unlisted},
		{"in both, and split", &evaluation.Identity{Key: "2032", Traits: []evaluation.Trait{a, b}}, "split | SPLIT; weight=50 | v", unlisted},
		{"its own", &evaluation.Identity{Key: "264", Traits: []evaluation.Trait{a, b}, Overrides: []*evaluation.Outcome{own}}, "7 | TARGETING_MATCH; segment=identity_overrides | v", nil},
		{"its own, compiled earlier", &evaluation.Identity{Overrides: []*evaluation.Outcome{recompiled}}, "older | TARGETING_MATCH; segment=identity_overrides | ", nil},
		{"of another feature of that name", &evaluation.Identity{Overrides: []*evaluation.Outcome{deleted}}, "env | DEFAULT | ", nil},
		{"of two its last", &evaluation.Identity{Overrides: []*evaluation.Outcome{own, recompiled}}, "older | TARGETING_MATCH; segment=identity_overrides | ", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := first(t, env, tt.id)
			if got := describe(o); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if o.Segment != tt.segment {
				t.Errorf("segment %+v", o.Segment)
			}
			if o.Body != nil && string(o.Body) != "f:"+tt.want {
				t.Errorf("body %s", o.Body)
			}
		})
	}

	if got := env.Segments(&evaluation.Identity{Traits: []evaluation.Trait{a, b}}); !slices.Equal(got, []*evaluation.CompiledSegment{listed}) {
		t.Errorf("segments %v: want the listed one alone", got)
	}
	if env.Segments(nil) != nil || env.ExplainSegment(listed, nil).Matched {
		t.Error("segments without an identity")
	}
	if o := first(t, env, &evaluation.Identity{Key: "264", Traits: []evaluation.Trait{b}}); o.Metadata != "first's" || !o.Enabled {
		t.Errorf("the override's outcome has metadata %v, enabled %v", o.Metadata, o.Enabled)
	}
	if env.Flag("f") != f || env.Flag("g") != nil || !f.Multivariate || !f.ServerKeyOnly {
		t.Error("flags are not found by name")
	}
	stranger := evaluation.CompileFeature(evaluation.Feature{ID: 9, Name: "stranger"}, nil)
	if env.EvaluateFlag(stranger, nil) != nil || env.Explain(stranger, nil).Outcome != nil {
		t.Error("a flag of another environment is answered")
	}
}

// An identity's answers do not depend on who was evaluated before with the same scratch space.
func TestEvaluatorsKeepNothing(t *testing.T) {
	s := segment(t, "1", "s", evaluation.Condition{Property: "a", Operator: evaluation.IsSet})
	off := evaluation.State{Value: text("off")}
	f := evaluation.CompileFeature(evaluation.Feature{Name: "f", State: off, Overrides: []evaluation.Override{{Segment: s, State: evaluation.State{Value: text("on")}}}}, nil)
	small := evaluation.NewEnvironment("small", "", []*evaluation.Flag{f}, []*evaluation.CompiledSegment{s})
	more := segment(t, "2", "more", evaluation.Condition{Property: "b", Operator: evaluation.IsSet}, evaluation.Condition{Property: "c", Operator: evaluation.IsSet})
	large := evaluation.NewEnvironment("large", "", []*evaluation.Flag{f, f}, []*evaluation.CompiledSegment{more, s})
	in := &evaluation.Identity{Traits: []evaluation.Trait{{Key: "a", Value: yes}, {Key: "b", Value: yes}}}
	out := &evaluation.Identity{Traits: []evaluation.Trait{{Key: "c", Value: yes}}}
	for range 3 {
		for _, env := range []*evaluation.Environment{small, large} {
			if got := describe(first(t, env, in)); got != "on | TARGETING_MATCH; segment=s | " {
				t.Errorf("%s: in: %s", env.Key, got)
			}
			if got := describe(first(t, env, out)); got != "off | DEFAULT | " {
				t.Errorf("%s: out: %s", env.Key, got)
			}
		}
	}
}

// Evaluation allocates neither for conditions nor for flags, and environments are shared by goroutines.
func TestEvaluateConcurrentlyWithoutAllocating(t *testing.T) {
	var conditions []evaluation.Condition
	for _, c := range []evaluation.Condition{
		{Property: "n", Operator: evaluation.GreaterThan, Value: "1"},
		{Property: "n", Operator: evaluation.In, Value: "5,6,7"},
		{Property: "n", Operator: evaluation.Regex, Value: "^[0-9]+$"},
		{Property: "n", Operator: evaluation.Modulo, Value: "7|0"},
		{Property: "n", Operator: evaluation.PercentageSplit, Value: "100"},
		{Property: "v", Operator: evaluation.LessThan, Value: "1.2.3-rc.10:semver"},
		{Property: "v", Operator: evaluation.Regex, Value: "^.*rc"},
		{Property: "$.identity.traits['v']", Operator: evaluation.Contains, Value: "-"},
		{Property: "$.identity.identifier", Operator: evaluation.Equal, Value: "ada"},
		{Property: "big", Operator: evaluation.IsSet},
		{Operator: evaluation.PercentageSplit, Value: "100"},
	} {
		for range 10 {
			conditions = append(conditions, c)
		}
	}
	s := segment(t, "1", "s", conditions...)
	var flags []*evaluation.Flag
	for i := range 50 {
		flags = append(flags, evaluation.CompileFeature(evaluation.Feature{
			ID: int32(i), Name: strings.Repeat("f", i),
			State: evaluation.State{Seed: "1", Variants: []evaluation.Variant{{Key: "v", Weight: 50}}},
			Overrides: []evaluation.Override{{Segment: s, State: evaluation.State{Seed: "2", Value: text("on"),
				Variants: []evaluation.Variant{{Key: "v", Weight: 50}}}}},
		}, nil))
	}
	env := evaluation.NewEnvironment("env", "Production", flags, []*evaluation.CompiledSegment{s})
	id := &evaluation.Identity{Identifier: "ada", Traits: []evaluation.Trait{
		{Key: "n", Value: text("007")}, {Key: "v", Value: text("1.2.3-rc.2")}, {Key: "big", Value: text("x")},
	}}
	want := env.Evaluate(nil, id)
	if want[0].Segment != s {
		t.Fatal("not in the segment")
	}
	outcomes := make([]*evaluation.Outcome, 0, len(flags))
	if n := testing.AllocsPerRun(100, func() { outcomes = env.Evaluate(outcomes[:0], id) }); n > 2 && !underRaceDetector {
		t.Errorf("%v allocations for one identity", n)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := env.Evaluate(nil, id); !slices.Equal(got, want) {
					t.Error("another answer beside other goroutines")
					return
				}
			}
		})
	}
	wg.Wait()
}
