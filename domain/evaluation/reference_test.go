package evaluation_test

import (
	"cmp"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"flagledger/domain/evaluation"
)

// reference says what rules mean a second time, as the description of the Python engine reads: one condition after the
// other, everything from its text, with numbers of any size. It shares no code with the package.
type reference struct {
	environmentKey, environmentName string
	segmentKey                      string
	id                              *evaluation.Identity
}

// errNoReference is for what the reference does not know: expressions in which Python and RE2 differ.
var errNoReference = errors.New("the reference does not know")

// segment reports whether the identity is in a segment of these rules.
func (r reference) segment(rules []evaluation.Rule) (bool, error) {
	holds := len(rules) > 0
	for _, rule := range rules {
		in, err := r.rule(rule)
		if err != nil {
			return false, err
		}
		holds = holds && in
	}
	return holds, nil
}

func (r reference) rule(rule evaluation.Rule) (bool, error) {
	conditions, rules := 0, 0 // that hold
	for _, c := range rule.Conditions {
		holds, err := r.condition(c)
		if err != nil {
			return false, err
		}
		if holds {
			conditions++
		}
	}
	for _, sub := range rule.Rules {
		holds, err := r.rule(sub)
		if err != nil {
			return false, err
		}
		if holds {
			rules++
		}
	}
	quantified := func(holding, of int) bool {
		switch {
		case of == 0:
			return true
		case rule.Type == evaluation.All:
			return holding == of
		case rule.Type == evaluation.Any:
			return holding > 0
		default:
			return holding == 0
		}
	}
	return quantified(conditions, len(rule.Conditions)) && quantified(rules, len(rule.Rules)), nil
}

func (r reference) condition(c evaluation.Condition) (bool, error) {
	x := r.lookUp(c.Property)
	if c.Operator == evaluation.PercentageSplit && c.Property == "" {
		x = r.key()
	}
	if x == nil {
		return c.Operator == evaluation.IsNotSet, nil
	}
	text, isText := x.(string)
	switch c.Operator {
	case evaluation.IsSet:
		return true, nil
	case evaluation.IsNotSet:
		return false, nil
	case evaluation.Contains:
		return isText && strings.Contains(text, c.Value), nil
	case evaluation.NotContains:
		return isText && !strings.Contains(text, c.Value), nil
	case evaluation.Regex:
		if strings.ContainsAny(c.Value, `\$[{(`) {
			return false, errNoReference
		}
		re, err := regexp.Compile(c.Value)
		if err != nil {
			return false, errNoReference
		}
		at := re.FindStringIndex(str(x)) // the leftmost: if one begins at 0, this one does
		return at != nil && at[0] == 0, nil
	case evaluation.Modulo:
		return modulo(x, c.Value), nil
	case evaluation.PercentageSplit:
		percent, ok := pythonFloat(c.Value)
		return ok && hashed(r.segmentKey, str(x)) <= percent, nil
	case evaluation.In:
		switch x.(type) {
		case bool, float64:
			return false, nil
		}
		for _, element := range list(c.Value) {
			if element == str(x) {
				return true, nil
			}
		}
		return false, nil
	}
	order, ok := compare(x, c.Value)
	if !ok {
		return false, nil
	}
	switch c.Operator {
	case evaluation.Equal:
		return order == 0, nil
	case evaluation.NotEqual:
		return order != 0, nil
	case evaluation.GreaterThan:
		return order == 1, nil
	case evaluation.GreaterThanInclusive:
		return order == 1 || order == 0, nil
	case evaluation.LessThan:
		return order == -1, nil
	default:
		return order == -1 || order == 0, nil
	}
}

// unordered is how a number compares with NaN.
const unordered = 2

// compare casts the rule's text to the type of x, and orders the two.
func compare(x any, text string) (order int, ok bool) {
	switch x := x.(type) {
	case bool:
		truth := map[bool]int{true: 1}
		return truth[x] - truth[text != "False" && text != "false"], true
	case *big.Int:
		y, ok := pythonInt(text)
		if !ok {
			return 0, false
		}
		return x.Cmp(y), true
	case float64:
		y, ok := pythonFloat(text)
		if math.IsNaN(x) || math.IsNaN(y) {
			return unordered, ok
		}
		return cmp.Compare(x, y), ok
	}
	if version, ok := strings.CutSuffix(text, ":semver"); ok {
		return compareVersions(x.(string), version)
	}
	return cmp.Compare(x.(string), text), true
}

