package evaluation

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
)

// Limits bounds what a person may write. A zero field does not limit.
type Limits struct {
	Conditions int // in all rules together
	Depth      int // of nested rules; a segment's own rules are at depth 1
	ValueBytes int // length of a condition's value
	TraitKey   int // characters of the name of a trait
}

// Issue is something to be said about rules.
type Issue struct {
	Path        string `json:"path"`                   // where, e.g. "rules[0].rules[1].conditions[2]"
	ConditionID string `json:"condition_id,omitempty"` // "" when it is not about one condition, or the condition has none
	Detail      string `json:"detail"`                 // what is wrong, with the offending text
	Fix         string `json:"fix"`                    // what to write instead
	Diverges    bool   `json:"diverges,omitempty"`     // it works, but SDKs in local evaluation do not agree with the server

	// Trait and Types say what settles advice: a declaration of that trait with one of these types. "" when none does.
	Trait string   `json:"-"`
	Types []string `json:"-"`

	condition Condition
}

// ValidateRules says all that stands against saving the rules; nil means that they can be saved. It refuses what cannot
// work, what the limits forbid, and what engines evaluate differently although another form would do.
//
// Where the difference shows on some values of a trait and no other form does better (a number sent as a text), the rule
// can be saved; see Advise.
func ValidateRules(rules []Rule, limits Limits) []Issue {
	v := validator{limits: limits, check: checkCondition}
	v.rules("", rules, 1)
	if limits.Conditions > 0 && v.conditions > limits.Conditions {
		v.path, v.condition = "rules", Condition{}
		v.refuse("%d conditions, at most %d are allowed (limit: conditions a segment)", v.conditions, limits.Conditions)(
			"put alternatives of one property into one IN condition, or split the segment")
	}
	return v.issues
}

// ValidateChange is ValidateRules for rules that are to follow recorded ones. A condition on which engines do not agree
// stays as it is where it was recorded, by a version that did not know: an edit elsewhere is not held up by it.
func ValidateChange(rules, recorded []Rule, limits Limits) []Issue {
	type known struct {
		condition Condition
		detail    string
	}
	identify := func(i Issue) known {
		i.condition.ID = ""
		return known{i.condition, i.Detail}
	}
	before := map[known]bool{}
	for _, i := range ValidateRules(recorded, Limits{}) {
		before[identify(i)] = i.Diverges
	}
	return slices.DeleteFunc(ValidateRules(rules, limits), func(i Issue) bool { return i.Diverges && before[identify(i)] })
}

// validator walks rules and collects issues about the place where it is.
type validator struct {
	limits     Limits
	check      func(*validator, Condition)
	conditions int
	issues     []Issue

	path      string
	condition Condition
	rule      Rule // that the condition is in
	readings  map[string]numberReading
	guards    []Condition // without which the segment, or a rule around the condition, does not hold whatever it says
}

func (v *validator) rules(parent string, rules []Rule, depth int) {
	outer := v.guards
	defer func() { v.guards = outer }()
	if depth == 1 { // all rules of a segment must hold
		for _, r := range rules {
			if r.Type == All {
				v.guards = append(v.guards, r.Conditions...)
			}
		}
	}
	around := v.guards[:len(v.guards):len(v.guards)]
	for i, r := range rules {
		v.guards = around
		if r.Type == All && depth > 1 {
			v.guards = append(v.guards, r.Conditions...)
		}
		path := fmt.Sprintf("%srules[%d]", parent, i)
		v.path, v.condition = path, Condition{}
		if r.Type != All && r.Type != Any && r.Type != None {
			v.refuse("unknown rule type %q", r.Type)("write ALL, ANY or NONE")
		}
		if v.limits.Depth > 0 && depth > v.limits.Depth {
			v.refuse("rules nested %d deep, at most %d are allowed (limit: depth of rules)", depth, v.limits.Depth)(
				"join the conditions in fewer levels, or split the segment")
			continue
		}
		for j, c := range r.Conditions {
			v.conditions++
			v.path, v.condition, v.rule = fmt.Sprintf("%s.conditions[%d]", path, j), c, r
			v.check(v, c)
		}
		v.rules(path+".", r.Rules, depth+1)
	}
}

// guarded reports whether a guard on the condition's trait is one of those asked for.
func (v *validator) guarded(is func(Condition) bool) bool {
	return slices.ContainsFunc(v.guards, v.onSameTrait(is))
}

// onSameTrait limits what is asked of conditions to those that look at what the validator's does.
func (v *validator) onSameTrait(is func(Condition) bool) func(Condition) bool {
	place := placeOf(v.condition.Property)
	return func(c Condition) bool { return placeOf(c.Property) == place && is(c) }
}

