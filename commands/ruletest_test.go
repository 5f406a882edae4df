package commands_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

var americans = commands.SetSegmentTests{Segment: "us", Cases: []commands.SegmentCase{
	{Name: "an American", Traits: map[string]evaluation.Value{"country": evaluation.String("US")}, Member: new(true)},
	{Name: "a Canadian", Traits: map[string]evaluation.Value{"country": evaluation.String("CA")}, Member: new(false)},
}}

var checkoutCases = commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{
	{Name: "anybody", Environment: "prod", Enabled: new(false)},
	{Name: "an American", Environment: "prod", Traits: map[string]evaluation.Value{"country": evaluation.String("US")}, Value: domain.Expect(evaluation.String("v1")), Variant: new("")},
}}

func TestRuleTests(t *testing.T) {
	cases := func(names ...string) commands.SetSegmentTests {
		c := commands.SetSegmentTests{Segment: "us", Cases: []commands.SegmentCase{}}
		for _, name := range names {
			c.Cases = append(c.Cases, commands.SegmentCase{Name: name, Member: new(true)})
		}
		return c
	}
	feature := func(change func(*domain.FeatureCase)) commands.SetFeatureTests {
		c := domain.FeatureCase{Name: "a", Environment: "prod", Enabled: new(true)}
		change(&c)
		return commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{c}}
	}
	run(t, map[string]scenario{
		"of a segment":                        {when: americans, then: []string{`segment_tests.set.v1 {"segment":"us","cases":[{"name":"an American","traits":{"country":"US"},"member":true},{"name":"a Canadian","traits":{"country":"CA"},"member":false}]}`}},
		"of a segment, none":                  {when: cases()},
		"of a segment, no more":               {given: []commands.Command{americans}, when: cases(), then: []string{`segment_tests.set.v1 {"segment":"us","cases":[]}`}},
		"of an unknown segment":               {when: commands.SetSegmentTests{Segment: "new"}, refused: `not_found segment: there is no segment "new"`},
		"without a name":                      {when: cases("a", ""), refused: "invalid cases[1].name: each case needs a name of its own"},
		"with a name twice":                   {when: cases("a", "a"), refused: "invalid cases[1].name: each case needs a name of its own"},
		"with a bell in a name":               {when: cases("\a"), refused: "malformed cases[0].name: "},
		"too many":                            {when: cases(make([]string, 201)...), refused: "limit_reached cases: there are 201 cases; the limit is 200"},
		"of a feature":                        {when: checkoutCases, then: []string{`feature_tests.set.v1 {"feature":"checkout","cases":[{"name":"anybody","environment":"prod","enabled":false},{"name":"an American","environment":"prod","traits":{"country":"US"},"value":"v1","variant":""}]}`}},
		"of an unknown feature":               {when: commands.SetFeatureTests{Feature: "new"}, refused: "not_found feature: "},
		"of a segment, left out":              {when: commands.SetSegmentTests{Segment: "us"}, refused: "invalid cases: name the cases"},
		"of a feature, left out":              {when: commands.SetFeatureTests{Feature: "checkout"}, refused: "invalid cases: name the cases"},
		"that does not say who belongs to it": {when: commands.SetSegmentTests{Segment: "us", Cases: []commands.SegmentCase{{Name: "a"}}}, refused: `invalid cases[0].member: the case "a" does not say`},
		"in no environment":                   {when: feature(func(c *domain.FeatureCase) { c.Environment = "qa" }), refused: `not_found cases[0].environment: there is no environment "qa"`},
		"that expects null":                   {when: feature(func(c *domain.FeatureCase) { c.Enabled, c.Value = nil, domain.Expect(evaluation.Null()) }), then: []string{`feature_tests.set.v1 {"feature":"checkout","cases":[{"name":"a","environment":"prod","value":null}]}`}},
		"that expects nothing":                {when: feature(func(c *domain.FeatureCase) { c.Enabled = nil }), refused: `invalid cases[0]: the case "a" expects nothing`},
		"of a long identifier":                {when: feature(func(c *domain.FeatureCase) { c.Identifier = strings.Repeat("a", 2001) }), refused: "limit_reached cases[0].identifier: the identifier has 2001 characters; the limit is 2000"},
		"of a trait of a long name": {when: feature(func(c *domain.FeatureCase) {
			c.Traits = map[string]evaluation.Value{strings.Repeat("a", 201): evaluation.Null()}
		}), refused: "limit_reached cases[0].traits: the name of a trait has 201 characters; the limit is 200"},
		"of a long trait": {when: feature(func(c *domain.FeatureCase) {
			c.Traits = map[string]evaluation.Value{"plan": evaluation.String(strings.Repeat("a", 2001))}
		}), refused: `limit_reached cases[0].traits: the trait "plan" has 2001 characters; the limit is 2000`},
		"of somebody with traits": {when: feature(func(c *domain.FeatureCase) { c.Traits = manyTraits(201) }), refused: "limit_reached cases[0].traits: there are 201 traits; the limit is 200"},
	})
}

