package evaluation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says which JSON scalar a Value is.
type Kind uint8

// The kinds of a Value. JSON has one number type; here an integer (no fraction, no exponent) and a float stay apart,
// because the rules do: 1 and 1.0 are cast differently.
const (
	KindNull Kind = iota
	KindBool
	KindInt
	KindFloat
	KindString
)

// Value is a JSON scalar: what a trait holds and what a flag answers. It is comparable with ==; the zero value is null.
type Value struct {
	kind Kind
	num  uint64 // the bool (0 or 1), the int64, or the bits of the float64
	text string
}

// Null is the JSON null, the zero Value.
func Null() Value { return Value{} }

// Bool is the JSON true or false.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Int is a JSON number without fraction or exponent.
func Int(i int64) Value { return Value{kind: KindInt, num: uint64(i)} }

// Float is a JSON number with a fraction or an exponent. JSON has no NaN and no infinities: they marshal with an error.
func Float(f float64) Value { return Value{kind: KindFloat, num: math.Float64bits(f)} }

// String is a JSON string.
func String(s string) Value { return Value{kind: KindString, text: s} }

// Kind says which scalar v is.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// AsBool returns the boolean; ok is false for every other kind.
func (v Value) AsBool() (b, ok bool) { return v.num == 1, v.kind == KindBool }

// AsInt returns the integer; ok is false for every other kind.
func (v Value) AsInt() (i int64, ok bool) { return int64(v.num), v.kind == KindInt }

// AsFloat returns the float; ok is false for every other kind, integers too.
func (v Value) AsFloat() (f float64, ok bool) {
	if v.kind != KindFloat {
		return 0, false
	}
	return math.Float64frombits(v.num), true
}

// AsString returns the string; ok is false for every other kind.
func (v Value) AsString() (s string, ok bool) { return v.text, v.kind == KindString }

// Any returns v as nil, bool, int64, float64 or string.
func (v Value) Any() any {
	switch v.kind {
	case KindBool:
		return v.num == 1
	case KindInt:
		return int64(v.num)
	case KindFloat:
		return math.Float64frombits(v.num)
	case KindString:
		return v.text
	default:
		return nil
	}
}

// String is v as people read it: a string bare, everything else as its JSON.
func (v Value) String() string {
	if v.kind == KindString {
		return v.text
	}
	return string(v.AppendJSON(nil))
}

// ParseValue takes what encoding/json decodes a scalar to, and Go's integers. A float64 stays a float, also 5.0: decode
// with UseNumber, or into a Value, to keep integers apart. Objects, arrays, NaN, infinities and integers outside 64 bits
// are errors.
func ParseValue(x any) (Value, error) {
	switch x := x.(type) {
	case nil:
		return Value{}, nil
	case Value:
		return x, nil
	case bool:
		return Bool(x), nil
	case string:
		return String(x), nil
	case json.Number:
		var v Value
		err := v.UnmarshalJSON([]byte(x))
		return v, err
	case int:
		return Int(int64(x)), nil
	case int32:
		return Int(int64(x)), nil
	case int64:
		return Int(x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return Value{}, fmt.Errorf("value %v: JSON has no such number", x)
		}
		return Float(x), nil
	default:
		return Value{}, fmt.Errorf("value of type %T: want a string, number, boolean or null", x)
	}
}

// AppendJSON appends v's JSON to dst.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(dst, v.num == 1)
	case KindInt:
		return strconv.AppendInt(dst, int64(v.num), 10)
	case KindFloat:
		return appendFloat(dst, math.Float64frombits(v.num))
	case KindString:
		return appendString(dst, v.text)
	default:
		return append(dst, "null"...)
	}
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	if f, ok := v.AsFloat(); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, fmt.Errorf("value %v: JSON has no such number", f)
	}
	return v.AppendJSON(nil), nil
}

// UnmarshalJSON implements json.Unmarshaler. It takes scalars only; a number without fraction and exponent becomes an
// integer and must fit into 64 bits. On an error v is as it was.
func (v *Value) UnmarshalJSON(data []byte) error {
	if !json.Valid(data) {
		return fmt.Errorf("value %.40q: not JSON", data)
	}
	data = bytes.TrimSpace(data)
	switch data[0] {
	case 'n':
		*v = Value{}
	case 't', 'f':
		*v = Bool(data[0] == 't')
	case '{', '[':
		return errors.New("value: want a string, number, boolean or null, not an object or array")
	case '"':
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("value: %w", err)
		}
		*v = String(s)
	default:
		n, err := parseNumber(string(data))
		if err != nil {
			return err
		}
		*v = n
	}
	return nil
}

// parseNumber reads a JSON number.
func parseNumber(s string) (Value, error) {
	if !strings.ContainsAny(s, ".eE") {
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("value %.40s: not an integer of 64 bits", s)
		}
		return Int(i), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Value{}, fmt.Errorf("value %.40s: not a number of 64 bits", s)
	}
	return Float(f), nil
}

// appendFloat writes the shortest decimal that reads back as f, always with a fraction or an exponent, so that a
// float stays a float on the way through JSON.
func appendFloat(dst []byte, f float64) []byte {
	start := len(dst)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e16) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	for _, c := range dst[start:] {
		if c == '.' || c == 'e' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendString writes s as JSON. Most texts need no escaping.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			_ = e.Encode(s) // a string always encodes, and a buffer takes all
			return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