// versionForm is the expression that semver.org suggests.
var versionForm = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
	`(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

func compareVersions(a, b string) (order int, ok bool) {
	x, y := versionForm.FindStringSubmatch(a), versionForm.FindStringSubmatch(b)
	if x == nil || y == nil {
		return 0, false
	}
	for i := 1; i <= 3; i++ {
		if order := compareIdentifiers(x[i], y[i]); order != 0 {
			return order, true
		}
	}
	switch {
	case x[4] == y[4]:
		return 0, true
	case x[4] == "":
		return 1, true
	case y[4] == "":
		return -1, true
	}
	p, q := strings.Split(x[4], "."), strings.Split(y[4], ".")
	for i := range min(len(p), len(q)) {
		if order := compareIdentifiers(p[i], q[i]); order != 0 {
			return order, true
		}
	}
	return cmp.Compare(len(p), len(q)), true
}

func compareIdentifiers(a, b string) int {
	x, isNumberA := new(big.Int).SetString(a, 10)
	y, isNumberB := new(big.Int).SetString(b, 10)
	isNumberA, isNumberB = isNumberA && a[0] != '-', isNumberB && b[0] != '-' // "-1" is a word
	switch {
	case isNumberA && isNumberB:
		return x.Cmp(y)
	case isNumberA:
		return -1
	case isNumberB:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

// modulo works with fractions of any precision.
func modulo(x any, text string) bool {
	left, right, _ := strings.Cut(text, "|")
	divisor, ok1 := pythonFloat(left)
	remainder, ok2 := pythonFloat(right)
	var number float64
	switch x := x.(type) {
	case bool:
		if x {
			number = 1
		}
	case *big.Int:
		number, _ = new(big.Float).SetPrec(53).SetInt(x).Float64()
	case float64:
		number = x
	default:
		return false
	}
	switch {
	case !ok1 || !ok2 || divisor == 0 || math.IsNaN(divisor) || math.IsNaN(remainder) || math.IsNaN(number) || math.IsInf(number, 0):
		return false
	case math.IsInf(divisor, 0):
		if number == 0 || (number < 0) == (divisor < 0) {
			return number == remainder
		}
		return divisor == remainder
	}
	n, d := new(big.Rat).SetFloat64(number), new(big.Rat).SetFloat64(divisor)
	quotient := new(big.Rat).Quo(n, d)
	whole := new(big.Int).Div(quotient.Num(), quotient.Denom()) // Euclid's, so that it is the floor
	rest := n.Sub(n, d.Mul(d, new(big.Rat).SetInt(whole)))
	got, _ := rest.Float64()
	return got == remainder
}

var (
	integerText  = regexp.MustCompile(`^-?[0-9]+$`)
	fractionText = regexp.MustCompile(`^-?[0-9]+\.[0-9]+$`)
	intForm      = regexp.MustCompile(`^[+-]?[0-9]+(?:_[0-9]+)*$`)
	floatForm    = regexp.MustCompile(strings.ReplaceAll(`^(?i)[+-]?(?:inf|infinity|nan|(?:D\.?(?:D)?|\.D)(?:e[+-]?D)?)$`, "D", "[0-9]+(?:_[0-9]+)*"))
)

// ascii writes the digits of every script as 0 to 9, without blanks around.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= unicode.MaxASCII || !unicode.Is(unicode.Nd, r) {
			return r
		}
		zero := r
		for zero > r-9 && unicode.Is(unicode.Nd, zero-1) {
			zero--
		}
		// Blocks of digits lie side by side in few places; there all begin at a multiple of ten from the first.
		for first := zero; unicode.Is(unicode.Nd, first-1); first-- {
			zero = first - 1
		}
		return '0' + (r-zero)%10
	}, strings.TrimSpace(s))
}

func pythonInt(s string) (*big.Int, bool) {
	s = ascii(s)
	if !intForm.MatchString(s) || len(s) > 4300 {
		return nil, false
	}
	return new(big.Int).SetString(strings.ReplaceAll(s, "_", ""), 10)
}

func pythonFloat(s string) (float64, bool) {
	s = ascii(s)
	if !floatForm.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// str is Python's, of the values that a looked-up property can be.
func str(x any) string {
	switch x := x.(type) {
	case bool:
		return strings.ToUpper(fmt.Sprint(x)[:1]) + fmt.Sprint(x)[1:]
	case float64:
		switch {
		case math.IsInf(x, 0):
			return strings.ToLower(strings.TrimPrefix(fmt.Sprint(x), "+"))
		case x != 0 && (math.Abs(x) < 1e-4 || math.Abs(x) >= 1e16):
			return strconv.FormatFloat(x, 'e', -1, 64)
		case x == math.Trunc(x):
			return strconv.FormatFloat(x, 'f', 1, 64)
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

// list are the elements of IN that some text can equal.
func list(value string) []string {
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	var elements []any
	if !strings.HasPrefix(value, "[") || decoder.Decode(&elements) != nil || decoder.Decode(new(any)) != io.EOF {
		return strings.Split(value, ",")
	}
	var texts []string
	for _, e := range elements {
		switch e := e.(type) {
		case nil:
			texts = append(texts, "None")
		case json.Number:
			if n, ok := pythonInt(string(e)); ok {
				texts = append(texts, n.String())
			} else if f, ok := pythonFloat(string(e)); ok {
				texts = append(texts, str(f))
			}
		case string, bool:
			texts = append(texts, str(e))
		}
	}
	return texts
}

// hashed is where a key is on the line from 0 to 100.
func hashed(salt, key string) float64 {
	for ids := salt + "," + key; ; ids += "," + salt + "," + key {
		sum := md5.Sum([]byte(ids))
		step := new(big.Int).SetBytes(sum[:])
		if at := float64(step.Mod(step, big.NewInt(9999)).Int64()) / 9998 * 100; at != 100 {
			return at
		}
	}
}

func (r reference) key() string {
	return cmp.Or(r.id.Key, r.environmentKey+"_"+r.id.Identifier)
}

// trait is nil for a trait that is not there.
func (r reference) trait(name string) (x any) {
	for _, t := range r.id.Traits {
		if t.Key == name {
			x = t.Value.Any()
		}
	}
	return x
}

// lookUp is nil, a bool, a *big.Int, a float64 or a string: a text that is wholly a number is that number.
func (r reference) lookUp(property string) any {
	if property == "" {
		return nil
	}
	x := r.trait(property)
	if x == nil && strings.HasPrefix(property, "$.") {
		switch names := pathNames(property); strings.Join(names, "\n") {
		case "identity\nidentifier":
			x = r.id.Identifier
		case "identity\nkey":
			x = r.key()
		case "environment\nkey":
			x = r.environmentKey
		case "environment\nname":
			x = r.environmentName
		default:
			if len(names) == 3 && names[0] == "identity" && names[1] == "traits" {
				x = r.trait(names[2])
			}
		}
	}
	switch v := x.(type) {
	case int64:
		return big.NewInt(v)
	case string:
		if fractionText.MatchString(v) {
			f, _ := strconv.ParseFloat(v, 64)
			return f
		}
		if integerText.MatchString(v) && len(v) <= 4300 {
			n, _ := new(big.Int).SetString(v, 10)
			return n
		}
	}
	return x
}

// The grammar of RFC 9535 for queries that consist of names.
var (
	pathName   = `[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_\x{80}-\x{10ffff}]*`
	pathHex    = `(?:[0-9A-CE-Fa-ce-f][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})`
	pathEscape = `\\(?:[bfnrt/\\]|u` + pathHex + `)`
	pathString = `"(?:[^"\\\x00-\x1f]|\\"|` + pathEscape + `)*"|'(?:[^'\\\x00-\x1f]|\\'|` + pathEscape + `)*'`
	pathPart   = `[ \t\r\n]*(?:\.(` + pathName + `)|\[[ \t\r\n]*(` + pathString + `)[ \t\r\n]*\])`

	wholePath   = regexp.MustCompile(`^\$(?:` + pathPart + `)+$`)
	nextPart    = regexp.MustCompile(`^` + pathPart)
	singleQuote = regexp.MustCompile(`\\.|"`)
)