// placeOf is where a property's value is: name and path of a trait are the same place.
func placeOf(name string) property {
	p := parseProperty(name)
	switch p.source {
	case fromTrait:
		return property{source: fromNamedTrait, trait: name}
	default:
		p.name = ""
		return p
	}
}

// refuse notes what cannot be saved; the function that it returns takes the fix.
func (v *validator) refuse(format string, args ...any) (fix func(format string, args ...any)) {
	return v.note(false, format, args...)
}

// diverges notes what engines do not agree on.
func (v *validator) diverges(format string, args ...any) (fix func(format string, args ...any)) {
	return v.note(true, format, args...)
}

func (v *validator) note(diverges bool, format string, args ...any) func(string, ...any) {
	issue := Issue{Path: v.path, ConditionID: v.condition.ID, Detail: fmt.Sprintf(format, args...), Diverges: diverges, condition: v.condition}
	return func(format string, args ...any) {
		issue.Fix = fmt.Sprintf(format, args...)
		v.issues = append(v.issues, issue)
	}
}

// shown is a value as it is quoted in an issue.
func shown(value string) string {
	const most = 80
	if r := []rune(value); len(r) > most {
		return fmt.Sprintf("%q...", string(r[:most]))
	}
	return fmt.Sprintf("%q", value)
}

func checkCondition(v *validator, c Condition) {
	if v.limits.ValueBytes > 0 && len(c.Value) > v.limits.ValueBytes {
		v.refuse("value of %d bytes, at most %d are allowed (limit: bytes a condition value)", len(c.Value), v.limits.ValueBytes)(
			"shorten it, or divide it among several conditions in an ANY rule")
		return
	}
	before := len(v.issues)
	if n := utf8.RuneCountInString(placeOf(c.Property).trait); v.limits.TraitKey > 0 && n > v.limits.TraitKey {
		v.refuse("a trait's name of %d characters, at most %d are allowed (limit: trait key): no identity can have it", n, v.limits.TraitKey)("name a trait that there can be")
		return
	}
	v.checkProperty(c)
	switch c.Operator {
	case Equal, NotEqual, GreaterThan, GreaterThanInclusive, LessThan, LessThanInclusive:
		v.checkComparison(c)
	case Contains, NotContains:
		v.checkContains(c)
	case Regex:
		v.checkRegex(c)
	case Modulo:
		v.checkModulo(c)
	case PercentageSplit:
		if percent, ok := castFloat(c.Value); !ok || !(percent >= 0 && percent <= 100) || !isPlainNumber(c.Value) {
			v.refuse("%s is not a percentage", shown(c.Value))("write a number from 0 to 100, such as 25 or 0.5")
		} else if mayReadLikeNumber(c.Property) {
			v.diverges("PERCENTAGE_SPLIT on %s: one such as 007 or 1.50 is a number on the server, 7 or 1.5, and hashed as that; SDKs hash the text", c.Property)(
				"leave the property blank, which splits by the identity's key")
		} else if len(v.issues) == before && parseProperty(c.Property).source == fromNamedTrait && !v.guarded(findsTrait) {
			v.diverges("PERCENTAGE_SPLIT on %s: where there is no such trait the server finds nobody, Go splits by the identity's key", c.Property)(
				"in an ALL rule put %s IS_SET beside it", c.Property)
		}
	case In:
		v.checkIn(c)
	case IsSet, IsNotSet:
	default:
		v.refuse("unknown operator %q", c.Operator)("write one of EQUAL, NOT_EQUAL, GREATER_THAN, GREATER_THAN_INCLUSIVE, LESS_THAN, " +
			"LESS_THAN_INCLUSIVE, CONTAINS, NOT_CONTAINS, REGEX, MODULO, PERCENTAGE_SPLIT, IN, IS_SET, IS_NOT_SET")
	}
}

func (v *validator) checkProperty(c Condition) {
	split := c.Operator == PercentageSplit
	p := parseProperty(c.Property)
	canonical := map[source]string{
		fromIdentifier: "$.identity.identifier", fromIdentityKey: "$.identity.key",
		fromEnvironmentKey: "$.environment.key", fromEnvironmentName: "$.environment.name",
	}[p.source]
	switch {
	case IsObjectMember(c.Property) || p.source == fromNamedTrait && IsObjectMember(p.trait):
		v.diverges("every object of JavaScript has a member %s: SDKs that run on it find the trait with everybody", shown(c.Property))("choose another name for the trait")
	case c.Property == "" && !split:
		v.refuse("the property is blank")("name the trait, or write $.identity.identifier; only PERCENTAGE_SPLIT takes a blank property, for the identity key")
	case c.Property == "":
	case !strings.HasPrefix(c.Property, "$.") && split:
		v.diverges("PERCENTAGE_SPLIT on the trait name %s: Node in local evaluation reads only paths here, and matches nobody", shown(c.Property))(
			"%s", fixTraitPath(c.Property, split))
	case !strings.HasPrefix(c.Property, "$."):
	case p.source == fromNamedTrait:
		if want := traitPath(p.trait, split); c.Property != want && !(strings.HasPrefix(want, "$.identity.traits.") && c.Property == "$.identity.traits['"+p.trait+"']") {
			v.diverges("SDKs do not read the path %s alike: not all know every form of RFC 9535", shown(c.Property))("%s", fixTraitPath(p.trait, split))
		}
	case canonical == "":
		v.diverges("the path %s selects nothing that all SDKs find", shown(c.Property))("%s", fixUnknownPath(c.Property, split))
	case c.Property != canonical:
		v.diverges("SDKs do not read the path %s alike", shown(c.Property))("write %s", canonical)
	}
}

