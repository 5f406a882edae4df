package evaluation

import (
	"math"
	"slices"
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
		v.adviseType("a number that is sent as a text is one on the server, and in SDKs also a text that begins with one; booleans are 1 and 0 on the server only",
			"send a number", "integer", "number")
	case In:
		v.adviseIn(c)
	case Regex:
		v.adviseRegex(c)
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
	case beginsWithNumber(c.Value) && !v.guarded(v.leavesOutNumbers):
		v.adviseType("where the trait is a number, Node compares it with the number that this begins with, and the server does not",
			"send texts", "string", "datetime")
	}
}

func (v *validator) adviseIn(c Condition) {
	i := slices.IndexFunc(ListOf(c.Value), func(e string) bool { return coerce(String(e)).kind != KindString })
	if i >= 0 {
		e := ListOf(c.Value)[i]
		v.adviseType("a text such as 0"+strings.TrimPrefix(e, "-")+" is the number on the server, and in the list; SDKs look for the text",
			"send numbers, or texts without leading zeros", "integer", "number")
	}
}

func (v *validator) adviseRegex(c Condition) {
	if !mayReadLikeNumber(c.Property) && v.tellsSpellings(c) {
		v.diverges("REGEX %s: a text such as 007 or 1.50 is the number 7 or 1.5 on the server; SDKs look at the text, and the expression tells them apart", shown(c.Value))(
			"allow zeros at the beginning (^0*) and at the end of a fraction, or in an ALL rule put %s REGEX %s beside it, which leaves out numbers", c.Property, notNumber)
	}
	if re, err := compileRegex(c.Value); err == nil && !alwaysText(c.Property) {
		match := func(s string) bool { return re.holds(&operand{Value: String(s)}, nil) }
		if match("True") != match("true") || match("False") != match("false") {
			v.adviseType("a boolean is True or False on the server, and true or false in SDKs", "send texts", "string")
		}
	}
	if repeatsRepetition(c.Value) {
		v.diverges("REGEX %s repeats a group that repeats something: SDKs that try one way after the other can take longer than anybody waits, on texts made for it", shown(c.Value))(
			"repeat only once, as in ^[a-z]+ instead of ^(?:[a-z]+)+, or make sure that each repetition begins with what the one before cannot hold")
	}
}

// repeatsRepetition reports whether an expression has a repetition without an end inside of another, (a+)*, which is what
// takes engines that backtrack exponential time. That it does not always is for a person to see.
func repeatsRepetition(pattern string) bool {
	groups := []bool{false} // those around, and whether a repetition is in them
	closed := false         // what comes before is a group with a repetition in it
	for t := range regexTokens(pattern) {
		endless := !t.inClass && (t.text == "*" || t.text == "+" || strings.HasPrefix(t.text, "{") && strings.HasSuffix(t.text, ",}"))
		switch {
		case endless && closed:
			return true
		case endless:
			groups[len(groups)-1] = true
		}
		closed = false
		switch {
		case t.inClass:
		case t.text[0] == '(':
			groups = append(groups, false)
		case t.text == ")" && len(groups) > 1:
			closed = groups[len(groups)-1]
			groups = groups[:len(groups)-1]
			groups[len(groups)-1] = groups[len(groups)-1] || closed
		}
	}
	return false
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
