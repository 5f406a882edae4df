package commands_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestSegment(t *testing.T) {
	const us = `{"id":"c1","property":"country","operator":"EQUAL","value":"US"}`
	condition := func(property string, operator evaluation.Operator, value string) evaluation.Condition {
		return evaluation.Condition{Property: property, Operator: operator, Value: value}
	}
	group := func(kind evaluation.RuleType, conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: kind, Conditions: conditions}
	}
	create := func(rules ...evaluation.Rule) commands.CreateSegment {
		return commands.CreateSegment{Key: "new", Rules: rules}
	}
	update := func(rules ...evaluation.Rule) commands.UpdateSegment {
		list := commands.Rules(rules)
		return commands.UpdateSegment{Segment: "us", Rules: &list}
	}
	country, plan := condition("country", evaluation.Equal, "US"), condition("plan", evaluation.Equal, "pro")
	withID := func(id string, c evaluation.Condition) evaluation.Condition {
		c.ID = id
		return c
	}
	nested := group(evaluation.All, country)
	nested.Rules = []evaluation.Rule{group(evaluation.Any, plan, condition("beta", evaluation.IsSet, ""))}
	bad := func(operator evaluation.Operator, value string) commands.CreateSegment {
		r := group(evaluation.All, country)
		r.Rules = []evaluation.Rule{group(evaluation.None, plan, condition("$.identity.traits.p", operator, value))}
		return create(r)
	}
	const where = "invalid rules[0].rules[0].conditions[1]: the rules cannot be saved: rules[0].rules[0].conditions[1]: "
	scenarios := map[string]scenario{
		"create":                       {again: true, when: create(group(evaluation.All, country)), then: []string{`segment.created.v2 {"id":14,"key":"new","name":"new","revision":1,"rules":[{"id":"r2","type":"ALL","conditions":[` + us + `]}],"last_node":2}`}},
		"create nested":                {again: true, when: commands.CreateSegment{Key: "new", Name: "New", Description: "d", Rules: commands.Rules{nested}}, then: []string{`segment.created.v2 {"id":14,"key":"new","name":"New","description":"d","revision":1,"rules":[{"id":"r4","type":"ALL","conditions":[` + us + `],"rules":[{"id":"r5","type":"ANY","conditions":[{"id":"c2","property":"plan","operator":"EQUAL","value":"pro"},{"id":"c3","property":"beta","operator":"IS_SET","value":""}]}]}],"last_node":5}`}},
		"create for one feature":       {again: true, when: commands.CreateSegment{Key: "new", Feature: "search", Rules: commands.Rules{group(evaluation.All, country)}}, then: []string{`segment.created.v2 {"id":14,"key":"new","name":"new","feature":"search","revision":1,"rules":[{"id":"r2","type":"ALL","conditions":[` + us + `]}],"last_node":2}`}},
		"create for an unknown one":    {when: commands.CreateSegment{Key: "new", Feature: "nothing", Rules: commands.Rules{group(evaluation.All, country)}}, refused: `not_found feature: there is no feature "nothing" in project "shop"`},
		"create twice":                 {when: commands.CreateSegment{Key: "us", Rules: commands.Rules{nested}}, refused: `conflict key: already a segment "us" in project "shop"`},
		"create without a key":         {when: commands.CreateSegment{Rules: commands.Rules{nested}}, refused: "invalid key: "},
		"create with a bell in it":     {when: commands.CreateSegment{Key: "new", Name: "\a", Rules: commands.Rules{nested}}, refused: "malformed name: "},
		"create without rules":         {when: create(), refused: "invalid rules: a segment needs at least one rule"},
		"create of another rule type":  {when: create(group("SOME", country)), refused: `invalid rules[0]: unknown rule type "SOME"`},
		"create, and again as it was":  {given: []commands.Command{create(nested), commands.DeleteSegment{Segment: "new"}}, again: true, when: create(group(evaluation.All, country)), then: []string{`segment.created.v2 {"id":15,"key":"new","name":"new","revision":1,"rules":[{"id":"r2","type":"ALL","conditions":[` + us + `]}],"last_node":2}`}},
		"a bad regex":                  {when: bad(evaluation.Regex, "("), refused: where},
		"a modulo of 0":                {when: bad(evaluation.Modulo, "0|1"), refused: where + `"0|1" divides by zero`},
		"a modulo of nothing":          {when: bad(evaluation.Modulo, "two"), refused: where + `"two" is not divisor|remainder`},
		"a remainder that never comes": {when: bad(evaluation.Modulo, "2|2"), refused: where + `"2|2" can never hold`},
		"a version that is none":       {when: bad(evaluation.GreaterThan, "4.x:semver"), refused: where + `version "4.x"`},
		"a percentage above 100":       {when: bad(evaluation.PercentageSplit, "100.1"), refused: where + `"100.1" is not a percentage`},
		"a percentage below 0":         {when: bad(evaluation.PercentageSplit, "-1"), refused: where + `"-1" is not a percentage`},
		"a percentage of nothing":      {when: bad(evaluation.PercentageSplit, "half"), refused: where + `"half" is not a percentage`},
		"an unknown operator":          {when: bad("RESEMBLES", "x"), refused: where + `unknown operator "RESEMBLES"`},
		"a list that is none":          {when: bad(evaluation.In, `["a"`), refused: where},
		"too many conditions":          {when: create(group(evaluation.Any, slices.Repeat([]evaluation.Condition{plan}, 101)...)), refused: "invalid rules: 101 conditions, at most 100 are allowed"},

		"update the name":               {when: commands.UpdateSegment{Segment: "us", Name: new("Americans"), Description: new("d")}, then: []string{`segment.updated.v1 {"segment":"us","name":"Americans","description":"d"}`}},
		"update the name to nothing":    {when: commands.UpdateSegment{Segment: "us", Name: new("")}, refused: "invalid name: a segment needs a name"},
		"update with a bell in it":      {when: commands.UpdateSegment{Segment: "us", Description: new("\a")}, refused: "malformed description: "},
		"update nothing":                {when: commands.UpdateSegment{Segment: "us", Name: new("us")}},
		"update an unknown one":         {when: commands.UpdateSegment{Segment: "new"}, refused: `not_found segment: there is no segment "new" in project "shop"`},
		"rules as they are":             {when: update(group(evaluation.All, country))},
		"rules as they are, with ids":   {when: update(evaluation.Rule{ID: "r2", Type: evaluation.All, Conditions: []evaluation.Condition{withID("c1", country)}})},
		"no rules":                      {when: update(), refused: "invalid rules: "},
		"bad rules":                     {when: update(group(evaluation.All, condition("p", evaluation.Regex, "["))), refused: "invalid rules[0].conditions[0]: "},
		"another value":                 {when: update(group(evaluation.All, condition("country", evaluation.Equal, "CA"))), then: []string{`segment.rules_set.v1 {"segment":"us","revision":2,"rules":[{"id":"r2","type":"ALL","conditions":[{"id":"c1","property":"country","operator":"EQUAL","value":"CA"}]}],"last_node":2}`}},
		"one more in front":             {when: update(group(evaluation.All, plan, country)), then: []string{`segment.rules_set.v1 {"segment":"us","revision":2,"rules":[{"id":"r2","type":"ALL","conditions":[{"id":"c3","property":"plan","operator":"EQUAL","value":"pro"},` + us + `]}],"last_node":3}`}},
		"moved to the front":            {given: []commands.Command{update(group(evaluation.All, country, plan))}, when: update(group(evaluation.All, plan, country)), then: []string{`segment.rules_set.v1 {"segment":"us","revision":3,"rules":[{"id":"r2","type":"ALL","conditions":[{"id":"c3","property":"plan","operator":"EQUAL","value":"pro"},` + us + `]}],"last_node":3}`}},
		"moved to a group":              {given: []commands.Command{update(group(evaluation.All, country, plan))}, when: update(evaluation.Rule{Type: evaluation.All, Conditions: []evaluation.Condition{plan}, Rules: []evaluation.Rule{group(evaluation.Any, country)}}), then: []string{`segment.rules_set.v1 {"segment":"us","revision":3,"rules":[{"id":"r2","type":"ALL","conditions":[{"id":"c3","property":"plan","operator":"EQUAL","value":"pro"}],"rules":[{"id":"r4","type":"ANY","conditions":[` + us + `]}]}],"last_node":4}`}},
		"a group moves with its parts":  {given: []commands.Command{update(group(evaluation.All, country), group(evaluation.Any, plan))}, when: update(group(evaluation.Any, plan), group(evaluation.All, country)), then: []string{`segment.rules_set.v1 {"segment":"us","revision":3,"rules":[{"id":"r4","type":"ANY","conditions":[{"id":"c3","property":"plan","operator":"EQUAL","value":"pro"}]},{"id":"r2","type":"ALL","conditions":[` + us + `]}],"last_node":4}`}},
		"removed, its id is not reused": {given: []commands.Command{update(group(evaluation.All, country, plan)), update(group(evaluation.All, country))}, when: update(group(evaluation.All, country, condition("age", evaluation.Equal, "18"))), then: []string{`segment.rules_set.v1 {"segment":"us","revision":4,"rules":[{"id":"r2","type":"ALL","conditions":[` + us + `,{"id":"c4","property":"age","operator":"EQUAL","value":"18"}]}],"last_node":4}`}},
		"name and rules":                {when: commands.UpdateSegment{Segment: "us", Name: new("n"), Rules: &commands.Rules{group(evaluation.Any, country)}}, then: []string{`segment.updated.v1 {"segment":"us","name":"n"}`, `segment.rules_set.v1 {"segment":"us","revision":2,"rules":[{"id":"r2","type":"ANY","conditions":[` + us + `]}],"last_node":2}`}},

		"delete":                {again: true, when: commands.DeleteSegment{Segment: "us"}, then: []string{`segment.deleted.v1 {"segment":"us"}`}},
		"delete an unknown one": {when: commands.DeleteSegment{Segment: "new"}, refused: "not_found segment: "},
		"delete one in use":     {given: []commands.Command{override("checkout", "us", enabled(true)), override("search", "us", enabled(true))}, when: commands.DeleteSegment{Segment: "us"}, refused: `conflict : segment "us" is in use by the override of feature checkout in prod, the override of feature search in prod; remove that first`},

		"unpin what is not pinned":             {when: commands.UnpinSegment{Environment: "prod", Segment: "us"}},
		"unpin an unknown segment":             {when: commands.UnpinSegment{Environment: "prod", Segment: "new"}, refused: "not_found segment: "},
		"unpin in an unknown environment":      {when: commands.UnpinSegment{Environment: "qa", Segment: "us"}, refused: "not_found environment: "},
		"unpin variants that are not pinned":   {when: commands.UnpinVariants{Environment: "prod", Feature: "search"}},
		"unpin variants of an unknown feature": {when: commands.UnpinVariants{Environment: "prod", Feature: "new"}, refused: "not_found feature: "},
	}
	run(t, scenarios)
}

