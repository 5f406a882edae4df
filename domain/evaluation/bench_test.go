package evaluation_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"flagledger/domain/evaluation"
)

// workload makes environments as they are found, the same in every run. Of a hundred features, 50 are boolean, 30 have a
// text and 20 are multivariate; 60 have 1 to 3 overrides. Segments have 1 to 5 conditions; identities have 8 traits.
func workload(b testing.TB, features, segments int) (*evaluation.Environment, []*evaluation.CompiledSegment, []evaluation.Identity) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	countries := make([]string, 60)
	for i := range countries {
		countries[i] = fmt.Sprintf("C%02d", i)
	}
	condition := func() evaluation.Condition {
		switch r.IntN(6) {
		case 0:
			return evaluation.Condition{Property: "plan", Operator: evaluation.Equal, Value: fmt.Sprint("plan-", r.IntN(4))}
		case 1:
			list := make([]string, 20)
			for i := range list {
				list[i] = countries[r.IntN(len(countries))]
			}
			return evaluation.Condition{Property: "country", Operator: evaluation.In, Value: strings.Join(list, ",")}
		case 2:
			return evaluation.Condition{Property: "email", Operator: evaluation.Contains, Value: fmt.Sprint("@example-", r.IntN(5), ".com")}
		case 3:
			return evaluation.Condition{Property: "app_version", Operator: evaluation.GreaterThanInclusive, Value: fmt.Sprintf("%d.%d.0:semver", r.IntN(6), r.IntN(10))}
		case 4:
			return evaluation.Condition{Operator: evaluation.PercentageSplit, Value: fmt.Sprint(r.IntN(101))}
		default:
			return evaluation.Condition{Property: "age", Operator: evaluation.GreaterThan, Value: fmt.Sprint(r.IntN(90))}
		}
	}
	compiled := make([]*evaluation.CompiledSegment, segments)
	for i := range compiled {
		sub := evaluation.Rule{Type: []evaluation.RuleType{evaluation.All, evaluation.Any}[r.IntN(2)]}
		for range 1 + r.IntN(5) {
			sub.Conditions = append(sub.Conditions, condition())
		}
		s, err := evaluation.CompileSegment(evaluation.Segment{
			Key: fmt.Sprint(i + 1), Name: fmt.Sprint("segment_", i), Rules: []evaluation.Rule{{Type: evaluation.All, Rules: []evaluation.Rule{sub}}},
		})
		if err != nil {
			b.Fatal(err)
		}
		compiled[i] = s
	}
	encode := func(o *evaluation.Outcome) []byte {
		body := fmt.Appendf(nil, `{"feature":{"id":%d,"name":%q,"type":"STANDARD"},"enabled":%v,"feature_state_value":`, o.Flag.ID, o.Flag.Name, o.Enabled)
		return append(o.Value.AppendJSON(body), '}')
	}
	flags := make([]*evaluation.Flag, features)
	for i := range flags {
		state := func() evaluation.State {
			s := evaluation.State{Seed: fmt.Sprint(r.IntN(1_000_000)), Enabled: r.IntN(2) == 0}
			switch {
			case i%10 >= 8:
				s.Variants = []evaluation.Variant{
					{Key: "a", Value: evaluation.String("variant a"), Weight: 30, Priority: 1},
					{Key: "b", Value: evaluation.String("variant b"), Weight: 30, Priority: 2},
				}
				fallthrough
			case i%10 >= 5:
				s.Value = evaluation.String(fmt.Sprint("the value ", r.IntN(100)))
			}
			return s
		}
		f := evaluation.Feature{ID: int32(i + 1), Name: fmt.Sprint("feature_", i), State: state()}
		if i%5 < 3 {
			for range 1 + r.IntN(3) {
				f.Overrides = append(f.Overrides, evaluation.Override{Segment: compiled[r.IntN(segments)], State: state()})
			}
		}
		flags[i] = evaluation.CompileFeature(f, encode)
	}
	identities := make([]evaluation.Identity, 10_000)
	for i := range identities {
		identities[i] = evaluation.Identity{Identifier: fmt.Sprint("user-", i), Traits: []evaluation.Trait{
			{Key: "plan", Value: evaluation.String(fmt.Sprint("plan-", r.IntN(4)))},
			{Key: "country", Value: evaluation.String(countries[r.IntN(len(countries))])},
			{Key: "email", Value: evaluation.String(fmt.Sprintf("user-%d@example-%d.com", i, r.IntN(5)))},
			{Key: "app_version", Value: evaluation.String(fmt.Sprintf("%d.%d.%d", r.IntN(6), r.IntN(10), r.IntN(20)))},
			{Key: "age", Value: evaluation.Int(r.Int64N(90))},
			{Key: "beta", Value: evaluation.Bool(r.IntN(2) == 0)},
			{Key: "spent", Value: evaluation.Float(float64(r.IntN(10000)) / 100)},
			{Key: "device", Value: evaluation.String("phone")},
		}}
	}
	return evaluation.NewEnvironment("env_key_8AYnz4q3KEfT5DFtnramnP", "Production", flags, compiled), compiled, identities
}

