package domain

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"flagledger/domain/evaluation"
)

// A Context declares a trait: what it is called, what values it has and how
// private it is. Rules are checked against it.
type Context struct {
	Key         string      `json:"key"`
	Type        ContextType `json:"type"`
	Description string      `json:"description"`
	Owner       string      `json:"owner"`
	// Allowed are the only values there are; empty: any of the type.
	Allowed []evaluation.Value `json:"allowed,omitempty"`
	Privacy Privacy            `json:"privacy"`
	// Required says that apps always send it.
	Required bool  `json:"required"`
	Created  Stamp `json:"created"`
	Changed  Stamp `json:"changed"`
}

// ContextType is the type of a trait's values.
type ContextType string

// The types of trait.
const (
	StringContext   ContextType = "string"
	IntegerContext  ContextType = "integer"
	NumberContext   ContextType = "number"
	BooleanContext  ContextType = "boolean"
	SemverContext   ContextType = "semver"
	DatetimeContext ContextType = "datetime" // a string as of RFC 3339, which sorts as text in UTC
)

// Privacy is the class of a trait's values.
type Privacy string

// The classes of privacy. Sensitive traits are evaluated, but never stored.
const (
	Public    Privacy = "public"
	Personal  Privacy = "personal"
	Sensitive Privacy = "sensitive"
)

// ContextSet declares a trait, or replaces its declaration.
type ContextSet struct {
	Key         string             `json:"key"`
	Type        ContextType        `json:"type"`
	Description string             `json:"description,omitempty"`
	Owner       string             `json:"owner,omitempty"`
	Allowed     []evaluation.Value `json:"allowed,omitempty"`
	Privacy     Privacy            `json:"privacy"`
	Required    bool               `json:"required,omitempty"`
}

// ContextRemoved takes a declaration away.
type ContextRemoved struct {
	Key string `json:"key"`
}

// EventType implements Event.
func (ContextSet) EventType() string { return "context.set.v1" }

// EventType implements Event.
func (ContextRemoved) EventType() string { return "context.removed.v1" }

// Objects implements Event.
func (e ContextSet) Objects(*Project) []Object { return []Object{{Kind: KindContext, Key: e.Key}} }

// Objects implements Event.
func (e ContextRemoved) Objects(*Project) []Object { return []Object{{Kind: KindContext, Key: e.Key}} }

func (e ContextSet) apply(p *Project, at Stamp) {
	c := &Context{e.Key, e.Type, e.Description, e.Owner, e.Allowed, e.Privacy, e.Required, at, at}
	if old := p.Contexts.Get(e.Key); old != nil {
		c.Created = old.Created
	}
	p.Contexts = p.Contexts.Set(e.Key, c)
}

func (e ContextRemoved) apply(p *Project, _ Stamp) { p.Contexts = p.Contexts.Delete(e.Key) }

// Ingest returns the traits that an app's request may bring into evaluation,
// and tells which of them may be stored: a strict project drops undeclared
// ones, and sensitive ones are never stored.
func (p *Project) Ingest(trait string) (evaluated, stored bool) {
	return !p.StrictContexts || p.Contexts.Get(trait) != nil, p.PersistTraits && p.Keeps(trait)
}

// Keeps tells whether a trait may be stored, and what is stored of it may be
// used and shown: a strict project keeps no undeclared ones, and no project
// sensitive ones. What was stored before that was said is not used any more,
// and is deleted.
func (p *Project) Keeps(trait string) bool {
	if c := p.Contexts.Get(trait); c != nil {
		return c.Privacy != Sensitive
	}
	return !p.StrictContexts
}

// KeepsAll tells whether there is no trait that the project does not keep.
func (p *Project) KeepsAll() bool {
	if p.StrictContexts {
		return false
	}
	for _, c := range p.Contexts.All() {
		if c.Privacy == Sensitive {
			return false
		}
	}
	return true
}

// Kept are those of stored traits that the project keeps.
func (p *Project) Kept(stored []evaluation.Trait) []evaluation.Trait {
	if p.Contexts.Len() == 0 && !p.StrictContexts {
		return stored
	}
	unkept := func(t evaluation.Trait) bool { return !p.Keeps(t.Key) }
	if !slices.ContainsFunc(stored, unkept) {
		return stored
	}
	return slices.DeleteFunc(slices.Clone(stored), unkept)
}

// TraitOf is the trait that a condition's property reads, "" for anything else.
func TraitOf(property string) string {
	const path = "$.identity.traits"
	rest, ok := strings.CutPrefix(property, path)
	if !ok {
		if strings.HasPrefix(property, "$.") {
			return ""
		}
		return property
	}
	if name, ok := strings.CutPrefix(rest, "."); ok {
		return name
	}
	if len(rest) > 4 && rest[0] == '[' && rest[len(rest)-1] == ']' {
		if quote := rest[1]; (quote == '\'' || quote == '"') && rest[len(rest)-2] == quote {
			return rest[2 : len(rest)-2]
		}
	}
	return ""
}

// TraitsOf ranges over the traits that rules ask for, some perhaps repeatedly.
func TraitsOf(rules []evaluation.Rule) iter.Seq[string] {
	return func(yield func(string) bool) {
		more := true
		walkRules(rules, func(r *evaluation.Rule) {
			for _, c := range r.Conditions {
				if trait := TraitOf(c.Property); more && trait != "" {
					more = yield(trait)
				}
			}
		})
	}
}

