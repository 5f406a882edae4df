package evaluation

import (
	"cmp"
	"fmt"
	"slices"
)

// CompiledSegment is a Segment made ready to be evaluated. It is immutable and may be shared by environments.
type CompiledSegment struct {
	Key  string
	Name string

	rules      []compiledRule
	rule       compiledRule // all of rules in one, made for evaluation; see unwrapped
	conditions int          // how many it has
	properties []property   // what the conditions look at, each once; conditions hold an index into it
	source     []Rule       // what rules was made of, for Explain
}

// compiledRule is a Rule; stopOn and then say how its parts are joined: the first part that is stopOn makes the rule
// then, and when none is, the rule is not then.
type compiledRule struct {
	stopOn, then bool
	conditions   []compiledCondition // the cheapest first: their order has no meaning
	rules        []compiledRule
}

// compiledCondition is a Condition whose value has been read.
type compiledCondition struct {
	test     predicate // of a value that is there
	property int32     // the index in the segment's properties; in an environment, the place in its own
	place    int32     // in the conditions of the rule it was made of
	hash     place     // of a % split
	missing  bool      // the outcome when there is no value
}

// predicate is what an operator says of a value, null excepted. The evaluator is there for its scratch space.
type predicate interface {
	holds(v *operand, ev *evaluator) bool
}

// CompileSegment prepares a segment. It fails on an unknown operator or rule type and on a regular expression that RE2
// cannot do; ValidateRules refuses these. A value that the operator cannot use, "x" in a % split, makes a condition that
// never holds, as it does in the SDKs. The rules are kept for Explain and must not be changed any more.
func CompileSegment(s Segment) (*CompiledSegment, error) {
	c := &CompiledSegment{Key: s.Key, Name: s.Name, source: s.Rules}
	rules, err := c.compileRules(s.Rules)
	if err != nil {
		return nil, fmt.Errorf("compile segment %s (%s): %w", s.Key, s.Name, err)
	}
	c.rules = rules
	if c.rule = unwrapped(compiledRule{rules: rules}); len(rules) == 0 {
		c.rule = nobody
	}
	return c, nil
}

// nobody is the rule that does not hold: none of nothing, which always does.
var nobody = compiledRule{stopOn: true, then: false, rules: make([]compiledRule, 1)}

// unwrapped leaves out what makes rules slower and not different: an ALL or ANY of nothing but one rule is that rule.
// Dashboards write segments in this way, each of them.
func unwrapped(r compiledRule) compiledRule {
	for len(r.conditions) == 0 && len(r.rules) == 1 && r.stopOn == r.then { // NONE is where they differ
		r = r.rules[0]
	}
	rules := make([]compiledRule, len(r.rules))
	for i := range rules {
		rules[i] = unwrapped(r.rules[i])
	}
	r.rules = rules
	return r
}

func (c *CompiledSegment) compileRules(rules []Rule) ([]compiledRule, error) {
	compiled := make([]compiledRule, len(rules))
	for i, r := range rules {
		to := &compiled[i]
		switch r.Type {
		case All:
			to.stopOn, to.then = false, false
		case Any:
			to.stopOn, to.then = true, true
		case None:
			to.stopOn, to.then = true, false
		default:
			return nil, fmt.Errorf("unknown rule type %q", r.Type)
		}
		to.conditions = make([]compiledCondition, len(r.Conditions))
		for j, condition := range r.Conditions {
			test, err := compileCondition(condition, c.Key)
			if err != nil {
				return nil, fmt.Errorf("condition %s on %q: %w", condition.ID, condition.Property, err)
			}
			c.conditions++
			to.conditions[j] = compiledCondition{
				test:     test,
				property: c.propertyOf(condition),
				place:    int32(j),
				hash:     alone,
				missing:  condition.Operator == IsNotSet,
			}
		}
		slices.SortStableFunc(to.conditions, func(a, b compiledCondition) int { return cmp.Compare(cost(a.test), cost(b.test)) })
		subRules, err := c.compileRules(r.Rules)
		if err != nil {
			return nil, err
		}
		to.rules = subRules
	}
	return compiled, nil
}

// propertyOf is the index of the condition's property in c.properties, where it is put when it is new.
func (c *CompiledSegment) propertyOf(condition Condition) int32 {
	p := parseProperty(condition.Property)
	if p.source == fromNothing && condition.Operator == PercentageSplit {
		p.source = fromSplitKey
	}
	i := slices.Index(c.properties, p)
	if i < 0 {
		i = len(c.properties)
		c.properties = append(c.properties, p)
	}
	return int32(i)
}

// compileCondition reads a condition's value as its operator wants it.
func compileCondition(c Condition, salt string) (predicate, error) {
	switch c.Operator {
	case Equal, NotEqual, GreaterThan, GreaterThanInclusive, LessThan, LessThanInclusive:
		return compileComparison(c.Operator, c.Value), nil
	case Contains:
		return contains{c.Value}, nil
	case NotContains:
		return notContains{c.Value}, nil
	case Regex:
		return compileRegex(c.Value)
	case Modulo:
		return compileModulo(c.Value), nil
	case PercentageSplit:
		return compileSplit(salt, c.Value), nil
	case In:
		return compileIn(c.Value), nil
	case IsSet:
		return always(true), nil
	case IsNotSet:
		return always(false), nil
	default:
		return nil, fmt.Errorf("unknown operator %q", c.Operator)
	}
}

// always is the predicate of operators for which it is enough that there is a value.
type always bool

func (a always) holds(*operand, *evaluator) bool { return bool(a) }

// never is the predicate of a condition whose value the operator cannot use.
const never = always(false)

// cost ranks predicates: a hash costs more than a search through a text, and both more than a comparison.
func cost(p predicate) int {
	switch p.(type) {
	case *split:
		return 2
	case regex, *versionComparison:
		return 1
	default:
		return 0
	}
}

func (r *compiledRule) holds(ev *evaluator) bool {
	return r.conditionsHold(ev) && r.rulesHold(ev)
}

func (r *compiledRule) conditionsHold(ev *evaluator) bool {
	for i := range r.conditions {
		if c := &r.conditions[i]; c.holds(ev.operand(c.property), ev) == r.stopOn {
			return r.then
		}
	}
	return len(r.conditions) == 0 || !r.then
}

func (r *compiledRule) rulesHold(ev *evaluator) bool {
	for i := range r.rules {
		if r.rules[i].holds(ev) == r.stopOn {
			return r.then
		}
	}
	return len(r.rules) == 0 || !r.then
}

func (c *compiledCondition) holds(v *operand, ev *evaluator) bool {
	if v.kind == KindNull {
		return c.missing
	}
	ev.hashing = c.hash
	return c.test.holds(v, ev)
}
