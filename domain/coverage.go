package domain

import (
	"fmt"

	"flagledger/domain/evaluation"
)

// UncoveredNode is a condition or rule of a segment that no case sees both ways.
type UncoveredNode struct {
	ID         string `json:"id"` // of the condition or rule
	NeverTrue  bool   `json:"never_true"`
	NeverFalse bool   `json:"never_false"`
}

// SegmentCoverage tells which conditions and rules of a segment no case of its tests
// makes true, or false.
func (p *Project) SegmentCoverage(segment string) ([]UncoveredNode, error) {
	s := p.Segments.Get(segment)
	compiled, err := evaluation.CompileSegment(evaluation.Segment{Key: fmt.Sprint(s.ID), Name: s.Name, Rules: s.Rules})
	if err != nil {
		return nil, fmt.Errorf("coverage of segment %s: %w", segment, err)
	}
	env := evaluation.NewEnvironment("test", "test", nil, []*evaluation.CompiledSegment{compiled})
	seen := map[string]*UncoveredNode{}
	var order []string
	note := func(id string, matched, asked bool) {
		u := seen[id]
		if u == nil {
			u = &UncoveredNode{ID: id, NeverTrue: true, NeverFalse: true}
			seen[id] = u
			order = append(order, id)
		}
		if asked {
			u.NeverTrue, u.NeverFalse = u.NeverTrue && !matched, u.NeverFalse && matched
		}
	}
	var walk func(rules []evaluation.RuleTrace, asked bool)
	walk = func(rules []evaluation.RuleTrace, asked bool) {
		for _, r := range rules {
			note(r.ID, r.Matched, asked)
			for _, c := range r.Conditions {
				note(c.Condition.ID, c.Matched, asked)
			}
			walk(r.Rules, asked)
		}
	}
	walk(env.ExplainSegment(compiled, &evaluation.Identity{}).Rules, false) // names them all, also without cases
	if tests := p.SegmentTests.Get(segment); tests != nil {
		for _, c := range tests.Cases {
			walk(env.ExplainSegment(compiled, c.identity()).Rules, true)
		}
	}
	uncovered := []UncoveredNode{}
	for _, id := range order {
		if u := seen[id]; u.NeverTrue || u.NeverFalse {
			uncovered = append(uncovered, *u)
		}
	}
	return uncovered, nil
}

// A Branch is one of the ways in which a feature is decided in an environment.
type Branch struct {
	Environment string     `json:"environment"`
	By          BranchKind `json:"by"`
	Segment     string     `json:"segment,omitempty"` // of a segment override
	// Variant is one of those that identities are dealt there, "control" being
	// none of them; empty: whoever comes there at all.
	Variant string `json:"variant,omitempty"`
}

// BranchKind says what decides.
type BranchKind string

// What can decide, the strongest first.
const (
	ByIdentityOverride BranchKind = "identity_override" // of anybody
	BySegmentOverride  BranchKind = "segment_override"
	ByEnvironment      BranchKind = "environment" // no override: the state in the environment
)

// FeatureCoverage returns the branches of a feature, in all environments, to
// which no case of its tests comes.
func (p *Project) FeatureCoverage(feature string, persons Persons) ([]Branch, error) {
	f := p.Features.Get(feature)
	reached := map[Branch]bool{}
	if tests := p.FeatureTests.Get(feature); tests != nil {
		evaluators := map[string]*Evaluator{}
		for _, c := range tests.Cases {
			env := p.Environments.Get(c.Environment)
			if env == nil {
				continue
			}
			e := evaluators[env.Key]
			if e == nil {
				var err error
				if e, err = p.Evaluator(env); err != nil {
					return nil, fmt.Errorf("coverage of feature %s: %w", feature, err)
				}
				evaluators[env.Key] = e
			}
			at := e.branch(feature, e.Compiled.Explain(e.Compiled.Flag(feature), c.identity(e, persons)))
			reached[at] = true
			at.Variant = ""
			reached[at] = true
		}
	}
	uncovered := []Branch{}
	for _, env := range p.Environments.All() {
		for _, b := range env.branches(f) {
			if !reached[b] {
				uncovered = append(uncovered, b)
			}
		}
	}
	return uncovered, nil
}

// branches are those that a feature has in the environment.
func (e *Environment) branches(f *Feature) []Branch {
	var all []Branch
	for _, own := range e.Identities.All() {
		if i, _ := own.Find(f.Key); i >= 0 {
			all = append(all, Branch{Environment: e.Key, By: ByIdentityOverride})
			break
		}
	}
	add := func(b Branch, weights map[string]float64) {
		all = append(all, b)
		rest := 100.0
		for _, v := range e.VariantsIn(f) {
			if w := weights[v.Key]; w > 0 {
				b.Variant, rest = v.Key, rest-w
				all = append(all, b)
			}
		}
		if b.Variant != "" && rest > 0 {
			b.Variant = evaluation.Control
			all = append(all, b)
		}
	}
	if o := e.Overrides.Get(f.Key); o != nil {
		for _, s := range o.List {
			add(Branch{Environment: e.Key, By: BySegmentOverride, Segment: s.Segment}, s.Weights)
		}
	}
	add(Branch{Environment: e.Key, By: ByEnvironment}, e.States.Get(f.Key).Weights)
	return all
}

// branch is the one that an evaluation of a feature came to.
func (e *Evaluator) branch(feature string, x evaluation.Explanation) Branch {
	b := Branch{Environment: e.Environment.Key, By: ByEnvironment, Variant: x.Outcome.Variant}
	if x.IdentityOverride {
		return Branch{Environment: b.Environment, By: ByIdentityOverride}
	}
	for i, s := range x.Segments { // of the overrides, in their order
		if s.Matched {
			b.By, b.Segment = BySegmentOverride, e.Environment.Overrides.Get(feature).List[i].Segment
		}
	}
	return b
}
