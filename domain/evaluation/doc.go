// Package evaluation decides which value of a flag an identity gets.
//
// A segment is a set of identities, given by rules: conditions on what is known of an identity, joined by ALL, ANY and
// NONE. A feature has a state in the environment and, for some segments, overrides. For an identity the first of these
// decides: the identity's own override, the first override (in the feature's order) whose segment the identity is in,
// the environment's state. A state may be split: a hash of the state's seed and of the identity's key puts the identity
// on a line from 0 to 100, and the variants lie on that line one behind the other, each as long as its weight.
//
// The meaning of every operator is that of Flagsmith's Python engine, which is what its server answers with: a looked-up
// text that reads like a number is one, the value of a condition is cast to the type of what it is compared with, and
// what cannot be cast does not match. Where the engine would raise an exception, the condition is false. The file
// python.go has what Python means by a number, a text and a remainder.
//
// SDKs in local evaluation run engines of their own, and these do not agree on everything. ValidateRules refuses rules
// on which they would not, and says on what form they all agree; Advise tells what depends on the identities' traits.
//
// # Use
//
// Compile on write, run on read. Parts are compiled one by one, are immutable and can be used again:
//
//	beta, err := evaluation.CompileSegment(evaluation.Segment{Key: "7", Name: "beta", Rules: rules})
//	flag := evaluation.CompileFeature(evaluation.Feature{ID: 1, Name: "search", State: off,
//		Overrides: []evaluation.Override{{Segment: beta, State: on}}}, encode)
//	env := evaluation.NewEnvironment(key, name, []*evaluation.Flag{flag}, []*evaluation.CompiledSegment{beta})
//
//	outcomes = env.Evaluate(outcomes[:0], &evaluation.Identity{Identifier: "ada", Traits: traits})
//	for _, o := range outcomes {
//		body = append(body, o.Body...) // made by encode, when the feature was compiled
//	}
//
// Evaluate finds outcomes, it does not make them: all that a feature can answer exists since it was compiled. Explain
// takes the same way through the same conditions, slower, and writes down what it sees.
//
// The package is pure: no I/O, no clock, no randomness; everything may be used by many goroutines at once.
package evaluation
