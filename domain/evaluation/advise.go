package evaluation

import (
	"math"
	"strings"
)

// Advise says on which traits engines would evaluate the rules differently, where ValidateRules cannot tell whether there
// are such traits: all issues have Diverges set, and the rules can be saved. Declaring the traits' types answers most.
//
// Not mentioned, since it would be said of every rule with a number or a boolean: a number should be sent as a number
// and a boolean as a boolean. The server compares the text "10" as a number, Node as a text, and Go takes 1 and "t" for
// true.
func Advise(rules []Rule) []Issue {
	v := validator{check: adviseCondition}
	v.rules("", rules, 1)
	return v.issues
}

func adviseCondition(v *validator, c Condition) {
	number, isNumber := castFloat(c.Value)
	_, isVersion := strings.CutSuffix(c.Value, semverSuffix)
	switch c.Operator {
	case NotEqual:
		switch {
		case isVersion:
			v.diverges("NOT_EQUAL %s: where the trait is not a version the server says no, Node yes; build metadata counts in Node only", shown(c.Value))(
				"in an ALL rule use IS_SET, and with it a NONE rule of EQUAL")
		case !isNumber, number != math.Trunc(number):
			v.diverges("NOT_EQUAL %s: where the trait is a whole number the server says no, SDKs yes", shown(c.Value))(
				"if it may be a number: in an ALL rule use IS_SET, and with it a NONE rule of EQUAL")
		}
	case GreaterThan, GreaterThanInclusive:
		v.adviseFraction(c, number, GreaterThanInclusive, math.Ceil(number))
	case LessThan, LessThanInclusive:
		v.adviseFraction(c, number, LessThanInclusive, math.Floor(number))
	case NotContains:
		if !partOfNumber(c.Value) {
			v.diverges("NOT_CONTAINS %s: where the trait is a text that reads like a number the server says no, SDKs yes", shown(c.Value))(
				"if it may be one: in an ALL rule use IS_SET, and with it a NONE rule of CONTAINS")
		}
	case Modulo:
		if m, ok := parseModulo(c.Value); ok && m.remainder != 0 {
			v.diverges("MODULO %s: of negative numbers only the server takes the remainder with the sign of the divisor", shown(c.Value))(
				"if there may be any: add GREATER_THAN -1 beside it in an ALL rule")
		}
	case PercentageSplit:
		if c.Property != "" && parseProperty(c.Property).source != fromIdentityKey {
			v.diverges("PERCENTAGE_SPLIT on %s: Go splits by the identity key where there is no value; booleans, fractions, 0, "+
				"the empty text and texts that read like a number with leading zeros do not hash alike everywhere", c.Property)(
				"add IS_SET beside it in an ALL rule, and split on texts or positive whole numbers")
		}
	}
}

// adviseFraction deals with an order and a fraction: Python cannot cast "4.5" to compare it with 5.
func (v *validator) adviseFraction(c Condition, number float64, whole Operator, bound float64) {
	if bound != number && !math.IsNaN(number) {
		v.diverges("%s %s: where the trait is a whole number the server says no, SDKs compare", c.Operator, shown(c.Value))(
			"if it may be one: add %s %s beside it in an ANY rule", whole, plainNumber(bound))
	}
}