// pathNames are the names that a path consists of; none for every other text.
func pathNames(path string) (names []string) {
	if !wholePath.MatchString(path) || !utf8.ValidString(path) {
		return nil
	}
	for rest := path[1:]; rest != ""; {
		part := nextPart.FindStringSubmatch(rest)
		name, quoted := part[1], part[2]
		if strings.HasPrefix(quoted, "'") { // to JSON
			quoted = `"` + singleQuote.ReplaceAllStringFunc(quoted[1:len(quoted)-1], func(s string) string {
				switch s {
				case `\'`:
					return `'`
				case `"`:
					return `\"`
				}
				return s
			}) + `"`
		}
		if quoted != "" {
			if err := json.Unmarshal([]byte(quoted), &name); err != nil {
				panic(err)
			}
		}
		names, rest = append(names, name), rest[len(part[0]):]
	}
	return names
}

// outcome is what a feature with one override, for a segment of the rules, is for the identity.
func (r reference) outcome(own evaluation.State, segment evaluation.Segment, override evaluation.State) (enabled bool, value evaluation.Value, reason, variant string, err error) {
	in, err := r.segment(segment.Rules)
	state, reason := own, "DEFAULT"
	if in {
		state, reason = override, "TARGETING_MATCH; segment="+segment.Name
	}
	if len(state.Variants) == 0 {
		return state.Enabled, state.Value, reason, "", err
	}
	at, from := hashed(state.Seed, r.key()), 0.0
	for _, v := range state.Variants { // in the order of their priorities
		if from <= at && at < from+v.Weight {
			return state.Enabled, v.Value, "SPLIT; weight=" + strconv.FormatFloat(v.Weight, 'f', -1, 64), v.Key, err
		}
		from += v.Weight
	}
	return state.Enabled, state.Value, reason, "control", err
}
