package evaluation

import "strings"

// contains is CONTAINS: a text has another in it. A number has none, nor has a text that reads like a number.
type contains struct{ text string }

func (c contains) holds(v *operand, _ *evaluator) bool {
	return v.kind == KindString && strings.Contains(v.text, c.text)
}

// notContains is NOT_CONTAINS. It too is false for what is no text.
type notContains struct{ text string }

func (c notContains) holds(v *operand, _ *evaluator) bool {
	return v.kind == KindString && !strings.Contains(v.text, c.text)
}
