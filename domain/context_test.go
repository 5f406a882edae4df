package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestTraitOf(t *testing.T) {
	for property, want := range map[string]string{
		"country":                     "country",
		"user id":                     "user id",
		"$.identity.traits.country":   "country",
		"$.identity.traits['user-i']": "user-i",
		`$.identity.traits["user-i"]`: "user-i",
		"$.identity.traits['a\"]":     "",
		"$.identity.traits['']":       "",
		"$.identity.traits":           "",
		"$.identity.identifier":       "",
		"$.environment.name":          "",
		"":                            "",
	} {
		if got := domain.TraitOf(property); got != want {
			t.Errorf("%q reads trait %q, want %q", property, got, want)
		}
	}
}

func declaring(strict bool, contexts ...domain.Context) *domain.Project {
	p := after(empty(), domain.ProjectCreated{Key: "shop", ProjectSettings: domain.ProjectSettings{StrictContexts: strict, PersistTraits: true}})
	for _, c := range contexts {
		p = after(p, domain.ContextSet{Key: c.Key, Type: c.Type, Allowed: c.Allowed, Privacy: c.Privacy, Required: c.Required})
	}
	return p
}

func TestCheckContexts(t *testing.T) {
	contexts := []domain.Context{
		{Key: "country", Type: domain.StringContext, Allowed: []evaluation.Value{evaluation.String("US"), evaluation.String("CA")}},
		{Key: "name", Type: domain.StringContext, Required: true},
		{Key: "age", Type: domain.IntegerContext},
		{Key: "height", Type: domain.NumberContext},
		{Key: "beta", Type: domain.BooleanContext},
		{Key: "app", Type: domain.SemverContext, Allowed: []evaluation.Value{evaluation.String("1.0.0")}},
		{Key: "born", Type: domain.DatetimeContext},
	}
	for condition, want := range map[string]string{
		"country EQUAL US":                           "",
		"country EQUAL MX":                           "not among the allowed values",
		"country IN US,CA":                           "",
		"country IN US,MX":                           `"MX" is not among`,
		"country CONTAINS U":                         "", // a part of a value is no value
		"country IS_NOT_SET x":                       "",
		"country PERCENTAGE_SPLIT 10":                "",
		"country GREATER_THAN A":                     "makes no sense",
		"country MODULO 2|0":                         "MODULO needs a number",
		"$.identity.traits.country EQUAL MX":         "not among",
		"name IS_SET x":                              "",
		"name IS_NOT_SET x":                          "always sent",
		"age GREATER_THAN 18":                        "",
		"age EQUAL 18.5":                             "cannot be read",
		"age EQUAL old":                              `"old" cannot be read as a value of the integer trait "age"`,
		"age REGEX ^1":                               "looks into a text",
		"age MODULO 2|0":                             "",
		"height LESS_THAN 1.75":                      "",
		"height EQUAL tall":                          "cannot be read",
		"beta EQUAL true":                            "",
		"beta EQUAL 1":                               "not true or false",
		"beta LESS_THAN true":                        "makes no sense",
		"app GREATER_THAN 1.0.0:semver":              "",
		"app GREATER_THAN 1.0.0":                     "does not end in :semver",
		"app EQUAL 2.0.0:semver":                     "not among",
		"app EQUAL x:semver":                         "cannot be read",
		"born LESS_THAN 2000-01-01T00:00:00Z":        "",
		"born REGEX ^[0-9]+[^.0-9eE]":                "", // which keeps numbers out of orders
		"born CONTAINS 2000":                         "looks into a text",
		"born LESS_THAN 2000":                        "cannot be read",
		"undeclared EQUAL x":                         "",
		"$.identity.identifier EQUAL x":              "",
		"$.environment.name EQUAL x":                 "",
		"$.identity.traits.undeclared IS_NOT_SET x":  "",
		"$.identity.traits['born'] NOT_EQUAL sooner": "cannot be read",
	} {
		rules := []evaluation.Rule{all("", "name IS_SET x"), all("", anyOf("", condition))}
		const field = "rules[1].rules[0].conditions[0]"
		err := declaring(false, contexts...).CheckContexts(rules)
		e, _ := errors.AsType[*domain.Error](err)
		if (want == "") != (err == nil) || err != nil && (e == nil || e.Kind != domain.Invalid || e.Field != field || !strings.Contains(e.Detail, want) || len(e.Errors) != 1) {
			t.Errorf("%s: error %v, want %q", condition, err, want)
		}
	}
	undeclared := []evaluation.Rule{all("", "undeclared EQUAL x", "$.identity.identifier EQUAL x", "also_not IS_SET x")}
	if err := declaring(false).CheckContexts(undeclared); err != nil {
		t.Errorf("a project that declares nothing: %v", err)
	}
	err := declaring(true).CheckContexts(undeclared)
	if e, ok := errors.AsType[*domain.Error](err); !ok || len(e.Errors) != 2 || e.Errors[1].Field != "rules[0].conditions[2]" {
		t.Errorf("a strict project: %v, want both undeclared traits", err)
	}
}

