package httpapi

import (
	"fmt"
	"slices"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// evaluatedFlag is what an identity gets of a feature, and why.
type evaluatedFlag struct {
	Feature string `json:"feature"`
	shownResult
	// DecidedBy are the elements that led to it, each with the commit that made
	// it what it is.
	DecidedBy []blamed `json:"decided_by,omitempty"`
	Trace     *trace   `json:"trace,omitempty"`
}

// blamed is an element and the commit that made it what it is.
type blamed struct {
	Element    string       `json:"element"`
	Object     string       `json:"object"`          // whose history tells more of it
	Value      any          `json:"value,omitempty"` // not of rules, which are long
	Position   uint64       `json:"position"`
	RecordedAt time.Time    `json:"recorded_at"`
	Actor      domain.Actor `json:"actor"`
	Reason     string       `json:"reason"`
	Ticket     string       `json:"ticket"`
}

// blame finds the commits that made elements what they are in the project.
func (s *Server) blame(p *domain.Project, env *domain.Environment, elements []domain.Element) ([]blamed, error) {
	since, err := s.Views.Blame(environmentID(p, env), elements, p.Position)
	if err != nil {
		return nil, err
	}
	all := make([]blamed, len(elements))
	for i, el := range elements {
		c, err := s.Views.Commit(since[i])
		if err != nil {
			return nil, fmt.Errorf("blame %s: %w", el.Name, err)
		}
		all[i] = blamed{
			Element: el.Name, Object: el.Object().String(), Position: c.Position, RecordedAt: c.RecordedAt, Actor: c.Actor, Reason: c.Reason, Ticket: c.Ticket,
		}
		if !el.Long {
			_, all[i].Value = el.Value(p)
		}
	}
	return all, nil
}

// trace is how an outcome came about.
type trace struct {
	IdentityOverride bool           `json:"identity_override"`
	IdentityKey      string         `json:"identity_key,omitempty"` // what splits hash
	Segments         []segmentTrace `json:"segments"`               // those considered, in their order
	Bucket           *float64       `json:"bucket,omitempty"`       // percent; where the identity is among the variants
}

type segmentTrace struct {
	Segment string      `json:"segment"`
	Matched bool        `json:"matched"`
	Rules   []ruleTrace `json:"rules"`
}

type ruleTrace struct {
	ID         string              `json:"id"`
	Type       evaluation.RuleType `json:"type"`
	Matched    bool                `json:"matched"`
	Conditions []conditionTrace    `json:"conditions,omitempty"`
	Rules      []ruleTrace         `json:"rules,omitempty"`
}

type conditionTrace struct {
	evaluation.Condition
	Operand evaluation.Value `json:"operand"` // null: the identity has no such trait
	Matched bool             `json:"matched"`
	Bucket  *float64         `json:"bucket,omitempty"` // percent
}

func showRules(rules []evaluation.RuleTrace) []ruleTrace {
	shown := make([]ruleTrace, len(rules))
	for i, r := range rules {
		shown[i] = ruleTrace{ID: r.ID, Type: r.Type, Matched: r.Matched, Rules: showRules(r.Rules)}
		for _, c := range r.Conditions {
			shown[i].Conditions = append(shown[i].Conditions, conditionTrace{c.Condition, c.Operand, c.Matched, c.Bucket})
		}
	}
	return shown
}

// tracedRules are the rules of a trace.
func tracedRules(traces []evaluation.RuleTrace) []evaluation.Rule {
	rules := make([]evaluation.Rule, len(traces))
	for i, t := range traces {
		rules[i] = evaluation.Rule{ID: t.ID, Type: t.Type, Rules: tracedRules(t.Rules)}
		for _, c := range t.Conditions {
			rules[i].Conditions = append(rules[i].Conditions, c.Condition)
		}
	}
	return rules
}

// evaluate answers what an identity gets, or got at a point in time, and why.
func (s *Server) evaluate(r *request) error {
	var body struct {
		Identifier string                      `json:"identifier"`
		Traits     map[string]evaluation.Value `json:"traits"`  // absent: those stored now
		AsOf       *string                     `json:"as_of"`   // absent: now
		Feature    string                      `json:"feature"` // absent: all
		Explain    bool                        `json:"explain"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	point := ""
	switch {
	case body.AsOf == nil && r.gone > 0:
		return r.refuseGone()
	case body.AsOf == nil:
	case domain.Trim(*body.AsOf) == "":
		return domain.RefuseField(domain.Malformed, "as_of", "as_of has no value: leave it out, or say which")
	default:
		point = *body.AsOf
	}
	id, position, err := r.placeOf("as_of", r.environment.Key, point)
	if err != nil {
		return err
	}
	if point != "" {
		r.asOf = asOf(position)
	}
	version, err := s.Views.VersionAt(id, position)
	if err != nil {
		return err
	}
	past, err := s.Views.At(id, position)
	if err != nil {
		return err
	}
	e, err := past.Evaluator(past.Environments.Get(r.environment.Key))
	if err != nil {
		return err
	}
	answer := struct {
		Environment string          `json:"environment"`
		Version     uint64          `json:"version"`
		Position    uint64          `json:"position"`
		Identifier  string          `json:"identifier,omitempty"`
		TraitsFrom  string          `json:"traits_from"` // request, or stored now: old traits are not kept
		Segments    []string        `json:"segments"`    // that the identity is in
		Flags       []evaluatedFlag `json:"flags"`
	}{Environment: r.environment.Key, Version: version.Version, Position: position, Identifier: body.Identifier, TraitsFrom: "request", Segments: []string{}, Flags: []evaluatedFlag{}}

	var who *evaluation.Identity
	segments, surrogate := keysOfSegments(past), ""
	if body.Identifier != "" || body.Traits != nil {
		traits := traitsOf(body.Traits)
		if stored := s.Identities.Get(id, body.Identifier); stored != nil {
			surrogate = stored.Surrogate
			if body.Traits == nil {
				traits, answer.TraitsFrom = r.project.Kept(stored.Traits), "stored now"
			}
			r.seesIdentity(r.project.Key, r.environment.Key, surrogate) // its overrides, also where the traits are given
		}
		who = e.Identity(surrogate, body.Identifier, traits)
		for _, segment := range e.Compiled.Segments(who) {
			answer.Segments = append(answer.Segments, segments[segment.Key])
		}
	}
	for _, flag := range e.Compiled.Flags() {
		if body.Feature != "" && flag.Name != body.Feature {
			continue
		}
		shown, err := r.evaluateFlag(e, segments, flag, who, surrogate, answer.Segments, body.Explain)
		if err != nil {
			return err
		}
		answer.Flags = append(answer.Flags, shown)
	}
	if body.Feature != "" && len(answer.Flags) == 0 {
		return domain.RefuseField(domain.NotFound, "feature", "there is no feature %q in project %q at position %d", body.Feature, r.project.Key, position)
	}
	return r.show(0, answer)
}

// evaluateFlag evaluates one feature for somebody, who has the surrogate and is a
// member of segments.
func (r *request) evaluateFlag(e *domain.Evaluator, segments segmentKeys, flag *evaluation.Flag, who *evaluation.Identity, surrogate string, member []string, explain bool) (evaluatedFlag, error) {
	x := e.Compiled.Explain(flag, who)
	shown := evaluatedFlag{Feature: flag.Name, shownResult: *showResult(x.Outcome, segments)}
	if !explain {
		return shown, nil
	}
	shown.Trace = &trace{IdentityOverride: x.IdentityOverride, IdentityKey: x.IdentityKey, Bucket: x.Bucket, Segments: []segmentTrace{}}
	d := domain.Decision{Identity: surrogate, Split: x.Bucket != nil, Variant: x.Outcome.Variant}
	for _, s := range x.Segments {
		key := segments[s.Segment.Key]
		r.seesRules(r.project.Key, r.environment.Key, key, tracedRules(s.Rules)...)
		shown.Trace.Segments = append(shown.Trace.Segments, segmentTrace{key, s.Matched, showRules(s.Rules)})
		d.Asked = append(d.Asked, key)
	}
	if !r.token.Allows(domain.Audit, r.project.Key, r.environment.Key) {
		return shown, nil // who did what is for those who may read the history
	}
	for _, segment := range e.Environment.Overrides.Get(flag.Name).Order() {
		if slices.Contains(member, segment) {
			d.Member = append(d.Member, segment)
		}
	}
	if !x.IdentityOverride {
		d.Identity = ""
	}
	var err error
	shown.DecidedBy, err = r.server.blame(e.Project, e.Environment, e.Environment.Deciding(e.Project, flag.Name, d))
	return shown, err
}

// featureBlame tells for each element of a feature in the environment which
// commit made it what it is.
func (s *Server) featureBlame(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	all, err := s.blame(r.project, r.environment, r.environment.Elements(r.project, f.Key))
	if err != nil {
		return err
	}
	return r.show(0, page[blamed]{Items: all})
}
