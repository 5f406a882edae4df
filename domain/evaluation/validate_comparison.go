package evaluation

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
)

func (v *validator) checkComparison(c Condition) {
	if version, ok := strings.CutSuffix(c.Value, semverSuffix); ok {
		parsed, err := semver.StrictNewVersion(version)
		if scanned := scanVersion(version); err == nil && !scanned.valid() { // the library lets "1.2.3-" pass
			err = semver.ErrInvalidSemVer
		}
		switch {
		case err != nil:
			v.refuse("version %s: %v", shown(version), err)("write three numbers, such as 1.2.0%s, without v", semverSuffix)
		case max(parsed.Major(), parsed.Minor(), parsed.Patch()) > maxSafeInteger:
			v.diverges("version %s: numbers above %d have no exact value in JavaScript", shown(version), uint64(maxSafeInteger))("write smaller numbers")
		case c.Operator == NotEqual:
			v.diverges("NOT_EQUAL %s: where the trait is not a version the server says no and Node yes; build metadata counts in Node only", shown(c.Value))(
				"%s", v.fixNegation(c, Equal))
		}
		return
	}
	f, isFloat := castFloat(c.Value)
	_, isInt := castInt(c.Value)
	inOrder := c.Operator != Equal && c.Operator != NotEqual
	isNumber := isFloat && !math.IsNaN(f) && !math.IsInf(f, 0)
	switch {
	case isFloat && math.IsInf(f, 0) && strings.ContainsAny(c.Value, "0123456789"):
		v.diverges("%s %s: the number is beyond the largest that there is, 1.8e308, so that it is an infinity to some and not to others", c.Operator, shown(c.Value))(
			"write a number that apps can send; for a text, use IN %s", c.Value)
	case inOrder && strings.ContainsFunc(c.Value, func(r rune) bool { return r >= 0xe000 }):
		v.diverges("%s %s: the order of texts with characters from U+E000 up is another in JavaScript", c.Operator, shown(c.Value))(
			"compare with a text of other characters, or list what is meant with IN")
	case inOrder && isFloat && (math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsFunc(c.Value, oddInNumber)):
		v.diverges("%s %s: Python reads it as a number, other languages as another one or as none", c.Operator, shown(c.Value))("write a number in digits, such as 1000 or 0.5")
	case inOrder && isFloat && alwaysText(c.Property):
		v.diverges("%s %s: %s is a text, which SDKs compare as one; the server compares texts that read like numbers as numbers", c.Operator, shown(c.Value), c.Property)(
			"list what is meant with IN, use REGEX, or compare a trait that is sent as a number")
	case inOrder && !isFloat && parseProperty(c.Property).source != fromIdentityKey && !v.guarded(v.leavesOutNumbers):
		guard, _ := BesideText(c)
		v.diverges("%s %s: a text that reads like a number, such as 12, is one on the server, which cannot be compared with a text; SDKs compare the texts", c.Operator, shown(c.Value))(
			"in an ALL rule put %s REGEX %s beside it, which leaves out numbers", c.Property, guard.Value)
	case isNumber && mayReadLikeNumber(c.Property):
		v.diverges("%s %s: on the server %s is compared as a number where it reads like one, so that 7, 007 and 7.0 are equal; SDKs compare the texts",
			c.Operator, shown(c.Value), c.Property)("%s", fixNumberText(c, f))
	case isNumber && strings.ContainsFunc(c.Value, oddInNumber):
		v.diverges("%s %s: Python reads it as the number %s, other languages as another one or as none", c.Operator, shown(c.Value), plainDecimal(c.Value, f))(
			"write %s; for a text, use IN %s", plainDecimal(c.Value, f), c.Value)
	case c.Operator == NotEqual && !isInt && !(isNumber && f == math.Trunc(f)):
		v.diverges("NOT_EQUAL %s: where the trait is a number the server says no, since it cannot be compared, and SDKs yes", shown(c.Value))("%s", v.fixNegation(c, Equal))
	case !isNumber: // but a word, if one such as inf
	case strings.TrimSpace(c.Value) != c.Value:
		v.diverges("%s has blanks around the number, and not all engines ignore them", shown(c.Value))("write %s", plainNumber(f))
	case !isInt && f == math.Trunc(f):
		v.diverges("%s: a trait that is the whole number %s cannot be compared with it on the server, but is in SDKs", shown(c.Value), plainNumber(f))(
			"write %s; for a text, such as a version, use REGEX ^%s$ or a version of three parts with %s",
			plainNumber(f), regexp.QuoteMeta(c.Value), semverSuffix)
	default:
		v.checkFraction(c)
	}
}

