package evaluation

import (
	"math"
	"strings"
)

// Advise says on which values of traits engines would evaluate the rules differently, where ValidateRules cannot tell
// whether there are such values and no form of the rule would do better: all issues have Diverges set, and the rules can
// be saved. Most come from values of another type than the rule is about, so that declaring the trait settles them; an
// issue's Trait and Types say how.
func Advise(rules []Rule) []Issue {
	v := validator{check: adviseCondition}
	v.rules("", rules, 1)
	return v.issues
}

func adviseCondition(v *validator, c Condition) {
	switch c.Operator {
	case Equal, NotEqual, GreaterThan, GreaterThanInclusive, LessThan, LessThanInclusive:
		v.adviseComparison(c)
	case Modulo:
		v.adviseType("a number that is sent as a text is one on the server, and in SDKs also a text that begins with one",
			"send a number", "integer", "number")
	case Regex:
		if endsAtDollar(c.Value) {
			v.diverges("REGEX %s: where the text ends in a line feed, $ stands before it for the server, and only after it in SDKs", shown(c.Value))(
				"if it may: in an ALL rule add a NONE rule of CONTAINS and a line feed")
		}
	case PercentageSplit:
		if parseProperty(c.Property).source == fromNamedTrait {
			v.diverges("PERCENTAGE_SPLIT on %s: booleans, fractions, 0, the empty text and texts that read like a number with leading zeros "+
				"do not hash alike everywhere", c.Property)("split on texts or positive whole numbers")
		}
	}
}

func (v *validator) adviseComparison(c Condition) {
	number, isNumber := castFloat(c.Value)
	isNumber = isNumber && !math.IsNaN(number) && !math.IsInf(number, 0) // which are words, for people at least
	switch {
	case alwaysText(c.Property):
	case strings.HasSuffix(c.Value, semverSuffix):
		v.adviseType("versions are read strictly on the server; Node also takes v1.2.3", "send versions of three numbers, without v", "semver")
	case isNumber:
		v.adviseType("the server reads a text such as 10 or 1.0 as a number; Node compares it as a text, and Go takes 1 and 0 for booleans too",
			"send numbers as numbers", "integer", "number")
	case c.Value == "true" || c.Value == "false" || c.Value == "True" || c.Value == "False":
		v.adviseType("where the trait is 1, 0 or a text such as t, Go takes it for a boolean, and the server does not",
			"send booleans as booleans", "boolean", "string")
	case beginsWithNumber(c.Value):
		v.adviseType("where the trait is a number, Node compares it with the number that this begins with, and the server does not",
			"send texts", "string", "datetime")
	}
}

// beginsWithNumber reports whether JavaScript's parseFloat finds a number.
func beginsWithNumber(s string) bool {
	s = strings.TrimLeft(strings.TrimSpace(s), "+-")
	s = strings.TrimPrefix(s, ".")
	return s != "" && '0' <= s[0] && s[0] <= '9'
}

// adviseType is advice that a declaration of the trait with one of the types settles.
func (v *validator) adviseType(detail, send string, types ...string) {
	c := v.condition
	v.diverges("%s %s: %s", c.Operator, shown(c.Value), detail)("%s, and declare the trait", send)
	issue := &v.issues[len(v.issues)-1]
	issue.Trait, issue.Types = placeOf(c.Property).trait, types
}

// endsAtDollar reports whether an expression has a $ that is not a character.
func endsAtDollar(pattern string) bool {
	for t := range regexTokens(pattern) {
		if t.text == "$" && !t.inClass {
			return true
		}
	}
	return false
}