// traitPath is the path to a trait that all engines read alike, "" when there is none.
func traitPath(trait string, split bool) string {
	if name, rest, ok := shorthand(trait); ok && rest == "" {
		return "$.identity.traits." + name
	}
	odd := func(r rune) bool { return r < ' ' || r == '\'' || r == '\\' }
	if split { // Node uses a JSONPath library in splits alone, and it takes these for operators even between quotes
		odd = func(r rune) bool { return r < ' ' || strings.ContainsRune("'\\\"`,;^~@*?$()[]{}", r) }
	}
	if trait == "" || strings.ContainsFunc(trait, odd) || split && strings.Contains(trait, "..") {
		return ""
	}
	return "$.identity.traits['" + trait + "']"
}

func fixTraitPath(trait string, split bool) string {
	if path := traitPath(trait, split); path != "" {
		return "write " + path
	}
	return "use a trait whose name has letters, digits and underscores only"
}

func fixUnknownPath(path string, split bool) string {
	if trait, ok := strings.CutPrefix(path, "$.identity.traits."); ok { // as in $.identity.traits.user-id
		if fix := traitPath(trait, split); fix != "" {
			return "write " + fix
		}
	}
	return "write $.identity.identifier, $.identity.key, $.identity.traits.<name>, $.environment.name, $.environment.key, or the name of a trait"
}

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

// isPlainNumber reports whether every language reads s as the same number: digits, and perhaps a sign and a fraction.
func isPlainNumber(s string) bool {
	whole, fraction, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return isNumber(whole) && (!point || isNumber(fraction))
}

func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// plainDecimal is a number that is written as value and reads as f, plainly; of whole numbers all digits.
func plainDecimal(value string, f float64) string {
	if n, ok := castInt(value); ok {
		return string(appendPython(nil, n))
	}
	return plainNumber(f)
}

func (v *validator) checkContains(c Condition) {
	switch {
	case strings.HasSuffix(c.Value, semverSuffix):
		pattern := "^[^\\n]*" + regexp.QuoteMeta(c.Value)
		if c.Operator == Contains {
			v.diverges("CONTAINS %s: Node takes %s off the end, and looks for what is left", shown(c.Value), semverSuffix)("use REGEX %s", pattern)
			return
		}
		v.diverges("NOT_CONTAINS %s: where the trait is a number, or a text that reads like one, the server says no and SDKs yes", shown(c.Value))(
			"write an ALL rule of %s IS_SET that has a NONE rule of %s REGEX %s in it", c.Property, c.Property, pattern)
	case c.Operator == NotContains && c.Value != "" && !partOfNumber(c.Value):
		v.diverges("NOT_CONTAINS %s: where the trait is a number, or a text that reads like one, the server says no and SDKs yes", shown(c.Value))(
			"%s", v.fixNegation(c, Contains))
	case c.Value == "":
		v.refuse("%s with an empty value says nothing", c.Operator)("use IS_SET or IS_NOT_SET, or write what to look for")
	case !partOfNumber(c.Value) || c.Operator == Contains && v.guarded(v.leavesOutNumbers):
	case c.Operator == Contains && !strings.ContainsAny(c.Value, "0123456789"):
		v.diverges("CONTAINS %s: a text that reads like a number is one on the server, and has no parts; in SDKs it has", shown(c.Value))(
			"in an ALL rule put %s REGEX %s beside it, which leaves out numbers", c.Property, notNumber)
	case c.Operator == Contains:
		v.diverges("CONTAINS %s: a text that reads like a number is one on the server, and has no parts; in SDKs it has", shown(c.Value))(
			"use REGEX ^[^\\n]*%s", regexp.QuoteMeta(c.Value))
	default:
		v.diverges("NOT_CONTAINS %s: a text that reads like a number is one on the server, which is false; in SDKs it is looked into", shown(c.Value))(
			"write an ALL rule of %s IS_SET that has a NONE rule of %s REGEX ^[^\\n]*%s in it", c.Property, c.Property, regexp.QuoteMeta(c.Value))
	}
}

