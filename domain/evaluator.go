package domain

import (
	"fmt"

	"flagledger/domain/evaluation"
)

// An Evaluator is an environment of any state, past, present or proposed, made
// ready to be evaluated. It answers as the environment would; the views keep
// faster ones for the present.
type Evaluator struct {
	Project     *Project
	Environment *Environment
	Compiled    *evaluation.Environment
}

// Evaluator compiles an environment of the project.
func (p *Project) Evaluator(env *Environment) (*Evaluator, error) {
	compiled := make(map[string]*evaluation.CompiledSegment, p.Segments.Len())
	var segments []*evaluation.CompiledSegment
	for key, s := range p.Segments.All() {
		if !env.Shows(s) {
			continue
		}
		c, err := evaluation.CompileSegment(env.EvaluationSegment(s))
		if err != nil {
			return nil, fmt.Errorf("compile segment %s for %s/%s: %w", key, p.Key, env.Key, err)
		}
		compiled[key] = c
		segments = append(segments, c)
	}
	flags := make([]*evaluation.Flag, 0, p.Features.Len())
	for _, f := range p.Features.All() {
		flags = append(flags, evaluation.CompileFeature(env.EvaluationFeature(f, func(key string) *evaluation.CompiledSegment { return compiled[key] }), nil))
	}
	return &Evaluator{p, env, evaluation.NewEnvironment(env.ClientKey, env.Name, flags, segments)}, nil
}

// Identity makes what is evaluated of a person: the surrogate, "" for somebody
// unknown, brings the person's overrides.
func (e *Evaluator) Identity(surrogate, identifier string, traits []evaluation.Trait) *evaluation.Identity {
	id := &evaluation.Identity{Identifier: identifier, Traits: traits}
	stored := e.Environment.Identities.Get(surrogate)
	if stored == nil || surrogate == "" {
		return id
	}
	for _, o := range stored.List {
		flag, f := e.Compiled.Flag(o.Feature), e.Project.Features.Get(o.Feature)
		if flag != nil && f != nil {
			id.Overrides = append(id.Overrides, flag.IdentityOutcome(o.Enabled, e.Environment.IdentityValue(f, o), o.Variant, nil))
		}
	}
	return id
}

// Shows tells whether the environment evaluates a segment: one that belongs to
// a feature counts only where it has an override.
func (e *Environment) Shows(s *Segment) bool {
	return s.Feature == "" || e.UsesSegment(s.Key)
}
