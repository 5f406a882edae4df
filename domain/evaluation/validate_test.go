package evaluation_test

import (
	"fmt"
	"strings"
	"testing"

	"flagledger/domain/evaluation"
)

func on(property string, op evaluation.Operator, value string) evaluation.Condition {
	return evaluation.Condition{ID: "c1", Property: property, Operator: op, Value: value}
}

// notNumber is what the administration offers.
const notNumber = `^(?:[^-0-9]|-[^0-9]|-?[0-9]+(?:[^.0-9eE]|\.[^0-9]|\.[0-9]+[^0-9eE]|(?:\.[0-9]+)?[eE](?:[^-+0-9]|[-+][^0-9]|[-+]?[0-9]+[^0-9])))`

func issuesOf(c evaluation.Condition) []evaluation.Issue {
	return evaluation.ValidateRules([]evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{c}}}, evaluation.Limits{})
}

// Conditions that work everywhere, and those that are refused: because they cannot work, or because engines disagree.
func TestValidateConditions(t *testing.T) {
	const (
		saved    = ""
		refused  = "refused"
		diverges = "diverges"
	)
	tests := []struct {
		condition evaluation.Condition
		want      string
		says      string // in the detail
		fix       string // in the fix
	}{
		{on("country", evaluation.Equal, "US"), saved, "", ""},
		{on("country", evaluation.NotEqual, "US"), diverges, "the trait is a number", `ALL rule of country IS_SET that has a NONE rule of country EQUAL "US"`},
		{on("paid", evaluation.NotEqual, "true"), diverges, "the trait is a number", "NONE rule of paid EQUAL"},
		{on("v", evaluation.NotEqual, "1.2.3:semver"), diverges, "not a version", "NONE rule of v EQUAL"},
		{on("n", evaluation.NotEqual, "1.5"), diverges, "the trait is a number", "NONE"},
		{on("n", evaluation.NotEqual, "-5"), saved, "", ""},
		{on("name", evaluation.GreaterThan, "m"), diverges, "reads like a number", "put name REGEX ^[^-0-9] beside it"},
		{on("name", evaluation.LessThanInclusive, "-x"), diverges, "reads like a number", `REGEX ^(?:[^-0-9]|-[^0-9]|-?[0-9]+(?:[^.0-9eE]|\.[^0-9]|\.[0-9]+[^0-9eE]|(?:\.[0-9]+)?[eE](?:[^-+0-9]|[-+][^0-9]|[-+]?[0-9]+[^0-9]))) beside`},
		{on("name", evaluation.GreaterThan, ""), diverges, "reads like a number", `REGEX ^(?:[^-0-9]|`},
		{on("name", evaluation.GreaterThanInclusive, ""), diverges, "reads like a number", ""},
		{on("name", evaluation.GreaterThan, "\ue000"), diverges, "U+E000", "IN"},
		{on("name", evaluation.LessThan, "a😀"), diverges, "U+E000", "IN"},
		{on("name", evaluation.Equal, "😀"), saved, "", ""},
		{on("n", evaluation.LessThan, "inf"), diverges, "Python", "digits"},
		{on("n", evaluation.GreaterThan, "NaN"), diverges, "Python", "digits"},
		{on("n", evaluation.GreaterThanInclusive, "1_000"), diverges, "Python", "digits"},
		{on("n", evaluation.GreaterThanInclusive, "٣"), diverges, "Python", "digits"},
		{on("$.identity.identifier", evaluation.GreaterThan, "9"), diverges, "is a text", "IN"},
		{on("$.identity.identifier", evaluation.LessThan, "b"), diverges, "reads like a number", "REGEX ^[^-0-9] beside"},
		{on("$.identity.key", evaluation.GreaterThan, "m"), saved, "", ""}, // which never reads like a number
		{on("$.identity.identifier", evaluation.Equal, "9"), diverges, "7, 007 and 7.0 are equal", "write REGEX ^0*9$"},
		{on("$.identity.identifier", evaluation.Equal, "007"), diverges, "as a number", "write REGEX ^0*7$"},
		{on("$.identity.identifier", evaluation.Equal, "-7.50"), diverges, "as a number", `write REGEX ^-0*7\.50*$`},
		{on("$.identity.identifier", evaluation.Equal, "0"), diverges, "as a number", "write REGEX ^0+$"},
		{on("$.identity.identifier", evaluation.Equal, "12345678901234567890123"), diverges, "as a number", "write REGEX ^0*12345678901234567890123$"},
		{on("$.identity.identifier", evaluation.NotEqual, "7"), diverges, "as a number", "NONE rule of $.identity.identifier REGEX ^0*7$"},
		{on("$.environment.name", evaluation.Equal, "2024"), diverges, "as a number", "write REGEX ^0*2024$"},
		{on("$.identity.key", evaluation.Equal, "9"), saved, "", ""},
		{on("$.identity.identifier", evaluation.Equal, "ada"), saved, "", ""},
		{on("$.identity.identifier", evaluation.Regex, "^0[0-9]"), diverges, "such as 007 or 1.50", "$.identity.identifier REGEX ^(?:[^-0-9]|"},
		{on("$.identity.identifier", evaluation.Regex, "^0*7$"), saved, "", ""},
		{on("$.identity.identifier", evaluation.Regex, `^0*7\.50*$`), saved, "", ""},
		{on("$.identity.identifier", evaluation.Regex, "^user-0[0-9]"), saved, "", ""},
		{on("$.identity.identifier", evaluation.Regex, "^[0-9]+$"), saved, "", ""},
		{on("$.identity.identifier", evaluation.Regex, "^[0-9]{3}"), diverges, "tells them apart", ""},
		{on("$.identity.identifier", evaluation.PercentageSplit, "100"), diverges, "hashed as that", "property blank"},
		{on("$.environment.name", evaluation.PercentageSplit, "100"), diverges, "hashed as that", "property blank"},
		{on("country", evaluation.Equal, ""), saved, "", ""},
		{on("age", evaluation.GreaterThan, "18"), saved, "", ""},
		{on("age", evaluation.GreaterThanInclusive, "-18"), saved, "", ""},
		{on("phone", evaluation.Equal, "+4915112345"), saved, "", ""},
		{on("code", evaluation.Equal, "007"), saved, "", ""},
		{on("month", evaluation.Equal, "2024_01"), diverges, "the number 202401", "write 202401; for a text, use IN 2024_01"},
		{on("month", evaluation.In, "2024_01"), saved, "", ""},
		{on("n", evaluation.In, "a,1e+21"), diverges, "with an exponent", "EQUAL 1000000000000000000000 beside"},
		{on("n", evaluation.In, "1e-7"), diverges, "with an exponent", "EQUAL 0.0000001 beside"},
		{on("id", evaluation.In, "1e-07,1e5,1e400,4e8b"), saved, "", ""},
		{on("n", evaluation.NotEqual, "1_000"), diverges, "the number 1000", "write 1000"},
		{on("n", evaluation.Equal, "1_0.5"), diverges, "the number 10.5", "write 10.5"},
		{on("n", evaluation.Equal, "٣"), diverges, "the number 3", "write 3"},
		{on("n", evaluation.Equal, "\u00a07"), diverges, "the number 7", "write 7"},
		{on("n", evaluation.Equal, "\v7"), diverges, "blanks", "write 7"},
		{on("month", evaluation.Equal, "_1"), saved, "", ""},
		{on("n", evaluation.NotEqual, "inf"), diverges, "the trait is a number", `NONE rule of n EQUAL "inf"`},
		{on("n", evaluation.NotEqual, " iNf"), diverges, "the trait is a number", "NONE"},
		{on("n", evaluation.NotEqual, "-Infinity"), diverges, "the trait is a number", "NONE"},
		{on("n", evaluation.NotEqual, "nan"), diverges, "the trait is a number", "NONE"},
		{on("n", evaluation.NotEqual, "1e400"), diverges, "beyond the largest that there is", "for a text, use IN 1e400"},
		{on("n", evaluation.Equal, "-1e400"), diverges, "beyond the largest that there is", ""},
		{on("n", evaluation.GreaterThan, "1e400"), diverges, "beyond the largest that there is", ""},
		{on("n", evaluation.LessThan, "1"+strings.Repeat("0", 400)), diverges, "beyond the largest that there is", ""},
		{on("day", evaluation.LessThan, "2024-01-31"), diverges, "reads like a number", "REGEX ^[0-9]+[^.0-9eE] beside"},
		{on("rating", evaluation.LessThan, "4.5"), diverges, "whole number", "LESS_THAN_INCLUSIVE 4 beside"},
		{on("rating", evaluation.GreaterThanInclusive, "-4.5"), diverges, "whole number", "GREATER_THAN_INCLUSIVE -4 beside"},
		{on("word", evaluation.Equal, "nan"), saved, "", ""},
		{on("word", evaluation.Equal, "Infinity"), saved, "", ""},
		{on("paid", evaluation.Equal, "true"), saved, "", ""},
		{on("n", evaluation.Equal, "1.0"), diverges, "whole number 1 ", "write 1;"},
		{on("n", evaluation.NotEqual, "2.00"), diverges, "whole number 2 ", "write 2;"},
		{on("n", evaluation.GreaterThan, "1e3"), diverges, "whole number 1000 ", "write 1000;"},
		{on("n", evaluation.Equal, "5."), diverges, "whole number 5 ", "write 5;"},
		{on("n", evaluation.Equal, " 5"), diverges, "blanks", "write 5"},
		{on("n", evaluation.LessThan, "4.5\n"), diverges, "blanks", "write 4.5"},

		{on("v", evaluation.Equal, "1.2.3:semver"), saved, "", ""},
		{on("v", evaluation.LessThan, "1.2.3-rc.1+build.5:semver"), saved, "", ""},
		{on("v", evaluation.Equal, "v1.2.3:semver"), refused, `"v1.2.3"`, "1.2.0:semver"},
		{on("v", evaluation.Equal, "1.2:semver"), refused, `"1.2"`, "1.2.0:semver"},
		{on("v", evaluation.Equal, "1.02.3:semver"), refused, "1.02.3", ""},
		{on("v", evaluation.Equal, "1.2.3-:semver"), refused, "1.2.3-", ""},
		{on("v", evaluation.Equal, ":semver"), refused, "", ""},
		{on("v", evaluation.GreaterThan, "abc:semver"), refused, "abc", ""},
		{on("v", evaluation.Equal, "1.2.9007199254740992:semver"), diverges, "JavaScript", ""},
		{on("v", evaluation.Equal, "1.0.0-"+strings.Repeat("a", 251)+":semver"), refused, "max 256", ""}, // as of Node's library

		{on("mail", evaluation.Contains, "@example.com"), saved, "", ""},
		{on("mail", evaluation.NotContains, "@example.com"), diverges, "the trait is a number", `mail IS_SET that has a NONE rule of mail CONTAINS "@example.com"`},
		{on("path", evaluation.Contains, "-"), diverges, "has no parts", "path REGEX ^(?:[^-0-9]|"},
		{on("path", evaluation.Contains, "."), diverges, "has no parts", "path REGEX ^(?:[^-0-9]|"},
		{on("path", evaluation.Contains, "-."), saved, "", ""},
		{on("path", evaluation.Contains, "--"), saved, "", ""},
		{on("path", evaluation.Contains, "beta:semver"), diverges, "takes :semver off", `REGEX ^[^\n]*beta:semver`},
		{on("path", evaluation.Contains, ":semver"), diverges, "takes :semver off", `REGEX ^[^\n]*:semver`},
		{on("path", evaluation.NotContains, "beta:semver"), diverges, "", `NONE rule of path REGEX ^[^\n]*beta:semver`},
		{on("path", evaluation.Regex, `^[^\n]*beta:semver`), saved, "", ""},
		{on("path", evaluation.In, "beta:semver,1.2.3:semver"), saved, "", ""},
		{on("path", evaluation.Contains, "1.2.3"), saved, "", ""},
		{on("id", evaluation.Contains, "2"), diverges, "reads like a number", `REGEX ^[^\n]*2`},
		{on("id", evaluation.Contains, "-2.5"), diverges, "reads like a number", `REGEX ^[^\n]*-2\.5`},
		{on("id", evaluation.NotContains, "9"), diverges, "reads like a number", `NONE rule of id REGEX ^[^\n]*9`},
		{on("id", evaluation.Contains, ""), refused, "empty", ""},
		{on("id", evaluation.NotContains, ""), refused, "empty", ""},

		{on("mail", evaluation.Regex, "^[^@]+@example[.]com$"), saved, "", ""},
		{on("mail", evaluation.Regex, `^([A-Za-z0-9_]+|[A-Z_-]{2,3})$`), saved, "", ""},
		{on("mail", evaluation.Regex, "^.+@example[.]com$"), diverges, "the dot", `write ^[^\n]+@example[.]com$`},
		{on("mail", evaluation.Regex, ".*x"), diverges, "the dot", `write ^(?:[^\n]*x)`},
		{on("mail", evaluation.Regex, `^\d+\.$`), diverges, `on \d`, `write ^[0-9]+\.$`},
		{on("mail", evaluation.Regex, `^[^\d.]\D`), diverges, `on \d`, `write ^[^0-9.][^0-9]`},
		{on("mail", evaluation.Regex, `^[\w-]+\W`), diverges, `on \w`, `write ^[A-Za-z0-9_\-]+[^A-Za-z0-9_]`},
		{on("mail", evaluation.Regex, `^\s[\s]\S`), diverges, `on \s`, `write ^[ \t-\r][ \t-\r][^ \t-\r]`},
		{on("mail", evaluation.Regex, `^[\W]`), diverges, `on \W`, "[A-Za-z0-9_] for words"},
		{on("mail", evaluation.Regex, `^a\b`), diverges, `on \b`, "(?:[^A-Za-z0-9_]|$)"},
		{on("mail", evaluation.Regex, `^a\z`), diverges, `\z`, "write ^a$"},
		{on("mail", evaluation.Regex, "^a|^b"), saved, "", ""},
		{on("mail", evaluation.Regex, "(?:^a|(^b))+c"), saved, "", ""},
		{on("mail", evaluation.Regex, `^a{2,}b{3}c*?d+?e??f{g}h{`), saved, "", ""},
		{on("mail", evaluation.Regex, `^[^]a]?`), diverges, "begins with ]", `write ^[^\]a]?`},
		{on("mail", evaluation.Regex, `^\x41\t\.\-\/`), saved, "", ""},
		{on("mail", evaluation.Regex, `^(😀|日本)[日本]*`), saved, "", ""},
		{on("mail", evaluation.Regex, `^[a[]`), saved, "", ""},
		{on("mail", evaluation.Regex, "b"), diverges, "at the beginning", "^(?:b)"},
		{on("mail", evaluation.Regex, "^a|b"), diverges, "at the beginning", ""},
		{on("mail", evaluation.Regex, "(^a)?b"), diverges, "at the beginning", ""},
		{on("mail", evaluation.Regex, "(^a){0,2}b"), diverges, "at the beginning", ""},
		{on("mail", evaluation.Regex, "a*^"), diverges, "at the beginning", ""},
		{on("mail", evaluation.Regex, ""), diverges, "at the beginning", ""},
		{on("mail", evaluation.Regex, "^["), refused, "missing closing ]", ""},
		{on("mail", evaluation.Regex, "^(?=a)"), refused, "(?=", ""},
		{on("mail", evaluation.Regex, `^(a)\1`), refused, `\1`, ""},
		{on("mail", evaluation.Regex, `^a{1001}`), refused, "repeat", ""},
		{on("mail", evaluation.Regex, `^a\Z`), refused, `\Z`, ""},
		{on("mail", evaluation.Regex, `\Aa`), diverges, `\A`, "write ^a"},
		{on("mail", evaluation.Regex, `^\pL`), diverges, `\p`, ""},
		{on("mail", evaluation.Regex, `^\x{41}`), diverges, `\x{`, ""},
		{on("mail", evaluation.Regex, `^[\x{41}]`), diverges, `\x{`, ""},
		{on("mail", evaluation.Regex, `^\Qa\E`), diverges, `\Q`, ""},
		{on("mail", evaluation.Regex, `^\012`), diverges, `\0`, ""},
		{on("mail", evaluation.Regex, "(?i)^a"), diverges, "(?i", "[Aa]"},
		{on("mail", evaluation.Regex, "^(?P<x>a)"), diverges, "(?P<", ""},
		{on("mail", evaluation.Regex, "^[[:alpha:]]"), diverges, "[:", ""},
		{on("mail", evaluation.Regex, `^[\w-z]`), diverges, `\w`, `write ^[A-Za-z0-9_\-z]`},
		{on("mail", evaluation.Regex, "^a{,3}"), diverges, "{,3}", "{0,3}"},
		{on("mail", evaluation.Regex, "^*a"), diverges, "repetition of ^", ""},
		{on("mail", evaluation.Regex, "^😀+"), diverges, "two characters", "(?:😀)+"},
		{on("mail", evaluation.Regex, "^[😀]"), diverges, "two characters", ""},

		{on("id", evaluation.Modulo, "4|0"), saved, "", ""},
		{on("id", evaluation.Modulo, "1.5|0"), saved, "", ""},
		{on("id", evaluation.Modulo, "4|3"), diverges, "negative numbers", "id GREATER_THAN_INCLUSIVE 0"},
		{on("id", evaluation.Modulo, "1.5|0.5"), diverges, "negative numbers", "id GREATER_THAN_INCLUSIVE 0"},
		{on("id", evaluation.Modulo, "0|0"), refused, "divides by zero", "4|0"},
		{on("id", evaluation.Modulo, "0.0|0"), refused, "divides by zero", ""},
		{on("id", evaluation.Modulo, "4"), refused, "divisor|remainder", ""},
		{on("id", evaluation.Modulo, ""), refused, "divisor|remainder", ""},
		{on("id", evaluation.Modulo, "4|x"), refused, "divisor|remainder", ""},
		{on("id", evaluation.Modulo, "4|0|0"), refused, "divisor|remainder", ""},
		{on("id", evaluation.Modulo, "inf|0"), refused, "divisor|remainder", ""},
		{on("id", evaluation.Modulo, "4|4"), refused, "can never hold", "below 4"},
		{on("id", evaluation.Modulo, "4|-1"), refused, "can never hold", ""},
		{on("id", evaluation.Modulo, "-4|-1"), diverges, "negative divisor", "positive"},

		{on("", evaluation.PercentageSplit, "50"), saved, "", ""},
		{on("", evaluation.PercentageSplit, "0"), saved, "", ""},
		{on("", evaluation.PercentageSplit, "0.5"), saved, "", ""},
		{on("$.identity.key", evaluation.PercentageSplit, "100"), saved, "", ""},
		{on("$.identity.traits.x", evaluation.PercentageSplit, "100"), diverges, "no such trait", "$.identity.traits.x IS_SET"},
		{on("$.identity.traits['user-id']", evaluation.PercentageSplit, "100"), diverges, "no such trait", "$.identity.traits['user-id'] IS_SET"},
		{on("x", evaluation.PercentageSplit, "100"), diverges, "Node", "write $.identity.traits.x"},
		{on("user-id", evaluation.PercentageSplit, "100"), diverges, "Node", "write $.identity.traits['user-id']"},
		{on("a,b", evaluation.PercentageSplit, "100"), diverges, "Node", "letters, digits and underscores"},
		{on("$.identity.traits['a,b']", evaluation.PercentageSplit, "100"), diverges, "alike", "letters, digits and underscores"},
		{on("", evaluation.PercentageSplit, "101"), refused, `"101"`, "0 to 100"},
		{on("", evaluation.PercentageSplit, "-1"), refused, `"-1"`, ""},
		{on("", evaluation.PercentageSplit, "x"), refused, `"x"`, ""},
		{on("", evaluation.PercentageSplit, ""), refused, `""`, ""},
		{on("", evaluation.PercentageSplit, "nan"), refused, "nan", ""},
		{on("", evaluation.PercentageSplit, "50%"), refused, "50%", ""},
		{on("", evaluation.PercentageSplit, "5e1"), refused, "5e1", ""},

		{on("id", evaluation.In, "US,CA"), saved, "", ""},
		{on("id", evaluation.In, `["US","CA,1"]`), saved, "", ""},
		{on("id", evaluation.In, "1,2,-3,12345678901234567890"), saved, "", ""},
		{on("id", evaluation.In, "True,v1.0,1.2.3, 0"), saved, "", ""},
		{on("id", evaluation.In, "007,008"), diverges, `"007"`, "write 7"},
		{on("id", evaluation.In, "1,00012345678901234567890"), diverges, "leading zeros", "write 12345678901234567890"},
		{on("id", evaluation.In, "0,1"), diverges, `"0"`, "EQUAL 0"},
		{on("id", evaluation.In, "true"), diverges, "booleans", "EQUAL true"},
		{on("id", evaluation.In, "a,1.5"), diverges, "fraction", `REGEX ^1\.5$`},
		{on("id", evaluation.In, "a,1.50"), diverges, "fraction", "v1.50"},
		{on("id", evaluation.In, "a,"), diverges, `""`, "remove it"},
		{on("id", evaluation.In, ""), diverges, `""`, ""},
		{on("id", evaluation.In, "[1,2]"), diverges, "1, which is no string", `["1","2"]`},
		{on("id", evaluation.In, "[null]"), diverges, "no string", ""},
		{on("id", evaluation.In, `["007"]`), diverges, `"007"`, ""},
		{on("id", evaluation.In, "[a,b]"), refused, "JSON array", `["a","b"]`},
		{on("id", evaluation.In, ` ["a"]`), refused, "JSON array", ""},

		{on("x", evaluation.IsSet, ""), saved, "", ""},
		{on("x", evaluation.IsNotSet, "whatever"), saved, "", ""},
		{on("", evaluation.IsSet, ""), refused, "blank", "$.identity.identifier"},
		{on("", evaluation.Equal, "x"), refused, "blank", ""},

		{on("$.identity.identifier", evaluation.Equal, "ada"), saved, "", ""},
		{on("$.environment.name", evaluation.Equal, "Production"), saved, "", ""},
		{on("$.environment.key", evaluation.Equal, "x"), saved, "", ""},
		{on("$.identity.traits.tamaño", evaluation.Equal, "x"), saved, "", ""},
		{on("$.identity.traits['plan']", evaluation.Equal, "x"), saved, "", ""},
		{on("$.identity.traits['[$the.size$]']", evaluation.Equal, "x"), saved, "", ""},
		{on(`$.identity.traits["plan"]`, evaluation.Equal, "x"), diverges, "alike", "write $.identity.traits.plan"},
		{on(`$.identity.traits['\u0041 b']`, evaluation.Equal, "x"), diverges, "alike", "write $.identity.traits['A b']"},
		{on(`$.identity.traits['it\'s']`, evaluation.Equal, "x"), diverges, "alike", "letters, digits"},
		{on("$.identity['identifier']", evaluation.Equal, "x"), diverges, "alike", "write $.identity.identifier"},
		{on("$.identity.traits.user-id", evaluation.Equal, "x"), diverges, "selects nothing", "write $.identity.traits['user-id']"},
		{on("$.identity.traits.a.b", evaluation.Equal, "x"), diverges, "selects nothing", "write $.identity.traits['a.b']"},
		{on("$.identity.trait.plan", evaluation.Equal, "x"), diverges, "selects nothing", "$.identity.traits.<name>"},
		{on("$..plan", evaluation.Equal, "x"), diverges, "selects nothing", ""},
		{on("$.identity.traits[*]", evaluation.Equal, "x"), diverges, "selects nothing", ""},
		{on("plan $", evaluation.Equal, "x"), saved, "", ""},

		{on("x", "LIKE", "y"), refused, `"LIKE"`, "CONTAINS"},
		{on("x", "", "y"), refused, `""`, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s_%s_%s", tt.condition.Property, tt.condition.Operator, tt.condition.Value), func(t *testing.T) {
			issues := issuesOf(tt.condition)
			switch {
			case tt.want == saved && len(issues) > 0:
				t.Fatalf("refused: %+v", issues)
			case tt.want == saved:
			case len(issues) != 1:
				t.Fatalf("%d issues: %+v", len(issues), issues)
			case issues[0].Diverges != (tt.want == diverges):
				t.Errorf("diverges: %v: %+v", issues[0].Diverges, issues)
			case !strings.Contains(issues[0].Detail, tt.says) || !strings.Contains(issues[0].Fix, tt.fix) || issues[0].Fix == "":
				t.Errorf("want %q, fix %q: %+v", tt.says, tt.fix, issues)
			case issues[0].Path != "rules[0].conditions[0]" || issues[0].ConditionID != "c1":
				t.Errorf("place: %+v", issues)
			}
		})
	}
}