// BesideFraction is the condition that says of whole numbers what an order with a fraction says of fractions; ok is
// false where none is needed. Python cannot cast "4.5" to compare it with 5, so that GREATER_THAN 4.5 needs
// GREATER_THAN_INCLUSIVE 5 beside it.
func BesideFraction(c Condition) (whole Condition, ok bool) {
	f, ok := castFloat(c.Value)
	if !ok || f == math.Trunc(f) || math.IsNaN(f) {
		return Condition{}, false
	}
	switch c.Operator {
	case GreaterThan, GreaterThanInclusive:
		return Condition{Property: c.Property, Operator: GreaterThanInclusive, Value: plainNumber(math.Ceil(f))}, true
	case LessThan, LessThanInclusive:
		return Condition{Property: c.Property, Operator: LessThanInclusive, Value: plainNumber(math.Floor(f))}, true
	default:
		return Condition{}, false
	}
}

// BesideText is the condition that keeps numbers, and texts that read like them, out of an order with a text; ok is false
// where none is needed. The server takes such a text for the number, which it cannot compare with a text.
func BesideText(c Condition) (guard Condition, ok bool) {
	switch c.Operator {
	case GreaterThan, GreaterThanInclusive, LessThan, LessThanInclusive:
		_, isNumber := castFloat(c.Value)
		return Condition{Property: c.Property, Operator: Regex, Value: textGuard(c.Value)}, !isNumber && !strings.HasSuffix(c.Value, semverSuffix)
	default:
		return Condition{}, false
	}
}

func (v *validator) checkFraction(c Condition) {
	want, ok := BesideFraction(c)
	if !ok {
		return
	}
	sibling := v.onSameTrait(func(o Condition) bool { return o.Operator == want.Operator && o.Value == want.Value })
	if v.rule.Type != All && slices.ContainsFunc(v.rule.Conditions, sibling) {
		return
	}
	v.diverges("%s %s: where the trait is a whole number the server says no, since it cannot be compared with a fraction, and SDKs compare", c.Operator, shown(c.Value))(
		"put %s %s beside it in one ANY rule (or one NONE rule)", want.Operator, want.Value)
}

// fixNumberText is what to write instead of comparing a text with a number for equality.
func fixNumberText(c Condition, f float64) string {
	plain := plainDecimal(c.Value, f)
	digits, negative := strings.CutPrefix(plain, "-")
	pattern := "^0*" + regexp.QuoteMeta(digits)
	switch {
	case digits == "0":
		pattern = "^0+"
	case negative:
		pattern = "^-0*" + regexp.QuoteMeta(digits)
	}
	if strings.Contains(digits, ".") {
		pattern += "0*"
	}
	if c.Operator == Equal {
		return fmt.Sprintf("write REGEX %s$", pattern)
	}
	return fmt.Sprintf("write an ALL rule of %s IS_SET that has a NONE rule of %s REGEX %s$ in it", c.Property, c.Property, pattern)
}

// fixNegation is what to write instead of a negated operator.
func (v *validator) fixNegation(c Condition, positive Operator) string {
	return fmt.Sprintf("write an ALL rule of %s IS_SET that has a NONE rule of %s %s %s in it", c.Property, c.Property, positive, shown(c.Value))
}

// oddInNumber is what only Python reads in numbers.
func oddInNumber(r rune) bool { return r == '_' || r >= utf8.RuneSelf }

// alwaysText reports whether what a property looks at is a text, whatever apps send.
func alwaysText(name string) bool {
	switch parseProperty(name).source {
	case fromIdentifier, fromIdentityKey, fromEnvironmentKey, fromEnvironmentName:
		return true
	default:
		return false
	}
}

// mayReadLikeNumber reports whether what a property looks at is a text that the server may take for a number: an identifier,
// the name or key of an environment. The identity's key never reads like one.
func mayReadLikeNumber(name string) bool {
	return alwaysText(name) && parseProperty(name).source != fromIdentityKey
}

// findsTrait reports whether a condition is false, to all engines, where there is no trait.
func findsTrait(c Condition) bool { return c.Operator != IsNotSet && c.Operator != PercentageSplit }

// isNotNegative reports whether a condition is false, to all engines, of numbers below 0.
func isNotNegative(c Condition) bool {
	n, ok := castInt(c.Value)
	return ok && (c.Operator == GreaterThan || c.Operator == GreaterThanInclusive) && compareInts(n, Int(0)) >= 0
}

// maxSafeInteger is the largest integer up to which JavaScript has all.
const maxSafeInteger = 1<<53 - 1
