package evaluation

// Explanation is how a flag's outcome came about.
type Explanation struct {
	Outcome          *Outcome
	IdentityOverride bool           // the identity's own override decided; nothing else was considered
	IdentityKey      string         // what splits hash; "" when there is no identity
	Segments         []SegmentTrace // of the overrides in their order, up to the one that decided
	Bucket           *float64       // where the identity is on the deciding state's line of variants; nil when it has none
}

// SegmentTrace is one segment considered for an identity.
type SegmentTrace struct {
	Segment *CompiledSegment
	Matched bool
	Rules   []RuleTrace
}

// RuleTrace is one rule. All of its parts are in it, also those that did not matter any more.
type RuleTrace struct {
	ID         string // of the Rule
	Type       RuleType
	Matched    bool
	Conditions []ConditionTrace
	Rules      []RuleTrace
}

// ConditionTrace is one condition with the value that it was compared with.
type ConditionTrace struct {
	Condition Condition
	Operand   Value // as the operator sees it: "007" is the integer 7; null when there is none
	Matched   bool
	Bucket    *float64 // where the operand is on the line of a % split; nil for other operators and without operand
}

// Explain answers one of the environment's flags like EvaluateFlag, and says why. A nil identity considers no segments.
// It is the zero Explanation when f is not one of the environment's.
func (e *Environment) Explain(f *Flag, id *Identity) Explanation {
	i, ok := e.place(f)
	if !ok {
		return Explanation{}
	}
	if id == nil {
		return Explanation{Outcome: e.flags[i].state.plain}
	}
	ev := e.begin(id)
	defer ev.end()
	x := Explanation{IdentityKey: string(ev.key)}
	if o := id.override(f); o != nil {
		x.Outcome, x.IdentityOverride = o, true
		return x
	}
	c := &e.candidates[e.firstOf[i]]
	for j := int(e.firstOf[i]); c.segment != everybody; j++ {
		trace := ev.explain(c.segment)
		x.Segments = append(x.Segments, trace)
		if trace.Matched {
			break
		}
		c = &e.candidates[j+1]
	}
	x.Outcome = ev.pick(c)
	if c.plain == nil {
		at := ev.bucket(c.hash, c.state.seed, ev.key)
		x.Bucket = &at
	}
	return x
}

// ExplainSegment says whether and why the identity is in the segment, which need not be one of the environment's. Nobody
// is in none.
func (e *Environment) ExplainSegment(s *CompiledSegment, id *Identity) SegmentTrace {
	if id == nil {
		return SegmentTrace{Segment: s}
	}
	alone := NewEnvironment(e.Key, e.Name, nil, []*CompiledSegment{s})
	ev := alone.begin(id)
	defer ev.end()
	return ev.explain(0)
}

func (ev *evaluator) explain(segment int32) SegmentTrace {
	s := ev.env.segments[segment]
	rules := ev.explainRules(s.rules, s.source, ev.env.slots[ev.env.firstSlot[segment]:])
	matched := len(rules) > 0
	for _, r := range rules {
		matched = matched && r.Matched
	}
	return SegmentTrace{Segment: s, Matched: matched, Rules: rules}
}

func (ev *evaluator) explainRules(rules []compiledRule, source []Rule, slots []int32) []RuleTrace {
	traces := make([]RuleTrace, len(rules))
	for i := range rules {
		r, t := &rules[i], &traces[i]
		t.ID, t.Type = source[i].ID, source[i].Type
		t.Conditions = make([]ConditionTrace, len(r.conditions))
		t.Matched = len(r.conditions) == 0 || !r.then
		for j := range r.conditions {
			c := &r.conditions[j]
			trace := c.explain(source[i].Conditions[c.place], ev.operand(slots[c.property]), ev)
			t.Conditions[c.place] = trace
			if trace.Matched == r.stopOn {
				t.Matched = r.then
			}
		}
		t.Rules = ev.explainRules(r.rules, source[i].Rules, slots)
		subRules := len(t.Rules) == 0 || !r.then
		for _, sub := range t.Rules {
			if sub.Matched == r.stopOn {
				subRules = r.then
			}
		}
		t.Matched = t.Matched && subRules
	}
	return traces
}

func (c *compiledCondition) explain(source Condition, v *operand, ev *evaluator) ConditionTrace {
	t := ConditionTrace{Condition: source, Operand: v.Value, Matched: c.holds(v, ev)}
	if v.kind == kindBig {
		t.Operand = String(v.text)
	}
	if s, ok := c.test.(*split); ok && v.kind != KindNull {
		at := s.bucket(v, ev)
		t.Bucket = &at
	}
	return t
}