// partOfNumber reports whether s occurs in texts like "-12.50", which the server takes for numbers.
func partOfNumber(s string) bool {
	whole, fraction, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return strings.Trim(whole+fraction, "0123456789") == "" && !(point && whole == "" && s[0] == '-')
}

func (v *validator) checkModulo(c Condition) {
	m, ok := parseModulo(c.Value)
	divisor, remainder, _ := strings.Cut(c.Value, "|")
	switch {
	case !ok || !isPlainNumber(divisor) || !isPlainNumber(remainder):
		v.refuse("%s is not divisor|remainder", shown(c.Value))("write two numbers, such as 4|0 for every fourth")
	case m.divisor == 0:
		v.refuse("%s divides by zero", shown(c.Value))("write a positive divisor, such as 4|0 for every fourth")
	case m.divisor < 0:
		v.diverges("%s has a negative divisor: engines do not agree on the sign of the remainder", shown(c.Value))("write a positive divisor")
	case m.remainder < 0 || m.remainder >= m.divisor:
		v.refuse("%s can never hold: a remainder is at least 0 and less than the divisor", shown(c.Value))(
			"write a remainder from 0 to below %s", divisor)
	case m.remainder != 0 && !v.guarded(isNotNegative):
		v.diverges("MODULO %s: of negative numbers only the server takes the remainder with the sign of the divisor", shown(c.Value))(
			"in an ALL rule put %s GREATER_THAN_INCLUSIVE 0 beside it", c.Property)
	}
}

func (v *validator) checkIn(c Condition) {
	if strings.HasPrefix(strings.TrimSpace(c.Value), "[") {
		elements, ok := jsonList(c.Value)
		if !ok || c.Value[0] != '[' {
			v.refuse("%s begins like a JSON array and is none", shown(c.Value))(`write ["a","b"], or a,b`)
			return
		}
		for _, e := range elements {
			if _, ok := e.(string); !ok {
				v.diverges("the list has %v, which is no string: not all engines compare it by its text", e)(`write all elements as strings: ["1","2"]`)
				return
			}
		}
	}
	reported := map[string]bool{}
	for _, e := range ListOf(c.Value) {
		reason, fix := divergentElement(e)
		if reason != "" && !reported[reason] {
			reported[reason] = true // once for each reason, not for each of 100,000 elements
			v.diverges("the list has %s: %s", shown(e), reason)("%s", fix)
		}
	}
}

// divergentElement says why engines do not agree on whether a value is this element of a list; "" when they do.
func divergentElement(e string) (reason, fix string) {
	switch v := coerce(String(e)); {
	case e == "":
		return "Node never finds an empty text in a list", "remove it, or add EQUAL with an empty value beside it in an ANY rule"
	case e == "0":
		return "Node never finds the number 0 in a list", "remove it, and add EQUAL 0 beside it in an ANY rule"
	case e == "true" || e == "false":
		return "Go finds booleans in lists, the server and Node do not", "use EQUAL " + e
	case v.kind == KindFloat:
		fix = "use REGEX ^" + regexp.QuoteMeta(e) + "$ beside it in an ANY rule"
		if string(appendPython(nil, v)) != e { // 1.50 is matched as 1.5
			fix = "use texts that do not read like a fraction, such as v" + e
		}
		return "on the server a text that reads like a fraction is a number, and no fraction is found in a list; SDKs find the text", fix
	case (v.kind == KindInt || v.kind == kindBig) && string(appendPython(nil, v)) != e:
		return "on the server a text that reads like a number loses its leading zeros, and is not found; SDKs find it",
			"write " + string(appendPython(nil, v)) + ", and send identities' values without leading zeros"
	case isPrintedWithExponent(e):
		f, _ := castFloat(e)
		return "no number that is printed with an exponent is found in a list on the server; Node finds it", "remove it, and add EQUAL " + plainNumber(f) + " beside it in an ANY rule"
	}
	return "", ""
}

// isPrintedWithExponent reports whether JavaScript, and JSON with it, prints a number so.
func isPrintedWithExponent(s string) bool {
	f, ok := castFloat(s)
	if !ok || !strings.Contains(s, "e") || math.IsInf(f, 0) {
		return false
	}
	printed, err := json.Marshal(f)
	return err == nil && string(printed) == s
}

// objectMembers are what every object of JavaScript has, so that SDKs which keep things in one by name find them there.
var objectMembers = map[string]bool{
	"__defineGetter__": true, "__defineSetter__": true, "__lookupGetter__": true, "__lookupSetter__": true, "__proto__": true,
	"constructor": true, "hasOwnProperty": true, "isPrototypeOf": true, "propertyIsEnumerable": true, "toLocaleString": true,
	"toString": true, "valueOf": true,
}

// IsObjectMember reports whether SDKs on JavaScript mistake the name for something that is always there.
func IsObjectMember(name string) bool { return objectMembers[name] }
