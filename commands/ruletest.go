package commands

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// maxCases is how many cases a segment or feature may have.
const maxCases = 200

// SetSegmentTests replaces the named cases of a segment. A change that breaks a
// case is refused from then on.
type SetSegmentTests struct {
	Segment string        `json:"segment"`
	Cases   []SegmentCase `json:"cases"`
}

// A SegmentCase is a case as it is asked for: whether the segment must hold the
// person has to be said.
type SegmentCase struct {
	Name       string                      `json:"name"`
	Identifier string                      `json:"identifier,omitempty"`
	Traits     map[string]evaluation.Value `json:"traits,omitempty"`
	Member     *bool                       `json:"member"`
}

// Needs implements Command.
func (SetSegmentTests) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c SetSegmentTests) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	s, err := segmentOf(p, c.Segment)
	if err != nil {
		return nil, err
	}
	if c.Cases == nil {
		return nil, noCases()
	}
	names, cases := make([]string, len(c.Cases)), make([]domain.SegmentCase, len(c.Cases))
	for i, one := range c.Cases {
		names[i] = one.Name
		if one.Member == nil {
			return nil, domain.RefuseField(domain.Invalid, fmt.Sprintf("cases[%d].member", i), "the case %q does not say whether the segment must hold this person: give true or false", one.Name)
		}
		if err := checkPerson(in, one.Identifier, one.Traits); err != nil {
			return nil, inCase(err, i)
		}
		cases[i] = domain.SegmentCase{Name: one.Name, Identifier: one.Identifier, Traits: one.Traits, Member: *one.Member}
	}
	if err := checkCases(in, names); err != nil {
		return nil, err
	}
	now := p.SegmentTests.Get(s.Key)
	if now == nil && len(cases) == 0 || now != nil && reflect.DeepEqual(now.Cases, cases) {
		return nil, nil
	}
	return []domain.Event{domain.SegmentTestsSet{Segment: s.Key, Cases: cases}}, nil
}

// SetFeatureTests replaces the named cases of a feature.
type SetFeatureTests struct {
	Feature string               `json:"feature"`
	Cases   []domain.FeatureCase `json:"cases"`
}

// Needs implements Command.
func (SetFeatureTests) Needs() Need { return Need{Right: domain.Write} }

// Decide implements Command.
func (c SetFeatureTests) Decide(p *domain.Project, in *Inputs) ([]domain.Event, error) {
	f, err := featureOf(p, c.Feature)
	if err != nil {
		return nil, err
	}
	if c.Cases == nil {
		return nil, noCases()
	}
	names := make([]string, len(c.Cases))
	for i, one := range c.Cases {
		names[i] = one.Name
		if _, err := environmentOf(p, one.Environment); err != nil {
			return nil, inCase(err, i)
		}
		if one.Enabled == nil && !one.Value.Given && one.Variant == nil {
			return nil, domain.RefuseField(domain.Invalid, fmt.Sprintf("cases[%d]", i), "the case %q expects nothing; give enabled, value or variant", one.Name)
		}
		if err := checkPerson(in, one.Identifier, one.Traits); err != nil {
			return nil, inCase(err, i)
		}
	}
	if err := checkCases(in, names); err != nil {
		return nil, err
	}
	now := p.FeatureTests.Get(f.Key)
	if now == nil && len(c.Cases) == 0 || now != nil && reflect.DeepEqual(now.Cases, c.Cases) {
		return nil, nil
	}
	return []domain.Event{domain.FeatureTestsSet{Feature: f.Key, Cases: c.Cases}}, nil
}

// noCases refuses what leaves the cases out, which must not take them all away.
func noCases() error {
	return domain.RefuseField(domain.Invalid, "cases", "name the cases that there are to be; an empty list removes them all")
}

func checkCases(in *Inputs, names []string) error {
	if len(names) > maxCases {
		return domain.RefuseField(domain.LimitReached, "cases", "there are %d cases; the limit is %d", len(names), maxCases)
	}
	seen := map[string]bool{}
	for i, name := range names {
		field := fmt.Sprintf("cases[%d].name", i)
		if name == "" || seen[name] {
			return domain.RefuseField(domain.Invalid, field, "each case needs a name of its own, by which a refusal can name it")
		}
		seen[name] = true
		if err := in.Limits.CheckText(field, name); err != nil {
			return err
		}
	}
	return nil
}

// checkPerson refuses somebody of a case whom no app could send.
func checkPerson(in *Inputs, identifier string, traits map[string]evaluation.Value) error {
	if identifier != "" {
		if err := CheckIdentifier(in.Limits, identifier); err != nil {
			return err
		}
	}
	if len(traits) > in.Limits.Traits {
		return domain.RefuseField(domain.LimitReached, "traits", "there are %d traits; the limit is %d", len(traits), in.Limits.Traits)
	}
	for _, key := range slices.Sorted(maps.Keys(traits)) {
		if n := utf8.RuneCountInString(key); n > in.Limits.TraitKeyLength {
			return domain.RefuseField(domain.LimitReached, "traits", "the name of a trait has %d characters; the limit is %d", n, in.Limits.TraitKeyLength)
		}
		text, _ := traits[key].AsString()
		if n := utf8.RuneCountInString(text); n > in.Limits.TraitLength {
			return domain.RefuseField(domain.LimitReached, "traits", "the trait %q has %d characters; the limit is %d", key, n, in.Limits.TraitLength)
		}
	}
	return nil
}

// inCase says which case of several a refusal is about.
func inCase(err error, i int) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok {
		return err
	}
	e := *refusal
	e.Field = fmt.Sprintf("cases[%d].%s", i, e.Field)
	return &e
}

// brokenTests are the cases that fail after a change and held before, or are
// new. The right to be forgotten is above them: erasures break none.
func brokenTests(before, after *domain.Project, ch Change, objects []domain.Object, in *Inputs) ([]domain.FieldError, error) {
	erasure := func(c Command) bool { _, is := c.(EraseIdentity); return is }
	if after.SegmentTests.Len()+after.FeatureTests.Len() == 0 || !slices.ContainsFunc(ch.Commands, func(c Command) bool { return !erasure(c) }) {
		return nil, nil
	}
	persons := func(env *domain.Environment, identifier string) string {
		return in.Persons.Lookup(after.ID, env.ID, identifier)
	}
	failing, err := after.RunTests(objects, persons)
	if err != nil || len(failing) == 0 {
		return nil, err
	}
	was, err := before.RunTests(objects, persons)
	if err != nil {
		return nil, err
	}
	known := map[[2]string]bool{}
	for _, f := range was {
		known[[2]string{f.Object.String(), f.Name}] = true
	}
	var broken []domain.FieldError
	for _, f := range failing {
		if !known[[2]string{f.Object.String(), f.Name}] {
			broken = append(broken, domain.FieldError{Field: f.Object.String(), Detail: fmt.Sprintf("case %q: %s", f.Name, f.Detail)})
		}
	}
	return broken, nil
}

// checkTests refuses a change that breaks cases. They can be overridden, with a reason.
func checkTests(ch Change, broken []domain.FieldError) error {
	switch {
	case len(broken) == 0 || ch.ShowBroken || ch.OverrideTests && ch.Reason != "":
		return nil
	case ch.OverrideTests:
		return domain.RefuseField(domain.Invalid, "reason", "breaking a case needs a reason")
	}
	e := domain.Refuse(domain.Conflict, "the change breaks %d cases, first of all %s %s; send \"override_tests\": true with a reason to do it all the same", len(broken), broken[0].Field, broken[0].Detail)
	e.Errors = broken
	return e
}
