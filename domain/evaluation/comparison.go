package evaluation

import (
	"cmp"
	"strings"
)

// comparison is EQUAL, NOT_EQUAL and the four orders. The text of the rule has been cast to every type that a value can
// have; a cast that failed leaves comparisons with that type false, NOT_EQUAL too.
type comparison struct {
	want want

	text    string
	boolean bool
	integer Value
	float   float64

	isInteger, isFloat bool
}

// want is the set of outcomes of a three-way comparison for which an operator holds.
type want uint8

const (
	wantLess want = 1 << iota
	wantSame
	wantMore
	wantUnordered // NaN
)

var wants = map[Operator]want{
	Equal:                wantSame,
	NotEqual:             wantLess | wantMore | wantUnordered,
	GreaterThan:          wantMore,
	GreaterThanInclusive: wantMore | wantSame,
	LessThan:             wantLess,
	LessThanInclusive:    wantLess | wantSame,
}

// has reports whether the operator holds for an outcome of cmp.Compare.
func (w want) has(order int) bool {
	switch {
	case order < 0:
		return w&wantLess != 0
	case order > 0:
		return w&wantMore != 0
	default:
		return w&wantSame != 0
	}
}

func compileComparison(op Operator, value string) predicate {
	c := &comparison{want: wants[op], text: value, boolean: value != "False" && value != "false"}
	c.integer, c.isInteger = castInt(value)
	c.float, c.isFloat = castFloat(value)
	if version, ok := strings.CutSuffix(value, semverSuffix); ok {
		return compileVersionComparison(c, version)
	}
	return c
}

func (c *comparison) holds(v *operand, _ *evaluator) bool {
	switch v.kind {
	case KindString:
		return c.want.has(strings.Compare(v.text, c.text))
	case KindInt, kindBig:
		return c.isInteger && c.want.has(compareInts(v.Value, c.integer))
	case KindFloat:
		f, _ := v.AsFloat()
		if f != f || c.float != c.float {
			return c.isFloat && c.want&wantUnordered != 0
		}
		return c.isFloat && c.want.has(cmp.Compare(f, c.float))
	case KindBool:
		b := 0
		if c.boolean {
			b = 1
		}
		return c.want.has(cmp.Compare(int(v.num), b)) // False < True
	default:
		return false
	}
}
