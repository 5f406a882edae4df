package evaluation

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// source says where the value of a property is found, when it is not a trait of that name.
type source uint8

const (
	fromTrait       source = iota // nowhere else
	fromNamedTrait                // the trait that the path names
	fromIdentifier                // identity.identifier
	fromIdentityKey               // identity.key
	fromEnvironmentKey
	fromEnvironmentName
	fromNothing  // a blank property: there is no value
	fromSplitKey // a blank property in a % split: identity.key as it is
)

// property is what a condition looks at: a trait, or a JSONPath into
//
//	{"environment": {"key", "name"}, "identity": {"identifier", "key", "traits": {...}}}
//
// A trait whose name is the text of the path goes before what the path selects.
type property struct {
	name   string // as written
	source source
	trait  string // for fromNamedTrait
}

// parseProperty finds out where a property's value comes from. A path that selects no scalar, or more than one place,
// is left with the trait of that name: see docs/adr/0005-jsonpath.md.
func parseProperty(name string) property {
	p := property{name: name}
	if name == "" {
		p.source = fromNothing
		return p
	}
	if !strings.HasPrefix(name, "$.") {
		return p
	}
	segments, ok := parsePath(name)
	if !ok {
		return p
	}
	switch {
	case len(segments) == 3 && segments[0] == "identity" && segments[1] == "traits":
		p.source, p.trait = fromNamedTrait, segments[2]
	case len(segments) != 2:
	case segments[0] == "identity" && segments[1] == "identifier":
		p.source = fromIdentifier
	case segments[0] == "identity" && segments[1] == "key":
		p.source = fromIdentityKey
	case segments[0] == "environment" && segments[1] == "key":
		p.source = fromEnvironmentKey
	case segments[0] == "environment" && segments[1] == "name":
		p.source = fromEnvironmentName
	}
	return p
}

// parsePath reads a singular query of RFC 9535 that consists of names: $.a.b['c']["d"]. It returns the names, and false
// for every other text.
func parsePath(path string) (names []string, ok bool) {
	rest, ok := strings.CutPrefix(path, "$")
	for ok && rest != "" {
		var name string
		rest = strings.TrimLeft(rest, " \t\n\r")
		switch {
		case strings.HasPrefix(rest, "."):
			name, rest, ok = shorthand(rest[1:])
		case strings.HasPrefix(rest, "["):
			name, rest, ok = bracketed(rest[1:])
		default:
			ok = false
		}
		names = append(names, name)
	}
	return names, ok
}

// shorthand reads a name as it follows a dot: letters, digits, underscores and everything beyond ASCII, no digit first.
func shorthand(s string) (name, rest string, ok bool) {
	end := 0
	for end < len(s) {
		c := s[end]
		if c != '_' && c < utf8.RuneSelf && (c|0x20 < 'a' || c|0x20 > 'z') && (end == 0 || c < '0' || c > '9') {
			break
		}
		end++
	}
	return s[:end], s[end:], end > 0 && utf8.ValidString(s[:end])
}

// bracketed reads a quoted name and the bracket behind it.
func bracketed(s string) (name, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\r")
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", "", false
	}
	quote := s[0]
	var b strings.Builder
	for s = s[1:]; ; {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size <= 1, r < 0x20:
			return "", "", false // the end of the text, or what a string may not hold
		case s[0] == quote:
			rest, ok = strings.CutPrefix(strings.TrimLeft(s[1:], " \t\n\r"), "]")
			return b.String(), rest, ok
		case r == '\\':
			if r, size, ok = escaped(s, quote); !ok {
				return "", "", false
			}
		}
		b.WriteRune(r)
		s = s[size:]
	}
}

// escaped reads an escape sequence and says how long it is.
func escaped(s string, quote byte) (r rune, size int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	switch c := s[1]; c {
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case '/', '\\', quote:
		return rune(c), 2, true
	case 'u':
		high, ok := hex4(s[2:])
		if !ok || !utf16.IsSurrogate(high) {
			return high, 6, ok
		}
		if !strings.HasPrefix(s[6:], `\u`) {
			return 0, 0, false
		}
		low, ok := hex4(s[8:])
		r := utf16.DecodeRune(high, low)
		return r, 12, ok && r != utf8.RuneError
	}
	return 0, 0, false
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 || strings.Trim(s[:4], "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}
