package httpapi

import (
	"strconv"
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

// blamed is an element and the commit that last changed it.
type blamed struct {
	Element    string       `json:"element"`
	Position   uint64       `json:"position"`
	RecordedAt time.Time    `json:"recorded_at"`
	Actor      domain.Actor `json:"actor"`
	Reason     string       `json:"reason"`
	Ticket     string       `json:"ticket"`
}

// blame finds the commit that made an element what it is.
func (s *Server) blame(element string, at domain.Stamp) (blamed, error) {
	b := blamed{Element: element, Position: at.Position, RecordedAt: at.Time}
	c, err := s.Views.Commit(at.Position)
	if err != nil {
		return b, err
	}
	b.RecordedAt, b.Actor, b.Reason, b.Ticket = c.RecordedAt, c.Actor, c.Reason, c.Ticket
	return b, nil
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
		Traits     map[string]evaluation.Value `json:"traits"` // absent: those stored now
		AsOf       string                      `json:"as_of"`
		Feature    string                      `json:"feature"` // absent: all
		Explain    bool                        `json:"explain"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	id := r.environmentID()
	position, err := r.pointInTime("as_of", body.AsOf, id)
	if err != nil {
		return err
	}
	if body.AsOf != "" {
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
	if body.Identifier != "" || body.Traits != nil {
		surrogate, traits := "", traitsOf(body.Traits)
		if stored := s.Identities.Get(id, body.Identifier); stored != nil {
			surrogate = stored.Surrogate
			if body.Traits == nil {
				traits, answer.TraitsFrom = stored.Traits, "stored now"
			}
			r.seesIdentity(r.project.Key, r.environment.Key, surrogate) // its overrides, also where the traits are given
		}
		who = e.Identity(surrogate, body.Identifier, traits)
		for _, segment := range e.Compiled.Segments(who) {
			answer.Segments = append(answer.Segments, keyOfSegment(past, segment))
		}
	}
	for _, flag := range e.Compiled.Flags() {
		if body.Feature != "" && flag.Name != body.Feature {
			continue
		}
		shown, err := r.evaluateFlag(e, flag, who, body.Explain)
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

// keyOfSegment finds the key of a compiled segment, which is named by its number.
func keyOfSegment(p *domain.Project, compiled *evaluation.CompiledSegment) string {
	for key, s := range p.Segments.All() {
		if strconv.Itoa(int(s.ID)) == compiled.Key {
			return key
		}
	}
	return compiled.Name
}

func (r *request) evaluateFlag(e *domain.Evaluator, flag *evaluation.Flag, who *evaluation.Identity, explain bool) (evaluatedFlag, error) {
	x := e.Compiled.Explain(flag, who)
	shown := evaluatedFlag{Feature: flag.Name, shownResult: *showResult(x.Outcome)}
	if !explain {
		return shown, nil
	}
	shown.Trace = &trace{IdentityOverride: x.IdentityOverride, IdentityKey: x.IdentityKey, Bucket: x.Bucket, Segments: []segmentTrace{}}
	decidedBy := ""
	for _, s := range x.Segments {
		key := keyOfSegment(e.Project, s.Segment)
		r.seesRules(r.project.Key, r.environment.Key, key, tracedRules(s.Rules)...)
		shown.Trace.Segments = append(shown.Trace.Segments, segmentTrace{key, s.Matched, showRules(s.Rules)})
		if s.Matched {
			decidedBy = key
		}
	}
	if !r.token.Allows(domain.Audit, r.project.Key, r.environment.Key) {
		return shown, nil // who did what is for those who may read the history
	}
	elements := e.Environment.Elements(e.Project, flag.Name)
	for _, el := range elements {
		if !el.Decides(decidedBy, x.IdentityOverride, x.Bucket != nil) {
			continue
		}
		b, err := r.server.blame(el.Name, el.Changed)
		if err != nil {
			return shown, err
		}
		shown.DecidedBy = append(shown.DecidedBy, b)
	}
	if x.IdentityOverride {
		if o := r.ownOverride(e, who, flag.Name); o != nil {
			b, err := r.server.blame("identity override", o.Changed)
			if err != nil {
				return shown, err
			}
			shown.DecidedBy = append(shown.DecidedBy, b)
		}
	}
	return shown, nil
}

func (r *request) ownOverride(e *domain.Evaluator, who *evaluation.Identity, feature string) *domain.IdentityOverride {
	stored := r.server.Identities.Get(environmentID(e.Project, e.Environment), who.Identifier)
	if stored == nil {
		return nil
	}
	i, o := e.Environment.Identities.Get(stored.Surrogate).Find(feature)
	if i < 0 {
		return nil
	}
	return &o
}

// featureBlame tells for each element of a feature in the environment which
// commit made it what it is.
func (s *Server) featureBlame(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	list := page[blamed]{Items: []blamed{}}
	for _, el := range r.environment.Elements(r.project, f.Key) {
		b, err := s.blame(el.Name, el.Changed)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, b)
	}
	return r.show(0, list)
}
