package domain

import (
	"fmt"

	"flagledger/domain/evaluation"
)

// SegmentTests are the named cases of a segment: who must be in it and who not.
type SegmentTests struct {
	Segment string        `json:"segment"`
	Cases   []SegmentCase `json:"cases"`
	Changed Stamp         `json:"changed"`
}

// A SegmentCase is somebody made up, with whether the segment must hold them.
type SegmentCase struct {
	Name       string                      `json:"name"`
	Identifier string                      `json:"identifier,omitempty"`
	Traits     map[string]evaluation.Value `json:"traits,omitempty"`
	Member     bool                        `json:"member"`
}

// FeatureTests are the named cases of a feature: what somebody must get.
type FeatureTests struct {
	Feature string        `json:"feature"`
	Cases   []FeatureCase `json:"cases"`
	Changed Stamp         `json:"changed"`
}

// A FeatureCase is somebody made up, with what they must get in an environment.
// What is left out of the expectation may be anything.
type FeatureCase struct {
	Name        string                      `json:"name"`
	Environment string                      `json:"environment"`
	Identifier  string                      `json:"identifier,omitempty"`
	Traits      map[string]evaluation.Value `json:"traits,omitempty"`
	Enabled     *bool                       `json:"enabled,omitempty"`
	Value       Expectation                 `json:"value,omitzero"`
	Variant     *string                     `json:"variant,omitempty"`
}

// An Expectation is a value that is expected, which may be null; its zero value,
// a member that is left out, expects nothing.
type Expectation struct {
	Given bool
	Value evaluation.Value
}

// Expect expects the value.
func Expect(v evaluation.Value) Expectation { return Expectation{true, v} }

// IsZero tells encoding/json to leave the member out.
func (e Expectation) IsZero() bool { return !e.Given }

// MarshalJSON writes the value.
func (e Expectation) MarshalJSON() ([]byte, error) { return e.Value.MarshalJSON() }

// UnmarshalJSON reads a member that is there, also where it is null.
func (e *Expectation) UnmarshalJSON(data []byte) error {
	e.Given = true
	return e.Value.UnmarshalJSON(data)
}

// SegmentTestsSet replaces the cases of a segment; none: they are removed.
type SegmentTestsSet struct {
	Segment string        `json:"segment"`
	Cases   []SegmentCase `json:"cases"`
}

// FeatureTestsSet replaces the cases of a feature; none: they are removed.
type FeatureTestsSet struct {
	Feature string        `json:"feature"`
	Cases   []FeatureCase `json:"cases"`
}

// EventType implements Event.
func (SegmentTestsSet) EventType() string { return "segment_tests.set.v1" }

// EventType implements Event.
func (FeatureTestsSet) EventType() string { return "feature_tests.set.v1" }

// Objects implements Event.
func (e SegmentTestsSet) Objects(*Project) []Object {
	return []Object{{Kind: KindSegmentTests, Key: e.Segment}}
}

// Objects implements Event.
func (e FeatureTestsSet) Objects(*Project) []Object {
	return []Object{{Kind: KindFeatureTests, Key: e.Feature}}
}

func (e SegmentTestsSet) apply(p *Project, at Stamp) {
	if len(e.Cases) == 0 {
		p.SegmentTests = p.SegmentTests.Delete(e.Segment)
	} else {
		p.SegmentTests = p.SegmentTests.Set(e.Segment, &SegmentTests{e.Segment, e.Cases, at})
	}
}

func (e FeatureTestsSet) apply(p *Project, at Stamp) {
	if len(e.Cases) == 0 {
		p.FeatureTests = p.FeatureTests.Delete(e.Feature)
	} else {
		p.FeatureTests = p.FeatureTests.Set(e.Feature, &FeatureTests{e.Feature, e.Cases, at})
	}
}

// A TestFailure is a case that does not hold.
type TestFailure struct {
	Object Object // whose case it is
	Name   string
	Detail string // what was wanted and what is
}

// Persons gives the surrogate of somebody in an environment, "" of who is not
// known there; nil knows nobody.
type Persons func(environment *Environment, identifier string) string