// All operators but NOT_CONTAINS, on which engines never agree, can be saved, and are compiled as they are saved.
func TestEveryOperator(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	for i, c := range []evaluation.Condition{
		{Property: "a", Operator: evaluation.Equal, Value: "x"}, {Property: "a", Operator: evaluation.NotEqual, Value: "1"},
		{Property: "a", Operator: evaluation.GreaterThan, Value: "1"}, {Property: "a", Operator: evaluation.GreaterThanInclusive, Value: "4.2.0:semver"},
		{Property: "a", Operator: evaluation.LessThan, Value: "2"}, {Property: "a", Operator: evaluation.LessThanInclusive, Value: "4.2.0-rc.1:semver"},
		{Property: "a", Operator: evaluation.Contains, Value: "x"},
		{Property: "a", Operator: evaluation.Regex, Value: "^x+$"}, {Property: "a", Operator: evaluation.Modulo, Value: "4|0"},
		{Property: "", Operator: evaluation.PercentageSplit, Value: "12.5"}, {Property: "a", Operator: evaluation.In, Value: `["x","y"]`},
		{Property: "a", Operator: evaluation.IsSet}, {Property: "a", Operator: evaluation.IsNotSet},
	} {
		key := fmt.Sprintf("s%d", i)
		d.must(commands.CreateSegment{Key: key, Rules: commands.Rules{{Type: evaluation.All, Conditions: []evaluation.Condition{c}}}}, override("checkout", key, enabled(true)))
	}
	if _, err := d.p.Evaluator(d.p.Environments.Get("prod")); err != nil {
		t.Error(err)
	}
}