func sizes(b *testing.B, run func(b *testing.B, e *evaluation.Environment, segments []*evaluation.CompiledSegment, identities []evaluation.Identity)) {
	for _, w := range []struct {
		name               string
		features, segments int
	}{{"W1", 100, 50}, {"W3", 1000, 500}} {
		b.Run(w.name, func(b *testing.B) {
			e, compiled, identities := workload(b, w.features, w.segments)
			b.ReportAllocs()
			run(b, e, compiled, identities)
		})
	}
}

// An evaluation allocates at most once, for the identity's key as a text where a split asks for it: nothing for a condition, of which W3 has ten times as
// many as W1.
func TestAllocations(t *testing.T) {
	if underRaceDetector {
		t.Skip("the race detector makes pools forget")
	}
	const asked = 200
	for name, size := range map[string][2]int{"W1": {100, 50}, "W3": {1000, 500}} {
		e, _, identities := workload(t, size[0], size[1])
		outcomes := make([]*evaluation.Outcome, 0, size[0])
		for what, evaluate := range map[string]func(int){
			"all flags": func(i int) { outcomes = e.Evaluate(outcomes[:0], &identities[i]) },
			"one flag":  func(i int) { e.EvaluateFlag(e.Flags()[i%size[0]], &identities[i]) },
		} {
			n := testing.AllocsPerRun(5, func() {
				for i := range asked {
					evaluate(i)
				}
			})
			if n > asked+10 { // a collection may empty the pool of evaluators
				t.Errorf("%s, %s: %v allocations in %d evaluations", name, what, n, asked)
			}
		}
	}
}

// All flags of one identity, and the bytes of the answer.
func BenchmarkEvaluate(b *testing.B) {
	sizes(b, func(b *testing.B, e *evaluation.Environment, _ []*evaluation.CompiledSegment, identities []evaluation.Identity) {
		var outcomes []*evaluation.Outcome
		var body []byte
		i, bytes := 0, 0
		for b.Loop() {
			outcomes = e.Evaluate(outcomes[:0], &identities[i%len(identities)])
			body = append(body[:0], '[')
			for _, o := range outcomes {
				body = append(append(body, o.Body...), ',')
			}
			bytes += len(body)
			i++
		}
		b.ReportMetric(float64(bytes)/float64(i), "body-B/op")
	})
}

// One flag of one identity.
func BenchmarkEvaluateFlag(b *testing.B) {
	sizes(b, func(b *testing.B, e *evaluation.Environment, _ []*evaluation.CompiledSegment, identities []evaluation.Identity) {
		i := 0
		for b.Loop() {
			e.EvaluateFlag(e.Flags()[i%len(e.Flags())], &identities[i%len(identities)])
			i++
		}
	})
}

// What is left to do for an environment when one flag has changed.
func BenchmarkNewEnvironment(b *testing.B) {
	sizes(b, func(b *testing.B, e *evaluation.Environment, segments []*evaluation.CompiledSegment, _ []evaluation.Identity) {
		for b.Loop() {
			evaluation.NewEnvironment(e.Key, e.Name, e.Flags(), segments)
		}
	})
}