func manyTraits(n int) map[string]evaluation.Value {
	traits := map[string]evaluation.Value{}
	for i := range n {
		traits[strings.Repeat("t", i+1)] = evaluation.Null()
	}
	return traits
}

// A change after which a case does not hold is refused with the case's name,
// unless that is asked for, with a reason.
func TestChangesKeepTheCases(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, americans, checkoutCases)
	closed := change(commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "MX"))})
	opened := change(override("checkout", "us", commands.StateInput{Enabled: new(true), Value: commands.Some(evaluation.String("us"))}))
	for name, test := range map[string]struct {
		change commands.Change
		want   string
		more   int
	}{
		"a segment":   {closed, `conflict : the change breaks 1 cases, first of all segment:us case "an American": member should be true and is false`, 1},
		"an override": {opened, `conflict : the change breaks 1 cases, first of all feature:checkout case "an American": in prod the value should be "v1" and is "us"`, 1},
		"two features": {change(
			commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: commands.StateInput{Enabled: new(true), Value: commands.Some(evaluation.String("v2"))}},
		), `conflict : the change breaks 2 cases, first of all feature:checkout case "anybody": in prod enabled should be false and is true`, 2},
		"a case that does not hold": {change(commands.SetSegmentTests{Segment: "beta", Cases: []commands.SegmentCase{{Name: "anybody", Member: new(true)}}}), `conflict : case "anybody": member should be true`, 1},
	} {
		_, err := l.Do(t.Context(), test.change)
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || !refuses(err, test.want) || len(e.Errors) != test.more {
			t.Errorf("%s: %s\nwant %s", name, refusal(err), test.want)
		}
		test.change.OverrideTests, test.change.Reason = true, ""
		if _, err := l.Do(t.Context(), test.change); !refuses(err, "invalid reason: breaking a case needs a reason") {
			t.Errorf("%s, without a reason: %s", name, refusal(err))
		}
	}
	if got := l.last(t); got != 2 {
		t.Fatalf("something was recorded: the log is at %d", got)
	}
	// The audit tells where one broke, and not where somebody was ready for it.
	harmless := change(commands.UpdateSegment{Segment: "us", Name: new("Americans")})
	for _, c := range []commands.Change{harmless, opened} {
		c.OverrideTests = true
		result, err := l.Do(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := l.views.AuditEntry(result.Position, nil)
		if err != nil || entry.Commit.TestsOverridden != (len(result.Broken) > 0) {
			t.Errorf("recorded that cases were overridden: %t, broken %v, error %v", entry.Commit.TestsOverridden, result.Broken, err)
		}
	}
	// What was broken before is nobody's fault.
	l.must(t, commands.SetFeatureState{Environment: "dev", Feature: "checkout", StateInput: enabled(true)})
	l.must(t, commands.UpdateSegment{Segment: "us", Description: new("d")})
	l.must(t, commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{}})
}

func TestCoverage(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	rules := commands.Rules{{Type: evaluation.Any, Conditions: []evaluation.Condition{
		{Property: "country", Operator: evaluation.Equal, Value: "US"}, {Property: "plan", Operator: evaluation.Equal, Value: "pro"},
	}}}
	d.must(commands.UpdateSegment{Segment: "us", Rules: &rules})
	uncovered := func() map[string]domain.UncoveredNode {
		all, err := d.p.SegmentCoverage("us")
		if err != nil {
			t.Fatal(err)
		}
		byID := map[string]domain.UncoveredNode{}
		for _, u := range all {
			byID[u.ID] = u
		}
		return byID
	}
	if got := uncovered(); len(got) != 3 || !got["c1"].NeverTrue || !got["c1"].NeverFalse {
		t.Errorf("without cases: %v", got)
	}
	d.must(americans)
	got := uncovered()
	if _, ok := got["c1"]; ok || got["c3"] != (domain.UncoveredNode{ID: "c3", NeverTrue: true}) {
		t.Errorf("with cases: %v", got)
	}
}

