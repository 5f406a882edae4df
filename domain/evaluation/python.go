package evaluation

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// This file has the parts of Python that the meaning of a rule rests on: int(), float(), str(), % and the engine's own
// reading of texts that look like numbers.

// kindBig is an integer that does not fit into 64 bits: Python's have no limit, and numeric ids of 20 digits exist.
// It holds canonical decimal digits and only ever appears in looked-up and cast values, never in one that leaves.
const kindBig Kind = 255

// maxDigits is what Python 3.11 converts to an integer; more is an exception there, and no match here.
const maxDigits = 4300

// coerce turns a text that is wholly a number, "007" or "-1.50", into that number. Nothing else about a text counts:
// " 7", "+7" and "7e1" stay texts.
func coerce(v Value) Value {
	if v.kind != KindString {
		return v
	}
	digits, point := 0, false
	for i := range len(v.text) {
		switch c := v.text[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '-' && i == 0:
		case c == '.' && !point && digits > 0:
			point, digits = true, 0
		default:
			return v
		}
	}
	if digits == 0 {
		return v
	}
	if point {
		f, _ := strconv.ParseFloat(v.text, 64) // the syntax is right; out of range is an infinity, as in Python
		return Float(f)
	}
	if n, ok := castInt(v.text); ok {
		return n
	}
	return v
}

// castInt is int(s): blanks around, a sign, leading zeros, single underscores between digits and the digits of every
// script are allowed. The result is of KindInt or kindBig.
func castInt(s string) (Value, bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Int(i), true
	}
	s, ok := plainDigits(s)
	if !ok {
		return Value{}, false
	}
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if s == "" || len(s) > maxDigits || strings.Trim(s, "0123456789") != "" {
		return Value{}, false
	}
	s = strings.TrimLeft(s, "0")
	if s == "" {
		return Int(0), true
	}
	if negative {
		s = "-" + s
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Int(i), true
	}
	return Value{kind: kindBig, text: s}, true
}

// castFloat is float(s): as castInt, and a fraction, an exponent, "inf" and "nan". Too large is an infinity.
func castFloat(s string) (float64, bool) {
	s, ok := plainDigits(s)
	if !ok || strings.ContainsAny(s, "xXpP") { // Go reads hexadecimal, Python does not
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return f, true
}

// plainDigits brings a number that Python would read to ASCII: without blanks around it and underscores in it.
func plainDigits(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if strings.IndexFunc(s, func(r rune) bool { return r == '_' || r > unicode.MaxASCII }) < 0 {
		return s, true
	}
	var b strings.Builder
	previous := rune(0)
	for _, r := range s {
		d := digitOf(r)
		switch {
		case r == '_':
			if previous < '0' || previous > '9' {
				return "", false
			}
		case previous == '_' && d < 0:
			return "", false
		case d >= 0:
			r = rune('0' + d)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		previous = r
	}
	return b.String(), previous != '_'
}

// digitOf is the value of a decimal digit of any script, -1 for everything else. Unicode keeps the ten digits of a
// script together and in order.
func digitOf(r rune) int {
	if r <= unicode.MaxASCII {
		if '0' <= r && r <= '9' {
			return int(r - '0')
		}
		return -1
	}
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return int(r-rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return int(r-rune(t.Lo)) % 10
		}
	}
	return -1
}

// appendPython appends str(v). The caller has dealt with null.
func appendPython(dst []byte, v Value) []byte {
	switch v.kind {
	case KindBool:
		if v.num == 1 {
			return append(dst, "True"...)
		}
		return append(dst, "False"...)
	case KindInt:
		return strconv.AppendInt(dst, int64(v.num), 10)
	case KindFloat:
		return appendPythonFloat(dst, math.Float64frombits(v.num))
	default:
		return append(dst, v.text...)
	}
}

// appendPythonFloat appends repr(f): the shortest decimal that reads back as f, with ".0" where there is no fraction, and
// an exponent below 1e-4 and from 1e16.
func appendPythonFloat(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case abs != 0 && (abs < 1e-4 || abs >= 1e16):
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if slices.Contains(dst[start:], '.') {
		return dst
	}
	return append(dst, ".0"...)
}

// pythonMod is x % d for floats: the result has the sign of d. Division by zero is an exception, here no number.
func pythonMod(x, d float64) float64 {
	if d == 0 {
		return math.NaN()
	}
	m := math.Mod(x, d)
	if m != 0 && (m < 0) != (d < 0) {
		m += d
	}
	return m
}

// toFloat is a number as the left side of a float operation; True is 1. ok is false for what is no number and for
// integers beyond the floats, which are an exception.
func toFloat(v Value) (f float64, ok bool) {
	switch v.kind {
	case KindBool:
		return float64(v.num), true
	case KindInt:
		return float64(int64(v.num)), true
	case KindFloat:
		return math.Float64frombits(v.num), true
	case kindBig:
		f, err := strconv.ParseFloat(v.text, 64)
		return f, err == nil
	default:
		return 0, false
	}
}

// compareInts orders two integers of any size.
func compareInts(a, b Value) int {
	if a.kind == KindInt && b.kind == KindInt {
		switch x, y := int64(a.num), int64(b.num); {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	}
	sign := func(v Value) int { // what a big number is to every 64-bit one
		switch {
		case v.kind == KindInt:
			return 0
		case v.text[0] == '-':
			return -1
		default:
			return 1
		}
	}
	sa, sb := sign(a), sign(b)
	if sa != sb {
		return sa - sb
	}
	if len(a.text) != len(b.text) {
		return (len(a.text) - len(b.text)) * sa
	}
	return strings.Compare(a.text, b.text) * sa
}