// Every fix can itself be saved.
func TestFixesAreAccepted(t *testing.T) {
	rule := func(joined evaluation.RuleType, conditions ...evaluation.Condition) evaluation.Rule {
		return evaluation.Rule{Type: joined, Conditions: conditions}
	}
	all := func(conditions ...evaluation.Condition) evaluation.Rule { return rule(evaluation.All, conditions...) }
	in := func(outer evaluation.Rule, inner ...evaluation.Rule) evaluation.Rule {
		outer.Rules = inner
		return outer
	}
	const path = "$.identity.traits.x"
	tenth := on(path, evaluation.PercentageSplit, "10")
	for _, rules := range [][]evaluation.Rule{
		{all(on("n", evaluation.Equal, "1"), on("n", evaluation.Regex, `^1\.0$`), on("id", evaluation.Regex, `^[^\n]*2`), on("id", evaluation.Regex, `^[^\n]*-2\.5`))},
		{all(on("id", evaluation.In, `["1","2"]`), on("id", evaluation.Equal, "0"), on("id", evaluation.Equal, "true"), on("id", evaluation.Regex, `^1\.5$`))},
		{all(on("mail", evaluation.Regex, "^(?:a|b)"), on("mail", evaluation.Regex, `^[^\n]*(?:a|b)`), on("mail", evaluation.Regex, `^[\]a]`), on("mail", evaluation.Regex, "^(?:😀)+"))},
		{in(all(on("x", evaluation.IsSet, "")), rule(evaluation.None, on("x", evaluation.Equal, "US"), on("x", evaluation.Contains, "@"), on("x", evaluation.Regex, `^[^\n]*9`)))},
		{all(on("x", evaluation.IsSet, ""), tenth)},
		{all(on(path, evaluation.IsSet, ""), tenth)},
		{all(on("x", evaluation.In, "a,b"), tenth)},
		{all(on("x", evaluation.IsSet, "")), rule(evaluation.Any, tenth)}, // all rules of a segment must hold
		{in(all(on("x", evaluation.IsSet, "")), in(rule(evaluation.None), rule(evaluation.Any, tenth)))},
		{all(on("x", evaluation.GreaterThanInclusive, "0"), on("x", evaluation.Modulo, "4|3"))},
		{all(on("x", evaluation.Regex, "^[^-0-9]"), on("x", evaluation.LessThan, "m"))},
		{all(on("x", evaluation.Regex, "^[0-9]+[^.0-9eE]"), on(path, evaluation.LessThan, "2024-01-31"))},
		{all(on("x", evaluation.Regex, notNumber), on("x", evaluation.GreaterThan, ""), on("x", evaluation.Contains, "."))},
		{all(on("x", evaluation.Regex, "^user-")), rule(evaluation.None, on("x", evaluation.GreaterThan, "user-5"))},
		{all(on("x", evaluation.Contains, "@"), on("x", evaluation.GreaterThan, "m"))},
		{all(on("x", evaluation.In, "a,b"), on("x", evaluation.GreaterThan, "a"))},
		{all(on("x", evaluation.Equal, "a"), on("x", evaluation.GreaterThan, "a"))},
		{all(on("$.identity.identifier", evaluation.Regex, notNumber), on("$.identity.identifier", evaluation.Regex, "^0[0-9]"))},
		{all(on("x", evaluation.GreaterThan, "17"), on(path, evaluation.Modulo, "4|3"))},
		{rule(evaluation.Any, on("x", evaluation.GreaterThan, "4.5"), on(path, evaluation.GreaterThanInclusive, "5"))},
		{rule(evaluation.None, on("x", evaluation.LessThanInclusive, "4.5"), on("x", evaluation.LessThanInclusive, "4"))},
	} {
		if issues := evaluation.ValidateRules(rules, evaluation.Limits{}); issues != nil {
			t.Errorf("%+v: %+v", rules, issues)
		}
	}
	for _, rules := range [][]evaluation.Rule{ // guards that are none
		{all(on("x", evaluation.IsNotSet, ""), tenth)},
		{all(on("y", evaluation.IsSet, ""), tenth)},
		{rule(evaluation.Any, on("x", evaluation.IsSet, ""), tenth)},
		{rule(evaluation.Any, on("x", evaluation.IsSet, "")), all(tenth)},
		{in(rule(evaluation.Any, tenth), all(on("x", evaluation.IsSet, "")))},
		{in(rule(evaluation.Any), all(on("x", evaluation.IsSet, "")), rule(evaluation.Any, tenth))},
		{all(on("x", evaluation.GreaterThan, "-1"), on("x", evaluation.Modulo, "4|3"))},
		{all(on("y", evaluation.Regex, "^[^-0-9]"), on("x", evaluation.LessThan, "m"))},
		{all(on("x", evaluation.Regex, "^[^0-9]"), on("x", evaluation.LessThan, "m"))}, // -1
		{all(on("x", evaluation.Regex, `^(?:[^-0-9]|[0-9]+\.)`), on("x", evaluation.LessThan, "m"))},
		{all(on("x", evaluation.In, "a,1"), on("x", evaluation.GreaterThan, "a"))},
		{all(on("x", evaluation.Equal, "5x"), on("x", evaluation.GreaterThan, "a"))}, // Node: also the number 5
		{rule(evaluation.Any, on("x", evaluation.Regex, "^[^-0-9]"), on("x", evaluation.LessThan, "m"))},
		{all(on("x", evaluation.LessThan, "5"), on("x", evaluation.Modulo, "4|3"))},
		{all(on("x", evaluation.GreaterThan, "4.5"), on("x", evaluation.GreaterThanInclusive, "5"))},
		{rule(evaluation.Any, on("x", evaluation.GreaterThan, "4.5"), on("y", evaluation.GreaterThanInclusive, "5"))},
		{rule(evaluation.Any, on("x", evaluation.GreaterThan, "4.5"), on("x", evaluation.GreaterThanInclusive, "6"))},
	} {
		if issues := evaluation.ValidateRules(rules, evaluation.Limits{}); len(issues) != 1 || !issues[0].Diverges {
			t.Errorf("%+v: %+v", rules, issues)
		}
	}
}

