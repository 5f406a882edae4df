package httpapi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"flagledger/domain/evaluation"
)

// maxJSONDepth is how deeply the values of a body may be nested.
const maxJSONDepth = 100

// A jsonReader reads a JSON text front to back and builds nothing of it: what
// it returns are pieces of the text. Bodies of SDKs come by the thousand and
// are almost all alike, so that building a tree first would cost more than the
// evaluation does.
//
//	for r.enter('{'); r.next('}'); {
//		switch r.key() {
//		case "identifier":
//			identifier = r.text()
//		default:
//			r.skip()
//		}
//	}
//	r.end()
//
// For every key and every element exactly one value must be read. The first
// error ends the reading: from then on containers are at their end and values
// are empty, and r.err is looked at once. Its words and those of what does not
// fit are those of Python's json module, as everywhere in this API.
type jsonReader struct {
	source string // valid UTF-8
	at     int
	depth  int
	first  bool // nothing was read yet of the container entered last
	err    error
}

func newJSONReader(source string) jsonReader {
	r := jsonReader{source: source}
	if !utf8.ValidString(source) {
		r.err = fmt.Errorf("'utf-8' codec can't decode the body")
	}
	return r
}

func (r *jsonReader) fail(at int, what string) {
	if r.err != nil {
		return
	}
	before := r.source[:at]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	r.err = fmt.Errorf("%s: line %d column %d (char %d)", what, line, column, utf8.RuneCountInString(before))
}

