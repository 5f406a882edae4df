package evaluation_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain/evaluation"
)

// An environment in which states were exchanged answers as one that is assembled anew, and so does the one before as it
// did.
func TestWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var segments []*evaluation.CompiledSegment
		for i := range 6 {
			s, err := evaluation.CompileSegment(evaluation.Segment{Key: fmt.Sprint(100 + i), Name: fmt.Sprint("s", i), Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{{
				Property: "x", Operator: evaluation.PercentageSplit, Value: fmt.Sprint(rapid.IntRange(0, 100).Draw(t, "percent"))}}}}})
			if err != nil {
				t.Fatal(err)
			}
			segments = append(segments, s)
		}
		state := func(seed int, split bool) evaluation.State {
			s := evaluation.State{Seed: fmt.Sprint(seed), Enabled: rapid.Bool().Draw(t, "enabled"), Value: evaluation.Int(int64(rapid.IntRange(0, 1000).Draw(t, "value")))}
			if split {
				s.Variants = hundredths[:rapid.IntRange(1, 100).Draw(t, "variants")]
			}
			return s
		}
		features := make([]evaluation.Feature, 20)
		flags := make([]*evaluation.Flag, len(features))
		for i := range features {
			f := evaluation.Feature{ID: int32(i + 1), Name: fmt.Sprint("f", i), State: state(1000+i, rapid.Bool().Draw(t, "split"))}
			for j := range rapid.IntRange(0, 3).Draw(t, "overrides") {
				f.Overrides = append(f.Overrides, evaluation.Override{Segment: rapid.SampledFrom(segments).Draw(t, "segment"), State: state(2000+10*i+j, rapid.Bool().Draw(t, "split"))})
			}
			features[i], flags[i] = f, evaluation.CompileFeature(f, nil)
		}
		before := evaluation.NewEnvironment("env", "Production", flags, segments)
		exchanged := slices.Clone(flags)
		for i, f := range features {
			if rapid.IntRange(0, 2).Draw(t, "exchange") > 0 {
				continue
			}
			f.State = state(1000+i, len(f.State.Variants) > 0)
			f.Overrides = slices.Clone(f.Overrides)
			for j := range f.Overrides {
				f.Overrides[j].State = state(2000+10*i+j, len(f.Overrides[j].State.Variants) > 0)
			}
			exchanged[i] = evaluation.CompileFeature(f, nil)
		}
		with, ok := before.With(exchanged)
		if !ok {
			t.Fatal("the states were not exchanged")
		}
		id := &evaluation.Identity{Identifier: rapid.StringMatching(`[a-z0-9-]{0,40}`).Draw(t, "identifier"), Traits: []evaluation.Trait{{Key: "x", Value: drawValue(t)}}}
		for name, pair := range map[string][2]*evaluation.Environment{
			"exchanged": {with, evaluation.NewEnvironment("env", "Production", exchanged, segments)},
			"before":    {before, evaluation.NewEnvironment("env", "Production", flags, segments)},
		} {
			got, want := pair[0].Evaluate(nil, id), pair[1].Evaluate(nil, id)
			for i := range want {
				if one := pair[0].EvaluateFlag(pair[0].Flags()[i], id); got[i] != want[i] || one != want[i] {
					t.Fatalf("%s: flag %d of %q: %s, alone %s; want %s", name, i, id.Identifier, describe(got[i]), describe(one), describe(want[i]))
				}
			}
			if !slices.Equal(pair[0].Evaluate(nil, nil), pair[1].Evaluate(nil, nil)) || !slices.Equal(pair[0].Segments(id), pair[1].Segments(id)) {
				t.Fatalf("%s: the answers without an identity, or the segments of %q, differ", name, id.Identifier)
			}
		}
	})
}

// What hashes otherwise, or looks at other segments, is not exchanged.
func TestWithRefuses(t *testing.T) {
	var segments []*evaluation.CompiledSegment
	for _, key := range []string{"1", "2"} {
		s, err := evaluation.CompileSegment(evaluation.Segment{Key: key, Name: key})
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, s)
	}
	feature := func(change func(*evaluation.Feature)) *evaluation.Flag {
		f := evaluation.Feature{ID: 1, Name: "f", State: evaluation.State{Seed: "7"}, Overrides: []evaluation.Override{{Segment: segments[0], State: evaluation.State{Seed: "8"}}}}
		change(&f)
		return evaluation.CompileFeature(f, nil)
	}
	same := func(*evaluation.Feature) {}
	env := evaluation.NewEnvironment("env", "Production", []*evaluation.Flag{feature(same)}, segments)
	for name, test := range map[string]struct {
		flags []*evaluation.Flag
		ok    bool
	}{
		"the same":                {[]*evaluation.Flag{feature(same)}, true},
		"another value":           {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.State.Value = text("x") })}, true},
		"none":                    {nil, false},
		"one more":                {[]*evaluation.Flag{feature(same), feature(same)}, false},
		"another feature":         {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.ID = 2 })}, false},
		"another name":            {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.Name = "g" })}, false},
		"another seed":            {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.State.Seed = "9" })}, false},
		"a split":                 {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.State.Variants = hundredths })}, false},
		"another segment":         {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.Overrides[0].Segment = segments[1] })}, false},
		"no override":             {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.Overrides = nil })}, false},
		"an override that splits": {[]*evaluation.Flag{feature(func(f *evaluation.Feature) { f.Overrides[0].State.Variants = hundredths })}, false},
	} {
		if _, ok := env.With(test.flags); ok != test.ok {
			t.Errorf("%s: exchanged %t, want %t", name, ok, test.ok)
		}
	}
}