// What was recorded stays, what is new or changed is refused, and so is what lost its guard.
func TestValidateChange(t *testing.T) {
	old, split := on("country", evaluation.NotEqual, "US"), on("$.identity.traits.x", evaluation.PercentageSplit, "10")
	isSet, moved := on("x", evaluation.IsSet, ""), on("country", evaluation.NotEqual, "US")
	moved.ID = "c9"
	order := on("x", evaluation.LessThan, "m")
	of := func(conditions ...evaluation.Condition) []evaluation.Rule {
		return []evaluation.Rule{{Type: evaluation.All, Conditions: conditions}}
	}
	for _, tt := range []struct {
		name            string
		rules, recorded []evaluation.Rule
		want            int
	}{
		{"the same", of(old), of(old), 0},
		{"in another place", of(isSet, moved), of(old), 0},
		{"new", of(old), nil, 1},
		{"another value", of(on("country", evaluation.NotEqual, "CA")), of(old), 1},
		{"another trait", of(on("home", evaluation.NotEqual, "US")), of(old), 1},
		{"a second one", of(old, on("home", evaluation.NotContains, "x")), of(old), 1},
		{"without its guard", of(split), of(isSet, split), 1},
		{"an order with a text", of(isSet, order, on("$.identity.identifier", evaluation.Equal, "7")), of(order, on("$.identity.identifier", evaluation.Equal, "7")), 0},
		{"that lost what kept numbers out", of(order), of(on("x", evaluation.Regex, "^[^-0-9]"), order), 1},
		{"what cannot work", of(on("x", evaluation.Modulo, "0|0")), of(on("x", evaluation.Modulo, "0|0")), 1},
	} {
		if issues := evaluation.ValidateChange(tt.rules, tt.recorded, evaluation.Limits{}); len(issues) != tt.want {
			t.Errorf("%s: %+v", tt.name, issues)
		}
	}
}