// peek returns the first byte of what comes next, 0 at the end.
func (r *jsonReader) peek() byte {
	for ; r.at < len(r.source); r.at++ {
		switch c := r.source[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// The kinds of value, as kind tells them apart.
const (
	jsonObject  = '{'
	jsonArray   = '['
	jsonString  = '"'
	jsonNumber  = '0'
	jsonTrue    = 't'
	jsonFalse   = 'f'
	jsonNull    = 'n'
	jsonNothing = 0 // neither; reading it is an error
)

// kind says what value comes next.
func (r *jsonReader) kind() byte {
	if r.err != nil {
		return jsonNothing
	}
	switch c := r.peek(); c {
	case jsonObject, jsonArray, jsonString, jsonTrue, jsonFalse, jsonNull:
		return c
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return jsonNumber
	default:
		return jsonNothing
	}
}

// enter goes into the object or array that kind announced.
func (r *jsonReader) enter(open byte) {
	if r.kind() != open {
		r.fail(r.at, "Expecting value")
		return
	}
	if r.depth++; r.depth > maxJSONDepth {
		r.fail(r.at, "Nested too deeply")
		return
	}
	r.at++
	r.first = true
}

// next tells whether there is another key or element before the closing
// bracket, and goes behind the bracket when there is none.
func (r *jsonReader) next(closing byte) bool {
	if r.err != nil {
		return false
	}
	first := r.first
	r.first = false
	switch c := r.peek(); {
	case c == closing:
		r.at++
		r.depth--
		return false
	case first:
		return true
	case c != ',':
		r.fail(r.at, "Expecting ',' delimiter")
		return false
	}
	r.at++
	if r.peek() == closing {
		r.fail(r.at, "Illegal trailing comma before end of container")
	}
	return r.err == nil
}

// key reads the name of a member, up to its value.
func (r *jsonReader) key() string {
	if r.peek() != jsonString {
		r.fail(r.at, "Expecting property name enclosed in double quotes")
		return ""
	}
	name := r.text()
	if r.peek() != ':' {
		r.fail(r.at, "Expecting ':' delimiter")
		return ""
	}
	r.at++
	return name
}

// text reads a string.
func (r *jsonReader) text() string {
	if r.kind() != jsonString {
		r.fail(r.at, "Expecting value")
		return ""
	}
	start, escaped := r.at, false
	for r.at++; r.at < len(r.source); r.at++ {
		switch c := r.source[r.at]; {
		case c == '"':
			r.at++
			if escaped {
				return r.unescape(start)
			}
			return r.source[start+1 : r.at-1]
		case c == '\\':
			escaped = true
			r.at++
		case c < ' ':
			r.fail(r.at, "Invalid control character at")
			return ""
		}
	}
	r.at = len(r.source)
	r.fail(start, "Unterminated string starting at")
	return ""
}

func (r *jsonReader) unescape(start int) string {
	var s string
	if err := json.Unmarshal([]byte(r.source[start:r.at]), &s); err != nil {
		r.fail(start, `Invalid \escape in string starting at`)
	}
	return s
}

// number reads a number as it is written; whole tells whether it has neither
// fraction nor exponent.
func (r *jsonReader) number() (digits string, whole bool) {
	if r.kind() != jsonNumber {
		r.fail(r.at, "Expecting value")
		return "", false
	}
	start := r.at
	r.take("-")
	if !r.take("0") && !r.takeDigits() {
		r.fail(start, "Expecting value")
		return "", false
	}
	end := r.at
	if r.take(".") && r.takeDigits() {
		end = r.at
	}
	r.at = end
	if r.take("eE") {
		r.take("+-")
		if r.takeDigits() {
			end = r.at
		}
	}
	whole = !strings.ContainsAny(r.source[start:end], ".eE")
	r.at = end // what follows is not part of the number, and will be found out of place
	return r.source[start:end], whole
}

// take goes behind the next byte if it is one of those given.
func (r *jsonReader) take(of string) bool {
	if r.at < len(r.source) && strings.IndexByte(of, r.source[r.at]) >= 0 {
		r.at++
		return true
	}
	return false
}

func (r *jsonReader) takeDigits() bool {
	start := r.at
	for r.take("0123456789") {
	}
	return r.at > start
}

// word reads true, false or null.
func (r *jsonReader) word(word string) {
	if !strings.HasPrefix(r.source[r.at:], word) {
		r.fail(r.at, "Expecting value")
		return
	}
	r.at += len(word)
}

// scalar reads a string, number, boolean or null. An integer of more than 64
// bits becomes a string, which rules compare as the number that it is.
func (r *jsonReader) scalar() evaluation.Value {
	switch r.kind() {
	case jsonString:
		return evaluation.String(r.text())
	case jsonNumber:
		start := r.at
		digits, whole := r.number()
		if whole {
			if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
				return evaluation.Int(n)
			}
			return evaluation.String(digits)
		}
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil && r.err == nil {
			r.fail(start, "Out of range float value")
		}
		return evaluation.Float(f)
	case jsonTrue:
		r.word("true")
		return evaluation.Bool(true)
	case jsonFalse:
		r.word("false")
		return evaluation.Bool(false)
	case jsonNull:
		r.word("null")
	default:
		r.fail(r.at, "Expecting value")
	}
	return evaluation.Null()
}

// skip reads a value of any kind and forgets it.
func (r *jsonReader) skip() {
	switch r.kind() {
	case jsonObject:
		for r.enter('{'); r.next('}'); {
			r.key()
			r.skip()
		}
	case jsonArray:
		for r.enter('['); r.next(']'); {
			r.skip()
		}
	case jsonNumber:
		r.number()
	default:
		r.scalar()
	}
}

// end expects that nothing follows.
func (r *jsonReader) end() {
	if r.peek(); r.at < len(r.source) {
		r.fail(r.at, "Extra data")
	}
}

// pythonType is what Python calls the type of a value, for error texts.
func (r *jsonReader) pythonType() string {
	switch r.kind() {
	case jsonObject:
		return "dict"
	case jsonArray:
		return "list"
	case jsonString:
		return "str"
	case jsonNumber:
		at := *r // a copy looks ahead
		if _, whole := at.number(); !whole {
			return "float"
		}
		return "int"
	case jsonTrue, jsonFalse:
		return "bool"
	default:
		return "NoneType"
	}
}

// appendPython reads a value of any kind and writes it as Python's repr would:
// Flagsmith turns the lists and objects in traits into such texts.
func (r *jsonReader) appendPython(b []byte) []byte {
	switch r.kind() {
	case jsonObject:
		b = append(b, '{')
		for r.enter('{'); r.next('}'); {
			b = append(appendPythonString(separate(b, '{'), r.key()), ": "...)
			b = r.appendPython(b)
		}
		return append(b, '}')
	case jsonArray:
		b = append(b, '[')
		for r.enter('['); r.next(']'); {
			b = r.appendPython(separate(b, '['))
		}
		return append(b, ']')
	case jsonString:
		return appendPythonString(b, r.text())
	default:
		return append(b, pythonText(r.scalar())...)
	}
}

// separate puts a comma between the members of a container, whose first byte
// stands alone only before the first of them.
func separate(b []byte, open byte) []byte {
	if b[len(b)-1] == open {
		return b
	}
	return append(b, ", "...)
}

// appendPythonString is repr of a str: in single quotes, unless the text has
// such and no double ones.
func appendPythonString(b []byte, s string) []byte {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b = append(b, byte(quote))
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case unicode.IsPrint(c):
			b = utf8.AppendRune(b, c)
		case c < 0x100:
			b = fmt.Appendf(b, `\x%02x`, c)
		case c < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = fmt.Appendf(b, `\U%08x`, c)
		}
	}
	return append(b, byte(quote))
}

// pythonText is str of a scalar.
func pythonText(v evaluation.Value) string {
	switch v.Kind() {
	case evaluation.KindNull:
		return "None"
	case evaluation.KindBool:
		if b, _ := v.AsBool(); b {
			return "True"
		}
		return "False"
	default:
		return v.String()
	}
}
