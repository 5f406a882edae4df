package evaluation

import (
	"fmt"
	"iter"
	"regexp"
	"strings"
	"unicode/utf8"
)

// regex is REGEX: Python's re.match, which is anchored at the start and not at the end. Numbers and booleans are matched
// as Python prints them.
type regex struct{ re *regexp.Regexp }

func compileRegex(pattern string) (predicate, error) {
	re, err := regexp.Compile(`\A(?:` + translateRegex(pattern) + `)`)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	return regex{re}, nil
}

func (r regex) holds(v *operand, ev *evaluator) bool {
	if v.kind == KindString {
		return r.re.MatchString(v.text)
	}
	ev.text = appendPython(ev.text[:0], v.Value)
	return r.re.Match(ev.text)
}

// What Python's classes hold, as RE2 writes it inside brackets.
const (
	digitClass = `\p{Nd}`
	wordClass  = `\p{L}\p{N}_`
	spaceClass = `\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`
)

// translateRegex writes a Python regular expression for RE2: its classes are Unicode's, $ also stands before a line
// feed at the end, and a repetition may leave out its lower bound. What RE2 does not have stays, and does not compile.
func translateRegex(pattern string) string {
	var b strings.Builder
	for t := range regexTokens(pattern) {
		switch {
		case t.text == `\d` && t.inClass:
			b.WriteString(digitClass)
		case t.text == `\d`:
			b.WriteString("[" + digitClass + "]")
		case t.text == `\D`:
			b.WriteString(`\P{Nd}`)
		case t.text == `\w` && t.inClass:
			b.WriteString(wordClass)
		case t.text == `\w`:
			b.WriteString("[" + wordClass + "]")
		case t.text == `\W` && !t.inClass:
			b.WriteString("[^" + wordClass + "]")
		case t.text == `\s` && t.inClass:
			b.WriteString(spaceClass)
		case t.text == `\s`:
			b.WriteString("[" + spaceClass + "]")
		case t.text == `\S` && !t.inClass:
			b.WriteString("[^" + spaceClass + "]")
		case t.text == `\Z`:
			b.WriteString(`\z`)
		case t.text == "$" && !t.inClass:
			b.WriteString(`(?:\n?\z)`)
		case strings.HasPrefix(t.text, "{,"):
			b.WriteString("{0" + t.text[1:])
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

// regexToken is a part of a regular expression that has a meaning of its own: an escape, the opening of a character
// class with all that is special there, the opening of a group, a counted repetition, or else one character.
type regexToken struct {
	text    string
	inClass bool
}

var (
	countedRepetition = regexp.MustCompile(`^\{(\d+|\d*,\d*)\}`)
	groupOpening      = regexp.MustCompile(`^\((\?P?.?)?`)
	classOpening      = regexp.MustCompile(`^\[\^?\]?`)
)

func regexTokens(pattern string) iter.Seq[regexToken] {
	return func(yield func(regexToken) bool) {
		inClass := false
		for rest := pattern; rest != ""; {
			_, size := utf8.DecodeRuneInString(rest)
			opensClass := false
			switch c := rest[0]; {
			case c == '\\' && len(rest) > 1:
				_, next := utf8.DecodeRuneInString(rest[1:])
				size += next
			case inClass:
			case c == '[':
				size, opensClass = len(classOpening.FindString(rest)), true
			case c == '(':
				size = len(groupOpening.FindString(rest))
			case c == '{':
				size = max(size, len(countedRepetition.FindString(rest)))
			}
			t := regexToken{text: rest[:size], inClass: inClass}
			if !yield(t) {
				return
			}
			inClass = opensClass || inClass && t.text != "]"
			rest = rest[size:]
		}
	}
}