func TestValidateTrees(t *testing.T) {
	bad := evaluation.Condition{ID: "bad", Property: "x", Operator: evaluation.Modulo, Value: "0|0"}
	good := evaluation.Condition{Property: "x", Operator: evaluation.IsSet}
	long := evaluation.Condition{ID: "long", Property: "x", Operator: evaluation.In, Value: strings.Repeat("a,", 20)}
	tree := []evaluation.Rule{
		{Type: evaluation.All, Conditions: []evaluation.Condition{good}, Rules: []evaluation.Rule{
			{Type: evaluation.Any, Conditions: []evaluation.Condition{good, bad}},
			{Type: "SOME", Rules: []evaluation.Rule{{Type: evaluation.None, Conditions: []evaluation.Condition{bad}}}},
		}},
		{Conditions: []evaluation.Condition{long}},
	}
	var got []string
	for _, i := range evaluation.ValidateRules(tree, evaluation.Limits{Conditions: 4, Depth: 2, ValueBytes: 30}) {
		got = append(got, fmt.Sprintf("%s %s: %s", i.Path, i.ConditionID, i.Detail))
	}
	want := []string{
		`rules[0].rules[0].conditions[1] bad: "0|0" divides by zero`,
		`rules[0].rules[1] : unknown rule type "SOME"`,
		`rules[0].rules[1].rules[0] : rules nested 3 deep, at most 2 are allowed (limit: depth of rules)`,
		`rules[1] : unknown rule type ""`,
		`rules[1].conditions[0] long: value of 40 bytes, at most 30 are allowed (limit: bytes a condition value)`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	many := []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{good, good, good}}}
	issues := evaluation.ValidateRules(many, evaluation.Limits{Conditions: 2})
	if len(issues) != 1 || issues[0].Path != "rules" || !strings.Contains(issues[0].Detail, "3 conditions, at most 2") {
		t.Errorf("too many conditions: %+v", issues)
	}
	if evaluation.ValidateRules(many, evaluation.Limits{Conditions: 3, Depth: 1, ValueBytes: 1}) != nil || evaluation.ValidateRules(nil, evaluation.Limits{}) != nil {
		t.Error("rules within the limits are refused")
	}
	// A long list is not reported element by element.
	zeros := evaluation.Condition{Property: "x", Operator: evaluation.In, Value: strings.Repeat("007,", 1000) + "0"}
	if issues := issuesOf(zeros); len(issues) != 2 {
		t.Errorf("%d issues for one list", len(issues))
	}
}