func TestIngest(t *testing.T) {
	declared := []domain.Context{
		{Key: "plan", Type: domain.StringContext, Privacy: domain.Public},
		{Key: "email", Type: domain.StringContext, Privacy: domain.Personal},
		{Key: "health", Type: domain.StringContext, Privacy: domain.Sensitive},
	}
	type both struct{ evaluated, stored bool }
	for trait, want := range map[string]struct{ open, strict both }{
		"plan":   {both{true, true}, both{true, true}},
		"email":  {both{true, true}, both{true, true}},
		"health": {both{true, false}, both{true, false}},
		"shoes":  {both{true, true}, both{false, false}},
	} {
		for strict, want := range map[bool]both{false: want.open, true: want.strict} {
			p := declaring(strict, declared...)
			if e, s := p.Ingest(trait); e != want.evaluated || s != want.stored {
				t.Errorf("%s, strict %t: evaluated %t and stored %t, want %v", trait, strict, e, s, want)
			}
			p = after(p, domain.ProjectUpdated{ProjectSettings: domain.ProjectSettings{StrictContexts: strict}})
			if e, s := p.Ingest(trait); e != want.evaluated || s {
				t.Errorf("%s in a project that stores nothing: evaluated %t and stored %t", trait, e, s)
			}
		}
	}
}

func TestKept(t *testing.T) {
	text := func(key string) evaluation.Trait { return evaluation.Trait{Key: key, Value: evaluation.String("x")} }
	stored := []evaluation.Trait{text("health"), text("plan"), text("shoes")}
	health, plan := domain.Context{Key: "health", Type: domain.StringContext, Privacy: domain.Sensitive}, domain.Context{Key: "plan", Type: domain.StringContext, Privacy: domain.Personal}
	for name, tt := range map[string]struct {
		project *domain.Project
		want    string
		all     bool
	}{
		"nothing declared": {declaring(false), "health plan shoes", true},
		"declared":         {declaring(false, plan), "health plan shoes", true},
		"sensitive":        {declaring(false, plan, health), "plan shoes", false},
		"strict":           {declaring(true, plan), "plan", false},
		"both":             {declaring(true, plan, health), "plan", false},
	} {
		var keys []string
		for _, kept := range tt.project.Kept(stored) {
			keys = append(keys, kept.Key)
		}
		if got := strings.Join(keys, " "); got != tt.want || tt.project.KeepsAll() != tt.all {
			t.Errorf("%s: kept %s, all: %t", name, got, tt.project.KeepsAll())
		}
		if len(stored) != 3 || stored[0].Key != "health" {
			t.Fatalf("%s: what is stored was changed: %v", name, stored)
		}
	}
}

func TestContextTypeHolds(t *testing.T) {
	values := []evaluation.Value{
		evaluation.String("a"), evaluation.String("1.2.3"), evaluation.String("2026-05-03T14:02:00Z"), evaluation.Int(1), evaluation.Float(1.5),
		evaluation.Bool(true), evaluation.Null(),
	}
	for kind, want := range map[domain.ContextType][]int{
		domain.StringContext: {0, 1, 2}, domain.SemverContext: {1}, domain.DatetimeContext: {2}, domain.IntegerContext: {3},
		domain.NumberContext: {3, 4}, domain.BooleanContext: {5},
	} {
		var got []int
		for i, v := range values {
			if kind.Holds(v) {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want %v of %v", kind, got, want, values)
		}
	}
}