// RunTests runs the cases that concern the objects (nil: all), and returns
// those that fail. Who is known gets the overrides that are theirs. A case about
// an environment that is not there cannot be run, see [Project.SkippedTests].
func (p *Project) RunTests(objects []Object, persons Persons) ([]TestFailure, error) {
	var failed []TestFailure
	touched := func(kind ObjectKind, key string) bool {
		if objects == nil {
			return true
		}
		for _, o := range objects {
			if o.Kind == kind && o.Key == key {
				return true
			}
		}
		return false
	}
	for key, tests := range p.SegmentTests.All() {
		s := p.Segments.Get(key)
		if s == nil || !touched(KindSegment, key) && !touched(KindSegmentTests, key) {
			continue
		}
		compiled, err := evaluation.CompileSegment(evaluation.Segment{Key: fmt.Sprint(s.ID), Name: s.Name, Rules: s.Rules})
		if err != nil {
			return nil, fmt.Errorf("test segment %s: %w", key, err)
		}
		env := evaluation.NewEnvironment("test", "test", nil, []*evaluation.CompiledSegment{compiled})
		for _, c := range tests.Cases {
			if member := len(env.Segments(c.identity())) > 0; member != c.Member {
				failed = append(failed, TestFailure{
					Object{Kind: KindSegment, Key: key}, c.Name, fmt.Sprintf("member should be %t and is %t", c.Member, member),
				})
			}
		}
	}
	if p.FeatureTests.Len() == 0 {
		return failed, nil
	}
	evaluators := map[string]*Evaluator{}
	for key, tests := range p.FeatureTests.All() {
		for _, c := range tests.Cases {
			env := p.Environments.Get(c.Environment)
			if env == nil || p.Features.Get(key) == nil {
				continue
			}
			e := evaluators[c.Environment]
			if e == nil {
				var err error
				if e, err = p.Evaluator(env); err != nil {
					return nil, err
				}
				evaluators[c.Environment] = e
			}
			o := e.Compiled.EvaluateFlag(e.Compiled.Flag(key), c.identity(e, persons))
			if problem := c.problem(o); problem != "" {
				failed = append(failed, TestFailure{Object{Kind: KindFeature, Key: key}, c.Name, problem})
			}
		}
	}
	return failed, nil
}

func (c SegmentCase) identity() *evaluation.Identity {
	return &evaluation.Identity{Identifier: c.Identifier, Traits: traitList(c.Traits)}
}

func (c FeatureCase) identity(e *Evaluator, persons Persons) *evaluation.Identity {
	surrogate := ""
	if persons != nil && c.Identifier != "" {
		surrogate = persons(e.Environment, c.Identifier)
	}
	return e.Identity(surrogate, c.Identifier, traitList(c.Traits))
}

// SkippedTests are the cases of a feature about environments that are not there
// (any more).
func (p *Project) SkippedTests(feature string) []TestFailure {
	tests := p.FeatureTests.Get(feature)
	if tests == nil {
		return nil
	}
	var skipped []TestFailure
	for _, c := range tests.Cases {
		if p.Environments.Get(c.Environment) == nil {
			skipped = append(skipped, TestFailure{
				Object{Kind: KindFeature, Key: feature}, c.Name, fmt.Sprintf("there is no environment %q any more", c.Environment),
			})
		}
	}
	return skipped
}

func traitList(traits map[string]evaluation.Value) []evaluation.Trait {
	list := make([]evaluation.Trait, 0, len(traits))
	for key, value := range traits {
		list = append(list, evaluation.Trait{Key: key, Value: value})
	}
	return list
}

func (c FeatureCase) problem(o *evaluation.Outcome) string {
	switch {
	case c.Enabled != nil && *c.Enabled != o.Enabled:
		return fmt.Sprintf("in %s enabled should be %t and is %t", c.Environment, *c.Enabled, o.Enabled)
	case c.Value.Given && c.Value.Value != o.Value:
		return fmt.Sprintf("in %s the value should be %s and is %s", c.Environment, c.Value.Value.AppendJSON(nil), o.Value.AppendJSON(nil))
	case c.Variant != nil && *c.Variant != o.Variant:
		return fmt.Sprintf("in %s the variant should be %q and is %q", c.Environment, *c.Variant, o.Variant)
	}
	return ""
}