func TestAdvise(t *testing.T) {
	for _, tt := range []struct {
		condition evaluation.Condition
		says, fix string // "" for nothing to say
		types     string // that settle it
	}{
		{on("n", evaluation.Equal, "4.5"), "a text such as 10", "send numbers", "integer number"},
		{on("n", evaluation.NotEqual, "5"), "a text such as 10", "send numbers", "integer number"},
		{on("$.identity.traits.n", evaluation.GreaterThan, "18"), "a text such as 10", "send numbers", "integer number"},
		{on("v", evaluation.GreaterThan, "1.2.3:semver"), "Node also takes v1.2.3", "without v", "semver"},
		{on("b", evaluation.Equal, "true"), "Go takes it for a boolean", "send booleans", "boolean string"},
		{on("s", evaluation.Equal, "5abc"), "begins with", "send texts", "string datetime"},
		{on("s", evaluation.LessThan, "2024-01-31"), "begins with", "send texts", "string datetime"},
		{on("s", evaluation.Equal, "abc"), "", "", ""},
		{on("s", evaluation.Equal, "nan"), "", "", ""},
		{on("s", evaluation.Equal, ""), "", "", ""},
		{on("s", evaluation.Contains, "@"), "", "", ""},
		{on("s", evaluation.Regex, "^a$"), "line feed", "NONE rule of CONTAINS", ""},
		{on("s", evaluation.Regex, `^a\$[$]`), "", "", ""},
		{on("s", evaluation.Regex, "^0"), "007 or 1.50", "put s REGEX ^(?:[^-0-9]", ""},
		{on("s", evaluation.Regex, "^[0-9]{3}"), "007 or 1.50", "^0*", ""},
		{on("s", evaluation.Regex, `^[^\n]*50`), "007 or 1.50", "", ""},
		{on("s", evaluation.Regex, `^[^\n]*[1-9]`), "", "", ""},
		{on("s", evaluation.Regex, "^true"), "a boolean is True", "send texts", "string"},
		{on("s", evaluation.Regex, "^[Tt]rue"), "", "", ""},
		{on("s", evaluation.Regex, "^(?:a+)+b"), "repeats a group", "only once", ""},
		{on("s", evaluation.Regex, "^(b|(ca*)){2,}"), "repeats a group", "only once", ""},
		{on("s", evaluation.Regex, `^(?:a+){2}\(b*[(a+)+]*`), "", "", ""},
		{on("n", evaluation.In, "a,7"), "is the number on the server", "without leading zeros", "integer number"},
		{on("$.identity.identifier", evaluation.In, `["7","8"]`), "is the number on the server", "without leading zeros", "integer number"},
		{on("n", evaluation.Modulo, "4|0"), "sent as a text", "send a number", "integer number"},
		{on("", evaluation.PercentageSplit, "10"), "", "", ""},
		{on("$.identity.key", evaluation.PercentageSplit, "10"), "", "", ""},
		{on("$.identity.traits.x", evaluation.PercentageSplit, "10"), "do not hash alike", "positive whole numbers", ""},
	} {
		issues := evaluation.Advise([]evaluation.Rule{{Type: evaluation.Any, Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{tt.condition}}}}})
		switch {
		case tt.says == "" && issues == nil:
		case tt.says == "" || len(issues) != 1:
			t.Errorf("%+v: %+v", tt.condition, issues)
		case !strings.Contains(issues[0].Detail, tt.says) || !strings.Contains(issues[0].Fix, tt.fix) || !issues[0].Diverges ||
			issues[0].Path != "rules[0].rules[0].conditions[0]" || strings.Join(issues[0].Types, " ") != tt.types ||
			tt.types != "" && !strings.HasSuffix(tt.condition.Property, issues[0].Trait):
			t.Errorf("%+v: %+v", tt.condition, issues)
		}
	}
}