// Of a feature it is told which ways no case goes, and a case about somebody who
// is known goes the way of their override.
func TestFeatureCoverage(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	d.must(prod()...)
	known := func(env *domain.Environment, identifier string) string {
		return "person-" + strconv.Itoa(int(env.ID)) + "-" + identifier
	}
	cases := func(all ...domain.FeatureCase) commands.SetFeatureTests {
		for i := range all {
			all[i].Name = strconv.Itoa(i)
		}
		return commands.SetFeatureTests{Feature: "search", Cases: all}
	}
	uncovered := func(feature string) (all []string) {
		branches, err := d.p.FeatureCoverage(feature, known)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range branches {
			all = append(all, strings.TrimSpace(fmt.Sprint(b.Environment, " ", b.By, " ", b.Segment, b.Variant)))
		}
		return all
	}
	var many []domain.FeatureCase // enough that each variant is dealt to somebody
	for i := range 20 {
		for _, env := range []string{"dev", "prod"} {
			many = append(many, domain.FeatureCase{Environment: env, Identifier: strconv.Itoa(i), Enabled: new(false)})
		}
	}
	for _, test := range []struct {
		feature string
		cases   []domain.FeatureCase
		want    []string
	}{
		{"checkout", nil, []string{"dev environment", "prod segment_override us", "prod segment_override beta", "prod environment"}},
		{"search", nil, []string{"dev environment", "dev environment a", "dev environment control", "prod identity_override", "prod environment", "prod environment a", "prod environment b"}},
		{"search", []domain.FeatureCase{{Environment: "prod", Identifier: "ana", Variant: new("a")}}, []string{"dev environment", "dev environment a", "dev environment control", "prod environment", "prod environment a", "prod environment b"}},
		{"search", many, []string{"prod identity_override"}},
	} {
		if test.cases != nil {
			d.must(cases(test.cases...))
		}
		if got := uncovered(test.feature); !slices.Equal(got, test.want) {
			t.Errorf("%s with %v: %q, want %q", test.feature, test.cases, got, test.want)
		}
	}
}

// What somebody who is known has of their own counts in a case: it cannot be
// taken away unseen, but by forgetting the person.
func TestCasesOfPersons(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t, commands.SetFeatureTests{Feature: "search", Cases: []domain.FeatureCase{{Name: "Ana", Environment: "prod", Identifier: "ana", Variant: new("a")}}})
	b := commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new("b")}
	if _, err := l.Do(t.Context(), change(b)); !refuses(err, `conflict : the change breaks 1 cases, first of all feature:search case "Ana": in prod the variant should be "a" and is "b"`) {
		t.Error(refusal(err))
	}
	l.must(t, commands.EraseIdentity{Environment: "prod", Surrogate: "person-3-ana"})
}

// A case can demand null, which is another thing than to leave the value out: also
// for the audit, and for an undo.
func TestCaseOfNull(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	read := func(body string) commands.Command {
		c, err := commands.DecodeCommand([]byte(`{"command":"set_feature_tests","feature":"checkout","cases":[{"name":"nobody","environment":"prod","enabled":false` + body + `}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	l.must(t, read("")) // as old events leave it out
	if _, err := l.Do(t.Context(), change(read(`,"value":null`))); !refuses(err, `conflict : case "nobody": in prod the value should be null and is "v1"`) {
		t.Error(refusal(err))
	}
	null := commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: commands.StateInput{Value: commands.Some(evaluation.Null())}}
	l.must(t, null)
	position := l.must(t, read(`,"value":null`)).Position
	if _, err := l.Do(t.Context(), change(commands.SetFeatureState{Environment: "prod", Feature: "checkout", StateInput: value("v1")})); !refuses(err, `conflict : case "nobody": in prod the value should be null and is "v1"`) {
		t.Error(refusal(err))
	}
	l.restart(t, true)
	if got := l.project().FeatureTests.Get("checkout").Cases[0].Value; !got.Given || !got.Value.IsNull() {
		t.Errorf("read from the log, the case wants %+v", got)
	}
	l.must(t, undo(position))
	if got := l.project().FeatureTests.Get("checkout").Cases[0].Value; got.Given {
		t.Errorf("undone, the case wants %+v", got)
	}
}

// A preview shows which cases would break; to carry it out is refused.
func TestPreviewShowsBrokenCases(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, prod()...)
	l.must(t, override("checkout", "us", value("v2")))
	l.must(t, commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{{Name: "v2", Environment: "prod", Traits: map[string]evaluation.Value{"country": evaluation.String("US")}, Value: domain.Expect(evaluation.String("v2"))}}})
	preview := change(rollback(2))
	preview.DryRun, preview.ShowBroken = true, true
	result, err := l.Do(t.Context(), preview)
	if err != nil || len(result.Events) == 0 || len(result.Broken) != 1 || result.Broken[0].Field != "feature:checkout" {
		t.Errorf("previewed %+v, error %v", result.Broken, err)
	}
	if _, err := l.Do(t.Context(), change(rollback(2))); !refuses(err, `conflict : case "v2"`) {
		t.Error(refusal(err))
	}
}

// A case about an environment that is deleted later is told of, and stands in
// nobody's way.
func TestCaseOfADeletedEnvironment(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{{Name: "dev", Environment: "dev", Enabled: new(false)}}})
	l.must(t, commands.DeleteEnvironment{Environment: "dev"})
	if skipped := l.project().SkippedTests("checkout"); len(skipped) != 1 || skipped[0].Name != "dev" || !strings.Contains(skipped[0].Detail, `"dev"`) {
		t.Errorf("skipped %v", skipped)
	}
	if _, err := l.Do(t.Context(), change(commands.SetFeatureTests{Feature: "checkout", Cases: []domain.FeatureCase{{Name: "dev", Environment: "dev", Enabled: new(false)}}})); !refuses(err, `not_found cases[0].environment: `) {
		t.Error(refusal(err))
	}
}