func TestSegmentUsages(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	d.must(override("search", "beta", enabled(true)), override("search", "us", enabled(true)), override("checkout", "us", enabled(true)))
	d.must(commands.SetSegmentOverride{Environment: "dev", Feature: "checkout", Segment: "us"})
	d.p, _ = d.p.Evolve([]domain.Event{domain.SegmentPinned{Environment: "prod", Segment: "us", Revision: 1}}, domain.Stamp{})
	got := commands.SegmentUsages(d.p, "us")
	want := []commands.SegmentUsage{{"dev", "checkout", 0, 0}, {"prod", "checkout", 0, 1}, {"prod", "search", 1, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("usages %v, want %v", got, want)
	}
	if got := commands.SegmentUsages(d.p, "nothing"); got == nil || len(got) > 0 {
		t.Errorf("usages of nothing: %v", got)
	}
}

// The limits are those of the installation, and named where they are reached.
func TestLimits(t *testing.T) {
	limits := domain.DefaultLimits()
	limits.Features, limits.Segments, limits.Environments, limits.Variants, limits.ValueLength, limits.IdentifierLength = 2, 2, 2, 2, 3, 3
	d := newDecider(t, limits)
	d.must(shop()...)
	for want, c := range map[string]commands.Command{
		`limit_reached : project "shop" has 2 features, which is the limit`:             commands.CreateFeature{Key: "new"},
		`limit_reached : project "shop" has 2 segments, which is the limit`:             commands.CreateSegment{Key: "new"},
		`limit_reached : project "shop" has 2 environments, which is the limit`:         commands.CreateEnvironment{Key: "new"},
		`limit_reached : project "shop" has 2 environments`:                             commands.CloneEnvironment{Source: "dev", Key: "new"},
		`limit_reached variants: there are 3 variants; the limit is 2`:                  commands.SetVariants{Feature: "checkout", Variants: make([]commands.VariantInput, 3)},
		`limit_reached value: the value has 4 characters; the limit is 3`:               override("checkout", "us", value("éééé")),
		`limit_reached identifier: the identifier has 4 characters; the limit is 3`:     commands.SetIdentityOverride{Environment: "dev", Feature: "checkout", Identifier: "anna"},
		`limit_reached description: description has 2001 characters; the limit is 2000`: commands.UpdateSegment{Segment: "us", Description: new(strings.Repeat("d", 2001))},
		`limit_reached tags[0]: tags[0] has 2001 characters; the limit is 2000`:         commands.UpdateFeature{Feature: "checkout", Tags: &[]string{strings.Repeat("t", 2001)}},
		`invalid key: a trait's key has 1 to 200 characters`:                            commands.SetContext{Key: strings.Repeat("k", 201), Type: domain.StringContext},
	} {
		if _, err := d.decide(c); !refuses(err, want) {
			t.Errorf("%T: %s, want %s", c, refusal(err), want)
		}
	}
}