// CheckContexts refuses conditions that contradict the declarations of the
// traits they are about, and in a strict project those about undeclared ones.
func (p *Project) CheckContexts(rules []evaluation.Rule) error {
	if p.Contexts.Len() == 0 && !p.StrictContexts {
		return nil
	}
	var found []FieldError
	var walk func(path string, rules []evaluation.Rule)
	walk = func(path string, rules []evaluation.Rule) {
		for i, r := range rules {
			at := path + "rules[" + strconv.Itoa(i) + "]."
			for j, c := range r.Conditions {
				if detail, fix := p.checkCondition(c); detail != "" {
					found = append(found, FieldError{Field: at + "conditions[" + strconv.Itoa(j) + "]", Detail: detail, Fix: fix})
				}
			}
			walk(at, r.Rules)
		}
	}
	walk("", rules)
	if len(found) == 0 {
		return nil
	}
	e := RefuseField(Invalid, found[0].Field, "%s", found[0].Detail)
	e.Errors = found
	return e
}

// AdviseRules tells on which values of traits SDKs in local evaluation would
// not agree with the server, as far as the declarations do not rule them out.
func (p *Project) AdviseRules(rules []evaluation.Rule) []evaluation.Issue {
	return slices.DeleteFunc(evaluation.Advise(rules), func(i evaluation.Issue) bool {
		c := p.Contexts.Get(i.Trait)
		return i.Trait != "" && c != nil && slices.Contains(i.Types, string(c.Type))
	})
}

// textual are the operators that look into a text.
var textual = []evaluation.Operator{evaluation.Contains, evaluation.NotContains, evaluation.Regex}

// ordered are the operators that compare by size.
var ordered = []evaluation.Operator{
	evaluation.GreaterThan, evaluation.GreaterThanInclusive, evaluation.LessThan, evaluation.LessThanInclusive,
}

func (p *Project) checkCondition(c evaluation.Condition) (detail, fix string) {
	trait := TraitOf(c.Property)
	if trait == "" {
		return "", ""
	}
	declared := p.Contexts.Get(trait)
	if declared == nil {
		if p.StrictContexts {
			return "the trait " + strconv.Quote(trait) + " is not declared, and the project is strict", "declare it as a context of the project"
		}
		return "", ""
	}
	switch c.Operator {
	case evaluation.IsSet, evaluation.PercentageSplit:
		return "", ""
	case evaluation.IsNotSet:
		if declared.Required {
			return "the trait " + strconv.Quote(trait) + " is declared as always sent, so that it is never missing", "leave the condition out, or declare the trait as not required"
		}
		return "", ""
	}
	kind := string(declared.Type) + " trait " + strconv.Quote(trait)
	isText := declared.Type == StringContext
	isTime := declared.Type == DatetimeContext && c.Operator == evaluation.Regex // which keeps numbers out of orders
	if slices.Contains(textual, c.Operator) && !isText && !isTime {
		return string(c.Operator) + " looks into a text, which the " + kind + " is not", "compare it with EQUAL, IN or by size"
	}
	if c.Operator == evaluation.Modulo && declared.Type != IntegerContext && declared.Type != NumberContext {
		return "MODULO needs a number, which the " + kind + " is not", ""
	}
	if slices.Contains(ordered, c.Operator) && (isText || declared.Type == BooleanContext) {
		return string(c.Operator) + " compares by size, which makes no sense for the " + kind, "declare it as a number, semver or datetime if that is what it is"
	}
	if c.Operator == evaluation.Modulo || slices.Contains(textual, c.Operator) {
		return "", ""
	}
	for _, value := range operands(c) {
		if problem := declared.problemWith(value); problem != "" {
			return "the value " + strconv.Quote(value) + " " + problem + " of the " + kind, ""
		}
	}
	return "", ""
}

// operands are the values a condition compares with.
func operands(c evaluation.Condition) []string {
	if c.Operator == evaluation.In {
		return evaluation.ListOf(c.Value)
	}
	return []string{c.Value}
}

// problemWith says why a rule's value cannot be one of the trait's.
func (c *Context) problemWith(value string) string {
	var err error
	plain := value
	switch c.Type {
	case IntegerContext:
		_, err = strconv.ParseInt(value, 10, 64)
	case NumberContext:
		_, err = strconv.ParseFloat(value, 64)
	case BooleanContext:
		if value != "true" && value != "false" {
			return "is not true or false, the values"
		}
	case SemverContext:
		var is bool
		if plain, is = strings.CutSuffix(value, ":semver"); !is {
			return "does not end in :semver, by which versions are compared as such, as values"
		}
		_, err = semver.StrictNewVersion(plain)
	case DatetimeContext:
		_, err = time.Parse(time.RFC3339, value)
	}
	if err != nil {
		return "cannot be read as a value"
	}
	allowed := func(v evaluation.Value) bool { return v.String() == plain }
	if len(c.Allowed) > 0 && !slices.ContainsFunc(c.Allowed, allowed) {
		return "is not among the allowed values"
	}
	return ""
}

// Holds tells whether a value is one of the type.
func (t ContextType) Holds(v evaluation.Value) bool {
	switch t {
	case StringContext:
		return v.Kind() == evaluation.KindString
	case IntegerContext:
		return v.Kind() == evaluation.KindInt
	case NumberContext:
		return v.Kind() == evaluation.KindInt || v.Kind() == evaluation.KindFloat
	case BooleanContext:
		return v.Kind() == evaluation.KindBool
	}
	text, is := v.AsString()
	if !is {
		return false
	}
	var err error
	if t == SemverContext {
		_, err = semver.StrictNewVersion(text)
	} else {
		_, err = time.Parse(time.RFC3339, text)
	}
	return err == nil
}
