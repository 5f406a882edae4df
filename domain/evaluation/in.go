package evaluation

import (
	"encoding/json"
	"io"
	"strings"
)

// in is IN: the value's text is one of a set, however large. Booleans and fractions never are, nor are texts that read
// like a fraction; a text that reads like an integer is looked up as that integer.
type in map[string]struct{}

func compileIn(value string) predicate {
	elements := ListOf(value)
	set := make(in, len(elements))
	for _, e := range elements {
		set[e] = struct{}{}
	}
	return set
}

func (set in) holds(v *operand, ev *evaluator) bool {
	switch v.kind {
	case KindInt:
		ev.text = appendPython(ev.text[:0], v.Value)
		_, ok := set[string(ev.text)]
		return ok
	case KindString, kindBig:
		_, ok := set[v.text]
		return ok
	default:
		return false
	}
}

// ListOf are the elements of an IN condition's value, as the server reads it: those of a JSON array, or else the texts
// between commas, blanks and all.
func ListOf(value string) []string {
	if strings.HasPrefix(value, "[") {
		if elements, ok := jsonList(value); ok {
			texts := make([]string, 0, len(elements))
			for _, e := range elements {
				if text, ok := elementText(e); ok {
					texts = append(texts, text)
				}
			}
			return texts
		}
	}
	return strings.Split(value, ",")
}

// jsonList decodes an array; numbers stay as they are written.
func jsonList(value string) (elements []any, ok bool) {
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&elements); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return elements, err == io.EOF
}

// elementText is Python's str() of a JSON value. Arrays and objects inside a list equal no value and are left out.
func elementText(e any) (text string, ok bool) {
	var v Value
	switch e := e.(type) {
	case nil:
		return "None", true
	case string:
		return e, true
	case bool:
		v = Bool(e)
	case json.Number:
		if i, ok := castInt(e.String()); ok {
			v = i
		} else if f, ok := castFloat(e.String()); ok {
			v = Float(f)
		}
	}
	return string(appendPython(nil, v)), v.kind != KindNull
}
