package evaluation_test

import (
	"crypto/md5"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/domain/evaluation"
	"flagledger/domain/evaluation/md5x"
)

// hundredths are variants of which each is dealt to one percent.
var hundredths = func() (all []evaluation.Variant) {
	for i := range 100 {
		all = append(all, evaluation.Variant{Key: fmt.Sprint(i), Value: evaluation.Int(int64(i)), Weight: 1, Priority: int64(i)})
	}
	return all
}()

// An evaluation of all flags hashes many salts at once, and one of a single flag one after the other: they come to the
// same, and to what the reference comes to, whatever the lengths of salts and identities are.
func TestSumsTogether(t *testing.T) {
	properties := []string{"", "$.identity.key", "$.identity.identifier", "x", "$.identity.traits.x"}
	salts := rapid.OneOf(
		rapid.Map(rapid.IntRange(1, 2_000_000_000), func(n int) string { return fmt.Sprint(n) }),
		rapid.Map(rapid.IntRange(1, 99), func(n int) string { return fmt.Sprint(n) }),
		rapid.StringMatching(`[a-z,é]{0,18}`),
	)
	identifiers := rapid.OneOf(rapid.StringMatching(`[a-z0-9-]{0,130}`), rapid.SampledFrom(operands))
	rapid.Check(t, func(t *rapid.T) {
		state := func() evaluation.State {
			s := evaluation.State{Seed: salts.Draw(t, "seed"), Value: text("control")}
			if rapid.IntRange(0, 4).Draw(t, "split") > 0 {
				s.Variants = hundredths[:rapid.IntRange(1, 100).Draw(t, "variants")]
			}
			return s
		}
		var source []evaluation.Segment
		var compiled []*evaluation.CompiledSegment
		for i := range rapid.IntRange(1, 40).Draw(t, "segments") {
			s := evaluation.Segment{Key: salts.Draw(t, "key"), Name: fmt.Sprint("s", i), Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{{
				Property: rapid.SampledFrom(properties).Draw(t, "property"), Operator: evaluation.PercentageSplit, Value: fmt.Sprint(rapid.IntRange(0, 100).Draw(t, "percent"))}}}}}
			c, err := evaluation.CompileSegment(s)
			if err != nil {
				t.Fatal(err)
			}
			source, compiled = append(source, s), append(compiled, c)
		}
		own, over, of := make([]evaluation.State, 40), make([]evaluation.State, 40), make([]int, 40)
		var flags []*evaluation.Flag
		for i := range own {
			own[i], over[i], of[i] = state(), state(), rapid.IntRange(0, len(source)-1).Draw(t, "segment")
			flags = append(flags, evaluation.CompileFeature(evaluation.Feature{ID: int32(i + 1), Name: fmt.Sprint("f", i), State: own[i],
				Overrides: []evaluation.Override{{Segment: compiled[of[i]], State: over[i]}}}, nil))
		}
		env := evaluation.NewEnvironment("env", "Production", flags, compiled)
		for range 3 {
			id := &evaluation.Identity{Identifier: identifiers.Draw(t, "identifier"), Traits: []evaluation.Trait{{Key: "x", Value: drawValue(t)}}}
			for i, got := range env.Evaluate(nil, id) {
				if one := env.EvaluateFlag(flags[i], id); got != one {
					t.Fatalf("flag %d of %q: %s; alone: %s", i, id.Identifier, describe(got), describe(one))
				}
				s := source[of[i]]
				r := reference{environmentKey: "env", environmentName: "Production", segmentKey: s.Key, id: id}
				_, value, reason, variant, err := r.outcome(own[i], s, over[i])
				if err == nil && (got.Value != value || got.Reason != reason || got.Variant != variant) {
					t.Fatalf("flag %d of %q: %s; the reference: %v %s %s", i, id.Identifier, describe(got), value, reason, variant)
				}
			}
		}
	})
}

// Who comes to stand on the 9999th step is hashed again, also among others who are not.
func TestSumsTogetherOnTheLastStep(t *testing.T) {
	for _, salt := range []string{"10", "17", "29"} {
		identifier := onLastStep(salt)
		var flags []*evaluation.Flag
		for seed := range 20 {
			flags = append(flags, evaluation.CompileFeature(evaluation.Feature{ID: int32(seed + 1), Name: fmt.Sprint("f", seed),
				State: evaluation.State{Seed: fmt.Sprint(10 + seed), Value: text("control"), Variants: hundredths}}, nil))
		}
		env := evaluation.NewEnvironment("env", "Production", flags, nil)
		id := &evaluation.Identity{Identifier: identifier}
		got := env.Evaluate(nil, id)
		for i, f := range flags {
			if one := env.EvaluateFlag(f, id); one != got[i] {
				t.Errorf("salt %s: flag %s: %s; alone: %s", salt, f.Name, describe(got[i]), describe(one))
			}
			if want := int64(hashed(fmt.Sprint(10+i), "env_"+identifier)); got[i].Value != evaluation.Int(want) {
				t.Errorf("salt %s: flag %s: %s, want variant %d", salt, f.Name, describe(got[i]), want)
			}
		}
	}
}

// onLastStep is an identifier that the salt first puts on the 9999th step.
func onLastStep(salt string) string {
	for i := 0; ; i++ {
		identifier := fmt.Sprint("user-", i)
		sum := md5.Sum([]byte(salt + ",env_" + identifier))
		step := new(big.Int).SetBytes(sum[:])
		if step.Mod(step, big.NewInt(9999)).Int64() == 9998 {
			return identifier
		}
	}
}

// The tests of this package hold as well where the processor cannot make several sums at once.
func TestWithoutVectors(t *testing.T) {
	const off = "cpu.avx2=off"
	if !md5x.Fast {
		t.Skip("this is how they run")
	}
	run := exec.Command(os.Args[0], "-test.run", "^(TestPublicSuite|TestVariants|TestPrecedence|TestPercentageSplit|TestEvaluateAndExplainAgree|TestSumsTogether|TestWithoutVectors)$", "-test.v", "-rapid.checks=30")
	run.Env = append(slices.Clone(os.Environ()), "GODEBUG="+off)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "this is how they run") {
		t.Errorf("they ran with vectors: %s", out)
	}
}
