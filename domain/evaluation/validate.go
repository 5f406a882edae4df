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
