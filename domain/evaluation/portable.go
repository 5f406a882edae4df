package evaluation

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

func (v *validator) checkRegex(c Condition) {
	parsed, err := syntax.Parse(c.Value, syntax.Perl)
	if err == nil {
		_, err = compileRegex(c.Value)
	}
	if err != nil {
		v.refuse("regular expression %s: %v", shown(c.Value), err)(
			"write it in what Python, JavaScript and RE2 have in common: no look-around, no back-references, at most 1000 repetitions")
		return
	}
	if construct, fix := foreignRegex(c.Value); construct != "" {
		if whole := portableRegex(c.Value); whole != "" {
			fix = "write " + whole
		}
		v.diverges("regular expression %s: engines do not agree on %s", shown(c.Value), construct)("%s", fix)
		return
	}
	if !anchored(parsed) {
		v.diverges("regular expression %s: the server looks for it at the beginning of the text, other engines anywhere", shown(c.Value))(
			"begin every alternative with ^, as in ^(?:%s), or with ^[^\\n]* to find it anywhere", c.Value)
		return
	}
	if mayReadLikeNumber(c.Property) && v.tellsSpellings(c) {
		v.diverges("REGEX %s: on the server %s such as 007 or 1.50 is the number 7 or 1.5; SDKs look at the text, and the expression tells them apart", shown(c.Value), c.Property)(
			"allow zeros at the beginning (^0*) and at the end of a fraction, or in an ALL rule put %s REGEX %s beside it, which leaves out numbers", c.Property, notNumber)
	}
}

// tellsSpellings reports whether an expression matches one spelling of a number and not another, where what stands beside
// it does not keep numbers out.
func (v *validator) tellsSpellings(c Condition) bool {
	return v.readNumbers(c.Value).spelling && !v.guarded(v.leavesOutNumbers)
}

// portableForms are what to write for what engines read differently, outside and inside of a class; what is missing
// inside has no short form there.
var portableForms = map[string][2]string{
	".": {`[^\n]`, "."}, `\d`: {"[0-9]", "0-9"}, `\D`: {"[^0-9]"}, `\w`: {"[A-Za-z0-9_]", "A-Za-z0-9_"}, `\W`: {"[^A-Za-z0-9_]"},
	`\s`: {`[ \t-\r]`, ` \t-\r`}, `\S`: {`[^ \t-\r]`}, `\A`: {"^"}, `\z`: {"$"}, "[]": {`[\]`}, "[^]": {`[^\]`},
}

// portableRegex rewrites an expression so that all engines read it alike; "" when that takes a person.
func portableRegex(pattern string) string {
	var b strings.Builder
	afterClass := false // in a class, behind one that has been spelled out
	for t := range regexTokens(pattern) {
		form, ok := portableForms[t.text]
		switch {
		case t.inClass && t.text == "-" && afterClass:
			b.WriteString(`\-`)
		case ok && t.inClass && form[1] == "":
			return ""
		case ok && t.inClass:
			b.WriteString(form[1])
		case ok:
			b.WriteString(form[0])
		case !t.inClass && strings.HasPrefix(t.text, "{,"):
			b.WriteString("{0" + t.text[1:])
		default:
			b.WriteString(t.text)
		}
		afterClass = ok && t.inClass
	}
	whole := b.String()
	if parsed, err := syntax.Parse(whole, syntax.Perl); err == nil && !anchored(parsed) {
		whole = "^(?:" + whole + ")"
	}
	if construct, _ := foreignRegex(whole); construct != "" {
		return ""
	}
	if _, err := compileRegex(whole); err != nil {
		return ""
	}
	return whole
}

// anchored reports whether an expression can only match at the beginning of the text.
func anchored(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginText:
		return true
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		return anchored(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && anchored(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !anchored(sub) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// foreignRegex finds the first construct that one of Python, JavaScript and RE2 does not have, or reads differently from
// the others, in an expression that RE2 compiles. SDKs run it as they find it, without the server's translation.
func foreignRegex(pattern string) (construct, fix string) {
	var before regexToken
	for t := range regexTokens(pattern) {
		switch {
		case t.text == "." && !t.inClass:
			return "the dot: in JavaScript it also stops at \\r, U+2028 and U+2029", `write [^\n]`
		case t.text == `\b` || t.text == `\B`:
			return t.text + ", which goes by the letters of all scripts in Python and by those of ASCII elsewhere",
				"write what may stand there, such as (?:[^A-Za-z0-9_]|$)"
		case len(t.text) == 2 && t.text[0] == '\\' && strings.IndexByte("dDwWsS", t.text[1]) >= 0:
			return t.text + ", which holds the characters of all scripts in Python and fewer elsewhere",
				`write [0-9] for digits, [A-Za-z0-9_] for words, [ \t-\r] for blanks, or the same with [^ for others`
		case t.text[0] == '\\' && !portableEscape(t.text[1]):
			return "the escape " + t.text, `spell it out; \t \n \r \f \v \x41 and escaped punctuation are common to all`
		case before.text == `\x` && t.text[0] == '{':
			return `the escape \x{`, `write \x41 with two digits, or the character itself`
		case strings.HasPrefix(t.text, "(?") && t.text != "(?:":
			return "the group " + t.text, "use ( or (?: and write both cases, [Aa], instead of (?i)"
		case t.text == "[]" || t.text == "[^]":
			return "a class that begins with ]", `write \] in it`
		case t.inClass && t.text == ":" && before.inClass && before.text == "[":
			return "[: in a class", `write \[ for a bracket, and a-z instead of a named class`
		case t.inClass && isAstral(t.text):
			return "a class with " + t.text + ", which JavaScript takes for two characters", "use an alternative: (?:" + t.text + "|...)"
		case t.inClass || !isRepetition(t.text):
		case strings.HasPrefix(t.text, "{,"):
			return "the repetition " + t.text, "write {0" + t.text[1:]
		case before.text == "^" || before.text == "$":
			return "a repetition of " + before.text, "repeat something that has a length"
		case isAstral(before.text):
			return "a repetition of " + before.text + ", which JavaScript takes for two characters", "put it into a group: (?:" + before.text + ")" + t.text
		}
		before = t
	}
	return "", ""
}

// portableEscape reports whether a backslash before c means the same to all.
func portableEscape(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		return strings.IndexByte("tnrfvx", c) >= 0
	default:
		return c < utf8.RuneSelf && (c < '0' || c > '9')
	}
}

func isRepetition(token string) bool {
	return token == "*" || token == "+" || token == "?" || token[0] == '{' && len(token) > 1
}

func isAstral(token string) bool {
	r, _ := utf8.DecodeRuneInString(token)
	return r > 0xffff
}
